//! What is refused, what is marked, and that a crash on the way leaves a directory that opens.
#![allow(clippy::unwrap_used)]

use super::marker::MARKER;
use super::*;
use model::account::Account;
use model::time::Timestamp;
use node::volume::Volumes as _;
use tempfile::TempDir;

struct World(TempDir);

impl World {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    fn open(&self) -> Result<(Store, Arc<DataDirectory>)> {
        open(self.dir(), Mode::Real)
    }

    #[track_caller]
    fn refused(&self) -> String {
        let before = self.listing();
        let error = format!("{:#}", self.open().map(drop).unwrap_err());
        assert_eq!(self.listing(), before, "a refusal changes nothing: {error}");
        error
    }

    fn listing(&self) -> Vec<String> {
        let mut found = Vec::new();
        for dir in [self.dir().to_owned(), self.path("volumes"), self.path("images"), self.path("machines"), self.path("objects")] {
            let entries = std::fs::read_dir(&dir).into_iter().flatten().map(|entry| entry.unwrap().path());
            // SQLite makes its log when it opens a database; the lock is made to look.
            let entries = entries.filter(|path| !path.to_str().unwrap().contains("state.db-") && !path.ends_with("state.db.lock"));
            found.extend(entries.map(|path| format!("{} {}", path.display(), std::fs::read(&path).map_or(0, |bytes| bytes.len()))));
        }
        found.sort();
        found
    }

    /// The server ran: `n` accounts were made.
    async fn ran(&self, n: u32) -> String {
        let (store, directory) = self.open().unwrap();
        commits(&store, n).await;
        directory.raise_or_warn().await;
        directory.cloud().to_owned()
    }

    fn volume_put(&self, id: &str) {
        std::fs::write(self.path("volumes").join(format!("{id}.qcow2")), "disk").unwrap();
    }
}

async fn commits(store: &Store, n: u32) {
    for _ in 0..n {
        let id = format!("{:012}", store.snapshot().revision() + 1);
        let account = Account { id: id.parse().unwrap(), name: id, created: Timestamp(0), closed: None };
        let written = store.write(move |tx| {
            tx.account_put(account);
            Ok::<_, std::convert::Infallible>(())
        });
        written.await.unwrap().unwrap();
    }
}

/// What SQLite leaves of a database that was open when its file was copied.
fn copy_without_log(world: &World, to: &Path) {
    std::fs::copy(world.path("state.db"), to).unwrap();
}

#[tokio::test]
async fn a_new_directory_is_marked_and_opens_again() {
    let world = World::new();
    let cloud = world.ran(3).await;
    assert_eq!(cloud.len(), 32);
    let root = Root::read(world.dir()).unwrap().unwrap();
    assert_eq!((root.revision, root.parts.len()), (3, 4));
    for part in Part::all(Mode::Real) {
        assert_eq!(marker::part_cloud(world.dir(), *part).unwrap().as_ref(), Some(&cloud));
    }
    assert_eq!(world.ran(0).await, cloud);
    assert_ne!(World::new().ran(1).await, cloud, "each cloud has an id of its own");
}

/// The process may die between any two of the writes that mark a directory.
#[tokio::test]
async fn a_first_start_that_was_cut_off_is_done_again() {
    let world = World::new();
    let identity = draw(&mut rand::rng());
    // The marker alone; then with an empty database; then with one that has an identity, and some of the parts.
    Root::new(identity.clone()).write(world.dir()).unwrap();
    assert_eq!(world.ran(0).await, identity.cloud);

    let world = World::new();
    Root::new(identity.clone()).write(world.dir()).unwrap();
    std::fs::write(world.path("state.db"), "").unwrap();
    assert_eq!(world.ran(0).await, identity.cloud);

    let world = World::new();
    Root::new(identity.clone()).write(world.dir()).unwrap();
    let given = |_: Found<'_>| Ok(Some(identity.clone()));
    drop(Store::open_checked(&world.path("state.db"), Mode::Real, Arc::new(NoFaults), given).unwrap());
    marker::part_mark(world.dir(), Part::Images, &identity.cloud).unwrap();
    assert_eq!(world.ran(0).await, identity.cloud);

    // What another cloud marked is not marked over.
    let world = World::new();
    marker::part_mark(world.dir(), Part::Objects, "c0ffee").unwrap();
    Root::new(identity.clone()).write(world.dir()).unwrap();
    drop(Store::open_checked(&world.path("state.db"), Mode::Real, Arc::new(NoFaults), given).unwrap());
    assert!(world.refused().contains("c0ffee"));
}

#[tokio::test]
async fn a_missing_or_an_empty_database_beside_data_is_refused() {
    let world = World::new();
    let cloud = world.ran(3).await;
    world.volume_put("vol-00000001");
    let kept = world.path("kept");
    std::fs::rename(world.path("state.db"), &kept).unwrap();
    let said = world.refused();
    assert!(said.contains("is missing") && said.contains(&cloud) && said.contains("volumes/ with 1 entries"), "{said}");
    std::fs::write(world.path("state.db"), "").unwrap();
    assert!(world.refused().contains("is empty"));
    // Nor without its marker: there are volumes, and their marker.
    std::fs::rename(world.path(MARKER), world.path("marker")).unwrap();
    assert!(world.refused().contains("volumes/.pileus"));
    std::fs::rename(world.path("marker"), world.path(MARKER)).unwrap();

    std::fs::rename(&kept, world.path("state.db")).unwrap();
    assert_eq!(world.ran(0).await, cloud);
}

#[tokio::test]
async fn an_older_database_is_refused_and_the_newest_is_not() {
    let world = World::new();
    let cloud = world.ran(3).await;
    let older = world.path("older");
    copy_without_log(&world, &older);
    // Copied while it is open: without what is in the log only.
    let (store, directory) = world.open().unwrap();
    commits(&store, 2).await;
    directory.raise(5).await.unwrap();
    let torn = world.path("torn");
    copy_without_log(&world, &torn);
    drop((store, directory));
    let newest = world.path("newest");
    std::fs::rename(world.path("state.db"), &newest).unwrap();
    for copy in [&older, &torn] {
        std::fs::copy(copy, world.path("state.db")).unwrap();
        let said = world.refused();
        assert!(said.contains("revision 3") && said.contains("got to 5") && said.contains("pileus adopt"), "{said}");
    }
    std::fs::copy(&newest, world.path("state.db")).unwrap();
    assert_eq!(world.ran(0).await, cloud);

    // Declared the truth, it opens; and then the one that was newer doesn't any more.
    std::fs::copy(&older, world.path("state.db")).unwrap();
    assert_eq!(stamp(world.dir(), true).unwrap().revision, 3);
    assert_eq!(world.ran(9).await, cloud);
    std::fs::copy(&newest, world.path("state.db")).unwrap();
    assert!(world.refused().contains("epoch 0"));
}

#[tokio::test]
async fn a_database_or_a_directory_of_another_cloud_is_refused() {
    let (world, other) = (World::new(), World::new());
    let (cloud, foreign) = (world.ran(3).await, other.ran(9).await);
    std::fs::rename(world.path("state.db"), world.path("kept")).unwrap();
    std::fs::copy(other.path("state.db"), world.path("state.db")).unwrap();
    let said = world.refused();
    assert!(said.contains(&cloud) && said.contains(&foreign), "{said}");
    std::fs::rename(world.path("kept"), world.path("state.db")).unwrap();

    for part in Part::all(Mode::Real) {
        let (directory, kept) = (world.path(part.name()), world.path("kept"));
        std::fs::rename(&directory, &kept).unwrap();
        assert!(world.refused().contains("may not be mounted"), "gone: {part:?}");
        std::fs::create_dir(&directory).unwrap();
        assert!(world.refused().contains("may not be mounted"), "another: {part:?}");
        std::fs::copy(other.path(part.name()).join(MARKER), directory.join(MARKER)).unwrap();
        assert!(world.refused().contains(&foreign), "of another cloud: {part:?}");
        let wrong = if *part == Part::Images { Part::Volumes } else { Part::Images };
        std::fs::copy(world.path(wrong.name()).join(MARKER), directory.join(MARKER)).unwrap();
        assert!(world.refused().contains("is the marker of a directory"), "swapped: {part:?}");
        std::fs::remove_dir_all(&directory).unwrap();
        std::fs::rename(&kept, &directory).unwrap();
    }
    for cut in ["", "{\"format\":1,"] {
        std::fs::rename(world.path(MARKER), world.path("kept")).unwrap();
        std::fs::write(world.path(MARKER), cut).unwrap();
        assert!(world.refused().contains("can't read"), "{cut:?}");
        std::fs::rename(world.path("kept"), world.path(MARKER)).unwrap();
    }
    std::fs::rename(world.path(MARKER), world.path("kept")).unwrap();
    assert!(world.refused().contains("has no marker"));
    assert_eq!(stamp(world.dir(), false).unwrap().cloud, cloud);
    assert_eq!(world.ran(0).await, cloud);
}

/// A directory of the versions before there were markers.
#[tokio::test]
async fn an_unmarked_directory_is_marked_once_if_it_is_consistent() {
    let unmarked = async || {
        let world = World::new();
        let store = Store::open(&world.path("state.db"), Mode::Real, Arc::new(NoFaults)).unwrap();
        commits(&store, 3).await;
        for part in Part::all(Mode::Real) {
            std::fs::create_dir(world.path(part.name())).unwrap();
        }
        world
    };
    let world = unmarked().await;
    let cloud = world.ran(0).await;
    assert_eq!(Root::read(world.dir()).unwrap().unwrap().revision, 3);
    assert_eq!(world.ran(0).await, cloud);

    let world = unmarked().await;
    world.volume_put("vol-00000001");
    let said = world.refused();
    assert!(said.contains("1 volumes that") && said.contains("vol-00000001"), "{said}");
    assert!(stamp(world.dir(), false).is_ok());
    world.ran(0).await;

    // A database of a cloud that never ran beside data.
    let world = unmarked().await;
    std::fs::remove_file(world.path("state.db")).unwrap();
    drop(Store::open(&world.path("state.db"), Mode::Real, Arc::new(NoFaults)).unwrap());
    std::fs::write(world.path("objects.key"), [0; 32]).unwrap();
    assert!(world.refused().contains("names nothing"));
}

#[tokio::test]
async fn a_machine_that_runs_without_an_instance_is_not_opened_over() {
    use nix::fcntl::{FcntlArg, fcntl};
    let world = World::new();
    world.ran(1).await;
    let place = world.path("machines/i-00000001");
    std::fs::create_dir(&place).unwrap();
    world.ran(0).await;
    let lock = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(place.join("qemu.lock")).unwrap();
    let whole = nix::libc::flock { l_type: nix::libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&lock, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
    let said = world.refused();
    assert!(said.contains("1 running machines") && said.contains("i-00000001"), "{said}");
    stamp(world.dir(), false).unwrap();
    world.refused();
    stamp(world.dir(), true).unwrap();
    world.ran(0).await;
    world.refused();
}

/// Launches that come at once are served by few writes, and no marker names less than what was asked for.
#[tokio::test]
async fn the_mark_is_raised_before_it_is_relied_on() {
    let world = World::new();
    world.ran(1).await;
    let (store, directory) = world.open().unwrap();
    commits(&store, 40).await;
    let raised = (1..=41).map(|revision| {
        let directory = directory.clone();
        tokio::spawn(async move { directory.raise(revision).await })
    });
    for raised in raised.collect::<Vec<_>>() {
        raised.await.unwrap().unwrap();
    }
    assert_eq!(Root::read(world.dir()).unwrap().unwrap().revision, 41);
    commits(&store, 1).await;

    // A volume's file is made after its revision is named, and not into a directory that isn't the cloud's.
    let hosts = node::volume::fake::FakeVolumeHost::default();
    let images = Arc::new(node::image::fake::FakeImages::new(node::image::fake::FakeImageHost::default()));
    let volumes = Guarded::new(directory.clone(), Arc::new(node::volume::fake::FakeVolumes::new(hosts.clone(), images)));
    let make = async |id: &str| volumes.ensure(&id.parse().unwrap(), 1 << 30, &model::volume::Source::Blank).await;
    make("vol-00000001").await.unwrap();
    assert_eq!(Root::read(world.dir()).unwrap().unwrap().revision, 42);
    std::fs::remove_file(world.path("volumes/.pileus")).unwrap();
    assert!(format!("{:#}", make("vol-00000002").await.unwrap_err()).contains("may not be mounted"));
    assert_eq!(hosts.volumes().len(), 1);
}

//! Files that are lost: they are never made anew, the instance says why it doesn't start, and it starts once they are back. Files that no document
//! names are set aside.

use crate::world::{Cloud, World, id, image_id, scope, volume_id};
use model::ids::ImageId;
use model::image::Image;
use model::instance::{Event, ShutdownBehavior};
use model::machine::MachineSpec;
use model::volume::{FileState, Loss, Source, Volume};
use node::hypervisor::Parts;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Notify;

const STOP: Event = Event::StopWanted { force: true };

async fn stopped(world: &World, directory: &Path) -> Cloud {
    let cloud = Cloud::open(world, directory);
    cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    cloud.settle().await;
    assert_eq!((cloud.state(1), file(&cloud)), ("running", FileState::Made));
    cloud.wish(1, STOP).await;
    cloud.settle().await;
    assert_eq!(cloud.state(1), "stopped");
    cloud
}

fn file(cloud: &Cloud) -> FileState {
    cloud.store.snapshot().find::<Volume>(&volume_id(1)).unwrap().1.file.clone()
}

fn is_lost(cloud: &Cloud, expected: Loss) -> bool {
    matches!(file(cloud), FileState::Lost { loss, .. } if loss == expected)
}

/// A start that is refused ends at once: in one pass, not after tries.
async fn start_is_refused(cloud: &Cloud, loss: Loss) {
    cloud.wish(1, Event::StartWanted).await;
    cloud.pass().await;
    assert_eq!(cloud.state(1), "stopped");
    let said = format!("Server.InternalError: Internal error on launch: the volume {} is {loss}", volume_id(1));
    assert_eq!(cloud.reason(1), said);
    assert_eq!(cloud.instance(1).unwrap().state_transition_reason, "Server.InternalError");
    assert!(is_lost(cloud, loss), "{:?}", file(cloud));
    let notes = cloud.reconciler.notes();
    assert!(notes.iter().any(|note| note.starts_with(volume_id(1).as_str()) && note.contains("put it back")), "{notes:?}");
}

async fn starts(cloud: &Cloud) {
    cloud.wish(1, Event::StartWanted).await;
    cloud.settle().await;
    assert_eq!((cloud.state(1), file(cloud)), ("running", FileState::Made));
    assert!(cloud.reconciler.notes().is_empty());
}

#[tokio::test]
async fn a_missing_volume_is_not_made_anew_and_starts_again_when_it_is_back() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = stopped(&world, directory.path()).await;
    let kept = world.volumes.lose(&volume_id(1)).unwrap();
    start_is_refused(&cloud, Loss::Missing).await;
    start_is_refused(&cloud, Loss::Missing).await;
    assert_eq!((world.volumes.made(), world.volumes.volumes().len()), (1, 0));
    world.volumes.put_back(&volume_id(1), kept);
    starts(&cloud).await;
    assert_eq!(world.volumes.made(), 1);
}

#[tokio::test]
async fn a_damaged_volume_is_an_error_until_it_is_whole() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = stopped(&world, directory.path()).await;
    world.volumes.damage(&volume_id(1), true);
    start_is_refused(&cloud, Loss::Damaged).await;
    world.volumes.damage(&volume_id(1), false);
    starts(&cloud).await;

    // A file that is shorter than it was at the last stop is cut short.
    cloud.wish(1, STOP).await;
    cloud.settle().await;
    let length = cloud.store.snapshot().find::<Volume>(&volume_id(1)).unwrap().1.file_bytes_synced;
    assert_eq!(length, 1 << 30);
    cloud
        .write(|tx| {
            let volume = (**tx.get::<Volume>(&scope(), &volume_id(1)).unwrap()).clone();
            tx.put(&scope(), Volume { file_bytes_synced: (1 << 30) + 1, ..volume });
        })
        .await;
    // A start that was refused is no reason to take what is there for all there was.
    start_is_refused(&cloud, Loss::Damaged).await;
    start_is_refused(&cloud, Loss::Damaged).await;
}

/// The state shows without a start, and goes by itself; also while the instance runs.
#[tokio::test]
async fn a_missing_file_is_noticed_without_a_start() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = stopped(&world, directory.path()).await;
    for _ in 0..2 {
        let kept = world.volumes.lose(&volume_id(1)).unwrap();
        world.later(31_000);
        cloud.settle().await;
        assert!(is_lost(&cloud, Loss::Missing));
        world.volumes.put_back(&volume_id(1), kept);
        world.later(31_000);
        cloud.settle().await;
        assert_eq!(file(&cloud), FileState::Made);
        if cloud.state(1) == "stopped" {
            starts(&cloud).await;
        }
    }
    assert_eq!((cloud.state(1), world.machines.starts()), ("running", 2));
}

/// Databases from before the state of files was recorded.
#[tokio::test]
async fn a_volume_of_an_old_database_is_made_if_its_instance_has_run() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let forget = |cloud: Cloud| async move {
        cloud
            .write(|tx| {
                let volume = (**tx.get::<Volume>(&scope(), &volume_id(1)).unwrap()).clone();
                tx.put(&scope(), Volume { file: FileState::Unrecorded, ..volume });
            })
            .await;
        cloud
    };
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    let cloud = forget(cloud).await;
    cloud.settle().await;
    assert_eq!((cloud.state(1), world.volumes.made()), ("running", 1));
    cloud.wish(1, STOP).await;
    cloud.settle().await;
    let cloud = forget(cloud).await;
    drop(world.volumes.lose(&volume_id(1)).unwrap());
    start_is_refused(&cloud, Loss::Missing).await;
    assert_eq!(world.volumes.made(), 1);
}

/// A restart of the host finds a volume gone: the instance stops, and says why.
#[tokio::test]
async fn what_ran_on_a_lost_volume_is_stopped_after_a_restart() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    cloud.settle().await;
    drop(cloud);
    world.restart();
    drop(world.volumes.lose(&volume_id(1)).unwrap());
    let cloud = Cloud::open(&world, directory.path());
    cloud.pass().await;
    assert_eq!((cloud.state(1), world.volumes.made()), ("stopped", 1));
    assert!(cloud.reason(1).contains(volume_id(1).as_str()), "{}", cloud.reason(1));
}

#[tokio::test]
async fn a_lost_image_is_not_launched_from() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    let lost = |cloud: &Cloud| cloud.store.snapshot().find::<Image>(&image_id()).unwrap().1.lost;
    cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    world.images.lose(&image_id(), true);
    cloud.pass().await;
    assert_eq!(cloud.reason(1), format!("Server.InternalError: Internal error on launch: the image {} is missing", image_id()));
    cloud.settle().await;
    assert_eq!((cloud.state(1), world.machines.starts()), ("terminated", 0));
    world.later(31_000);
    cloud.settle().await;
    assert_eq!(lost(&cloud), Some(Loss::Missing));
    assert_eq!(cloud.reconciler.notes().len(), 1, "{:?}", cloud.reconciler.notes());
    world.images.lose(&image_id(), false);
    world.images.damage(&image_id(), true);
    world.later(31_000);
    cloud.settle().await;
    assert_eq!(lost(&cloud), Some(Loss::Damaged));
    world.images.damage(&image_id(), false);
    world.later(31_000);
    cloud.settle().await;
    assert_eq!(lost(&cloud), None);
    cloud.launch(2..=2, ShutdownBehavior::Stop).await;
    cloud.settle().await;
    assert_eq!(cloud.state(2), "running");
}

/// An old database, accepted: what it doesn't name is kept, and its guests may write out what they hold.
#[tokio::test]
async fn what_no_document_names_is_set_aside_and_its_guest_powers_off() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    cloud.settle().await;
    let drivers = world.drivers(Arc::new(Notify::new()));
    let spec = world.machines.machines()[&id(1)].spec.clone();
    let stray = MachineSpec { id: id(7), kernel_command_line: None, disks: vec![], interfaces: vec![], ..spec };
    world.machines.ignore_power_button(true);
    drivers.hypervisor.start(&stray, Parts::default()).await.unwrap();
    drivers.volumes.ensure(&volume_id(7), 1, &Source::Blank).await.unwrap();
    let image: ImageId = "ami-00000007".parse().unwrap();
    drivers.images.adopt(&image, Path::new("/nowhere")).await.unwrap();
    for _ in 0..3 {
        world.later(31_000);
        cloud.settle().await;
        assert_eq!(world.machines.machines().len(), 2, "it has two minutes to power itself off");
    }
    for _ in 0..25 {
        world.later(31_000);
        cloud.settle().await;
    }
    assert_eq!(world.machines.machines().keys().collect::<Vec<_>>(), [&id(1)]);
    assert_eq!(world.volumes.set_aside().keys().collect::<Vec<_>>(), [&volume_id(7)]);
    assert_eq!(world.images.set_aside(), [image].into());
    assert_eq!(cloud.state(1), "running");
}

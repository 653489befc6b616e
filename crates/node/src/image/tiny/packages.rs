//! Debian's packages, fetched by apt into a cache of ours, checked against what apt's signed lists say of them, and only unpacked:
//! nothing is installed. What has been fetched once is used again without asking anyone, until the cache is deleted.

use crate::Result;
use crate::image::progress::Progress;
use crate::image::tool::run;
use anyhow::{Context as _, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long apt may take to ask its lists, in seconds.
const ASK_LIMIT: Duration = Duration::from_secs(120);
/// How long apt may take to bring lists or packages.
const FETCH_LIMIT: Duration = Duration::from_secs(900);
/// How long a package may take to unpack.
const UNPACK_LIMIT: Duration = Duration::from_secs(120);
/// How many rounds of dependencies of dependencies are followed.
const ROUNDS_MAX: usize = 16;

/// The package that stands for the newest cloud kernel.
const KERNEL_META_PACKAGE: &str = "linux-image-cloud-amd64";
/// How the real ones' names begin.
const KERNEL_PREFIX: &str = "linux-image-";

/// What the image is made of. Of what these depend on, only the libraries are taken as well.
pub(super) const WANTED: [&str; 5] = [KERNEL_META_PACKAGE, "busybox-static", "dropbear-bin", "e2fsprogs", "openssh-sftp-server"];

/// A package in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    sha256: String,
    /// Its file in the cache's directory `packages`.
    file: String,
}

/// What the cache holds, and for what it was fetched.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    wanted: Vec<String>,
    packages: Vec<Package>,
}

/// The cache. While the value lives no other process uses it.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    _lock: Flock<File>,
}

impl Cache {
    /// Opens the cache, making it if need be. Waits for another process that uses it.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let directory = std::path::absolute(directory)?;
        std::fs::create_dir_all(directory.join("packages")).with_context(|| format!("making the cache {}", directory.display()))?;
        let lock = File::create(directory.join("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).context("locking the package cache")?;
        Ok(Self { directory, _lock: lock })
    }

    /// The packages, from the cache if it has them all, else by apt: with the host's lists if they will do, else with lists of our
    /// own, which are brought up to date first.
    pub(super) fn fetch(&self, progress: &dyn Progress) -> Result<Vec<Package>> {
        if let Some(packages) = self.cached() {
            progress.step(&format!("{} packages are in the cache", packages.len()));
            return Ok(packages);
        }
        progress.step("Asking apt for the packages");
        let host = Apt::new(&self.directory, false)?;
        let first = match self.fetch_by(&host, progress) {
            Ok(packages) => return Ok(packages),
            Err(error) => error,
        };
        tracing::info!("the host's package lists don't do, fetching our own: {first:#}");
        progress.step("Fetching package lists");
        let own = Apt::new(&self.directory, true)?;
        own.update()
            .and_then(|()| self.fetch_by(&own, progress))
            .with_context(|| format!("with the host's own lists: {first:#}; with new ones"))
    }

    /// Unpacks a package into a directory.
    pub(super) fn unpack(&self, package: &Package, into: &Path) -> Result<()> {
        let mut command = Command::new("dpkg-deb");
        command.arg("-x").arg(self.directory.join("packages").join(&package.file)).arg(into);
        run(&mut command, UNPACK_LIMIT).with_context(|| format!("unpacking {}", package.name)).map(|_| ())
    }

    /// What the cache holds, if that is all, and whole.
    fn cached(&self) -> Option<Vec<Package>> {
        let manifest: Manifest = serde_json::from_slice(&std::fs::read(self.directory.join("packages.json")).ok()?).ok()?;
        let whole = |package: &Package| sha256(&self.directory.join("packages").join(&package.file)).is_ok_and(|sum| sum == package.sha256);
        (manifest.wanted == WANTED && manifest.packages.iter().all(whole)).then_some(manifest.packages)
    }

    fn fetch_by(&self, apt: &Apt, progress: &dyn Progress) -> Result<Vec<Package>> {
        let found = apt.resolve(&WANTED)?;
        let incoming = self.directory.join("incoming");
        let _ = std::fs::remove_dir_all(&incoming);
        std::fs::create_dir_all(&incoming)?;
        progress.step(&format!("Fetching {} packages, {} MB", found.len(), found.iter().map(|p| p.bytes).sum::<u64>() / 1_000_000));
        apt.download(&found, &incoming)?;
        let mut packages = Vec::new();
        for entry in std::fs::read_dir(&incoming)? {
            let file = entry?.file_name().into_string().ok().context("a package's file name isn't UTF-8")?;
            let Some(of) = found.iter().find(|package| file.split('_').next() == Some(&package.name)) else { continue };
            let sum = sha256(&incoming.join(&file))?;
            ensure!(sum == of.sha256, "{file} has the SHA-256 {sum}, but apt's lists say {}", of.sha256);
            std::fs::rename(incoming.join(&file), self.directory.join("packages").join(&file))?;
            packages.push(Package { name: of.name.clone(), version: of.version.clone(), sha256: sum, file });
        }
        if let Some(absent) = found.iter().find(|wanted| !packages.iter().any(|package| package.name == wanted.name)) {
            bail!("apt didn't bring {}", absent.name);
        }
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        self.keep(&packages)?;
        Ok(packages)
    }

    /// Writes down what there is, and deletes what is of no more use.
    fn keep(&self, packages: &[Package]) -> Result<()> {
        let manifest = Manifest { wanted: WANTED.map(String::from).to_vec(), packages: packages.to_vec() };
        let (new, path) = (self.directory.join("packages.json.new"), self.directory.join("packages.json"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
        file.sync_all()?;
        std::fs::rename(new, path)?;
        for entry in std::fs::read_dir(self.directory.join("packages"))? {
            let entry = entry?;
            if !packages.iter().any(|package| *package.file == *entry.file_name()) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// A package as apt's lists have it.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: String,
    version: String,
    sha256: String,
    bytes: u64,
    depends: Vec<String>,
}

/// Debian's apt, kept from writing anything outside of the cache.
#[derive(Debug)]
struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// With the host's package lists, or with our own. The sources and their keys are the host's in either case.
    fn new(cache: &Path, own_lists: bool) -> Result<Self> {
        let (state, kept) = (cache.join("apt/state"), cache.join("apt/cache"));
        std::fs::create_dir_all(state.join("lists/partial"))?;
        std::fs::create_dir_all(kept.join("archives/partial"))?;
        // As root, so that the cache need not be open to the user _apt.
        let mut settings = vec!["APT::Sandbox::User=root".to_owned(), format!("Dir::Cache={}", kept.display())];
        if own_lists {
            settings.push(format!("Dir::State::lists={}", state.join("lists").display()));
        }
        Ok(Self { options: settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]).collect() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").args(&self.options);
        command
    }

    fn update(&self) -> Result<()> {
        run(self.command("apt-get").args(["-q", "update"]), FETCH_LIMIT).map(|_| ())
    }

    /// The packages of these names and the libraries they depend on.
    fn resolve(&self, wanted: &[&str]) -> Result<Vec<Found>> {
        let mut found = BTreeMap::new();
        let mut names: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        for _ in 0..ROUNDS_MAX {
            if names.is_empty() {
                found.remove(KERNEL_META_PACKAGE);
                return Ok(found.into_values().collect());
            }
            let listing = run(self.command("apt-cache").args(["show", "--no-all-versions"]).args(&names), ASK_LIMIT)?;
            let mut next = Vec::new();
            for package in parse(&listing)? {
                next.extend(package.depends.iter().filter(|name| is_followed(&package.name, name)).cloned());
                found.insert(package.name.clone(), package);
            }
            if let Some(absent) = names.iter().find(|name| !found.contains_key(*name)) {
                bail!("apt's lists have no package {absent}");
            }
            next.sort();
            next.dedup();
            next.retain(|name| !found.contains_key(name));
            names = next;
        }
        bail!("dependencies are deeper than {ROUNDS_MAX}")
    }

    fn download(&self, packages: &[Found], into: &Path) -> Result<()> {
        let mut command = self.command("apt-get");
        command.args(["-q", "download"]).current_dir(into);
        command.args(packages.iter().map(|package| format!("{}={}", package.name, package.version)));
        run(&mut command, FETCH_LIMIT).map(|_| ())
    }
}

/// Whether a dependency is taken: libraries are, which Debian names `lib…`, but for zlib.
fn is_followed(package: &str, dependency: &str) -> bool {
    dependency.starts_with("lib") || dependency == "zlib1g" || package == KERNEL_META_PACKAGE && dependency.starts_with(KERNEL_PREFIX)
}

/// Parses what `apt-cache show` prints (deb-control(5)).
fn parse(listing: &str) -> Result<Vec<Found>> {
    let mut packages = Vec::new();
    for stanza in listing.split("\n\n").filter(|stanza| !stanza.trim().is_empty()) {
        let field = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        let name = field("Package").context("apt printed a package without a name")?.to_owned();
        let required = |key: &str| field(key).map(str::to_owned).with_context(|| format!("apt's lists have no {key} of {name}"));
        let depends = [field("Pre-Depends"), field("Depends")].into_iter().flatten().flat_map(|list| list.split(','));
        // Of alternatives the first; without the version and the architecture.
        let depends = depends.filter_map(|entry| entry.split(['|', '(', ':']).next().map(|name| name.trim().to_owned())).collect();
        packages.push(Found {
            version: required("Version")?,
            sha256: required("SHA256")?,
            bytes: required("Size")?.parse().with_context(|| format!("size of {name}"))?,
            depends,
            name,
        });
    }
    Ok(packages)
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("{}", path.display()))?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match std::io::Read::read(&mut file, &mut piece)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hash.update(&piece[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::image::progress::Silent;
    use crate::test_kit::scratch;

    #[test]
    fn listings_are_parsed() {
        let listing = "Package: dropbear-bin\nSource: dropbear\nVersion: 2022.83-1\nSize: 155520\nPre-Depends: libc6 (>= 2.36)\n\
                       Depends: libz1:any | libz, libcrypt1 (>= 1:4.1.0)\nDescription: light\n words\nSHA256: 44ac\n\n";
        let depends = ["libc6", "libz1", "libcrypt1"].map(String::from).to_vec();
        let wanted = Found { name: "dropbear-bin".into(), version: "2022.83-1".into(), sha256: "44ac".into(), bytes: 155_520, depends };
        assert_eq!(parse(listing).unwrap(), [wanted]);
        assert!(parse("Package: x\nVersion: 1\n").is_err());
    }

    #[test]
    fn a_damaged_or_absent_file_makes_the_cache_useless() {
        let root = scratch();
        let cache = Cache::open(root.path()).unwrap();
        assert_eq!(cache.cached(), None);
        let path = root.path().join("packages/a_1_all.deb");
        std::fs::write(&path, b"a package").unwrap();
        let package = Package { name: "a".into(), version: "1".into(), sha256: sha256(&path).unwrap(), file: "a_1_all.deb".into() };
        cache.keep(std::slice::from_ref(&package)).unwrap();
        assert_eq!(cache.cached(), Some(vec![package.clone()]));
        // A whole cache asks nobody: this one's package is in no list.
        assert_eq!(cache.fetch(&Silent).unwrap(), [package]);
        std::fs::write(&path, b"a packagf").unwrap();
        assert_eq!(cache.cached(), None);
    }
}

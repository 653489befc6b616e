//! The configuration: every setting with its default, unknown keys refused.

use anyhow::{Context as _, Result};
use ipnet::Ipv4Net;
use model::capacity::Host;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The address and port of all services.
    pub(crate) listen: SocketAddr,
    /// The region that `pileus env` names.
    pub(crate) region: String,
    pub(crate) capacity: Capacity,
    pub(crate) hypervisor: Hypervisor,
    pub(crate) network: Network,
    pub(crate) s3: S3,
    /// The file as it was read, for backups.
    #[serde(skip)]
    pub(crate) text: Option<String>,
}

/// What fits on this host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Capacity {
    /// The host's processors; 0: those that it has, and of a simulated cloud a data centre's.
    pub(crate) vcpus: u32,
    /// The host's memory in MiB; 0: as `vcpus`.
    pub(crate) memory_mib: u64,
    /// How many guest processors one of the host's may carry.
    pub(crate) vcpu_overcommit: f64,
    /// How much guest memory one byte of the host's may carry.
    pub(crate) memory_overcommit: f64,
    /// How many bytes of volumes may be promised for each free one of the disk.
    pub(crate) disk_overcommit: f64,
    /// Disk space that only one database may use, so that a full disk can still be freed; each of both has twice as much, in MiB.
    pub(crate) disk_reserve_mib: u64,
    /// Memory that guests never get, in MiB.
    pub(crate) memory_reserve_mib: u64,
}

/// Which guest accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Accelerator {
    /// KVM where it is found to work, else TCG.
    Auto,
    /// KVM, or don't start.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// How machines are run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Hypervisor {
    /// `auto`, `kvm` or `tcg`.
    pub(crate) accelerator: Accelerator,
    /// The QEMU program.
    pub(crate) qemu: PathBuf,
    /// The first of the 65,536 user ids that machines run as, one each.
    pub(crate) uid_base: u32,
    /// Whether guests that ran before a restart of the host are started again.
    pub(crate) restart_guests: bool,
}

/// How guests reach out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Uplink {
    /// Through `pasta` (package `passt`): nothing of the host's network is changed.
    Pasta,
    /// Not at all.
    None,
}

/// The network.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Network {
    /// `pasta` or `none`.
    pub(crate) uplink: Uplink,
    /// The addresses that public addresses are taken from. They exist inside the cloud only.
    pub(crate) public_pool: Ipv4Net,
    /// Private ranges that guests may reach through the way out; by default none.
    pub(crate) allow_private: Vec<Ipv4Net>,
    /// The largest packet between guests, in bytes.
    pub(crate) mtu: u16,
}

/// Who owns what is written into a new bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Ownership {
    /// The bucket's owner; lists of grants don't count.
    BucketOwnerEnforced,
    /// The bucket's owner, if the writer said so.
    BucketOwnerPreferred,
    /// The writer.
    ObjectWriter,
}

/// The object store.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct S3 {
    /// Domains under which `bucket.domain` and `bucket.s3.domain` name a bucket.
    pub(crate) domains: Vec<String>,
    /// The ownership of new buckets: `BucketOwnerEnforced` as Amazon's since April 2023, `BucketOwnerPreferred` or `ObjectWriter`.
    pub(crate) ownership: Ownership,
    /// Whether new buckets refuse everything public, as Amazon's do since April 2023.
    pub(crate) block_public_access: bool,
    /// How long to rest between readings of all objects, in hours; 0: they are never read.
    pub(crate) scrub_hours: u32,
    /// How fast objects are read then, in MiB a second.
    pub(crate) scrub_mib_per_second: u32,
    /// For tests: how many seconds a day of a lifecycle rule has; 0: it is a real one.
    pub(crate) lifecycle_debug_day_seconds: u32,
    /// How long lines of access logs are gathered before they are delivered, in seconds.
    pub(crate) log_delivery_seconds: u32,
    /// Where notifications of buckets go: ARNs of topics, queues and functions, and the `http://` addresses that stand for them.
    pub(crate) webhooks: BTreeMap<String, String>,
    /// ARNs of these that buckets of all accounts may name; any other only buckets of the account in its ARN.
    pub(crate) webhooks_for_all: BTreeSet<String>,
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            domains: vec!["localhost".into()],
            ownership: Ownership::BucketOwnerEnforced,
            block_public_access: true,
            scrub_hours: 168,
            scrub_mib_per_second: 16,
            lifecycle_debug_day_seconds: 0,
            log_delivery_seconds: 300,
            webhooks: BTreeMap::new(),
            webhooks_for_all: BTreeSet::new(),
        }
    }
}

impl S3 {
    /// How long to rest between readings of all objects, if they are read.
    pub(crate) fn scrub_period(&self) -> Option<Duration> {
        (self.scrub_hours > 0).then(|| Duration::from_secs(u64::from(self.scrub_hours) * 3600))
    }

    /// As the front takes it.
    pub(crate) fn settings(&self) -> s3::Settings {
        let ownership = match self.ownership {
            Ownership::BucketOwnerEnforced => objects::Ownership::BucketOwnerEnforced,
            Ownership::BucketOwnerPreferred => objects::Ownership::BucketOwnerPreferred,
            Ownership::ObjectWriter => objects::Ownership::ObjectWriter,
        };
        s3::Settings {
            domains: self.domains.clone(),
            ownership,
            block_public_access: self.block_public_access,
            lifecycle_debug_day_seconds: Some(self.lifecycle_debug_day_seconds).filter(|seconds| *seconds > 0),
            log_delivery_seconds: self.log_delivery_seconds,
            webhooks: self.webhooks.clone(),
            webhooks_for_all: self.webhooks_for_all.clone(),
            any_credentials: false,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4566)),
            region: model::scope::DEFAULT_REGION.into(),
            capacity: Capacity::default(),
            hypervisor: Hypervisor::default(),
            network: Network::default(),
            s3: S3::default(),
            text: None,
        }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            vcpus: 0,
            memory_mib: 0,
            vcpu_overcommit: 16.0,
            memory_overcommit: 1.0,
            disk_overcommit: 4.0,
            disk_reserve_mib: 8,
            memory_reserve_mib: 1024,
        }
    }
}

impl Capacity {
    /// The host, as far as it is configured; else as it was `found`.
    pub(crate) fn host(&self, found: Host) -> Host {
        Host {
            vcpus: if self.vcpus == 0 { found.vcpus } else { self.vcpus },
            memory_mib: if self.memory_mib == 0 { found.memory_mib } else { self.memory_mib },
            ..found
        }
    }
}

impl Default for Hypervisor {
    fn default() -> Self {
        Self { accelerator: Accelerator::Auto, qemu: "/usr/bin/qemu-system-x86_64".into(), uid_base: 2_100_000_000, restart_guests: true }
    }
}

impl Default for Network {
    fn default() -> Self {
        let public_pool = Ipv4Net::new_assert([198, 18, 0, 0].into(), 16);
        Self { uplink: Uplink::Pasta, public_pool, allow_private: Vec::new(), mtu: 9001 }
    }
}

impl Config {
    /// Reads a file, or gives the defaults without one.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("can't read the configuration {}", path.display()))?;
        let mut config: Self = toml::from_str(&text).with_context(|| format!("in the configuration {}", path.display()))?;
        config.check().with_context(|| format!("in the configuration {}", path.display()))?;
        config.text = Some(text);
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        anyhow::ensure!(self.s3.scrub_mib_per_second > 0, "s3.scrub_mib_per_second must be more than 0; scrub_hours = 0 turns it off");
        for (arn, address) in &self.s3.webhooks {
            s3::webhook_check(arn, address).context("s3.webhooks")?;
        }
        for arn in &self.s3.webhooks_for_all {
            anyhow::ensure!(self.s3.webhooks.contains_key(arn), "s3.webhooks_for_all: {arn:?} is none of s3.webhooks");
        }
        self.region.parse::<model::scope::Region>().map_err(|_| anyhow::anyhow!("region: {:?} is no region of AWS", self.region))?;
        anyhow::ensure!(self.capacity.vcpu_overcommit >= 1.0, "capacity.vcpu_overcommit: must be at least 1");
        anyhow::ensure!(self.capacity.memory_overcommit > 0.0, "capacity.memory_overcommit: must be above 0");
        anyhow::ensure!(self.capacity.disk_overcommit > 0.0, "capacity.disk_overcommit: must be above 0");
        anyhow::ensure!(self.capacity.disk_reserve_mib <= 512, "capacity.disk_reserve_mib: must be at most 512");
        anyhow::ensure!((8..=28).contains(&self.network.public_pool.prefix_len()), "network.public_pool: must be a /8 to /28");
        anyhow::ensure!((1280..=9001).contains(&self.network.mtu), "network.mtu: must be 1280 to 9001");
        Ok(())
    }
}

#[cfg(test)]
impl Config {
    /// The names of all settings, without their sections: what has a value in the debug form, which no field escapes.
    pub(crate) fn setting_names(&self) -> Vec<String> {
        let text = format!("{self:#?}");
        let fields = text.lines().filter_map(|line| line.trim_start().split_once(": "));
        // `text` is the file itself, not a setting in it.
        fields.filter(|(name, value)| *name != "text" && !value.ends_with('{')).map(|(name, _)| name.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_guides_example_holds_every_default() {
        let text = include_str!("../../../docs/guide/pileus.toml");
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn the_guides_example_names_every_setting_and_says_what_it_is() {
        let text = include_str!("../../../docs/guide/pileus.toml");
        for name in Config::default().setting_names() {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap_or_else(|| panic!("{name} is missing"));
            assert!(line.contains("  # "), "{line}");
        }
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused() {
        for bad in ["lisen = \"x\"", "[network]\nuplnk = \"none\"", "[network]\nuplink = \"magic\"", "listen = 5"] {
            assert!(toml::from_str::<Config>(bad).is_err(), "{bad}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "region = \"mars-1\"").unwrap();
        let error = Config::load(Some(file.path())).unwrap_err();
        assert!(format!("{error:#}").contains("mars-1"), "{error:#}");
        std::fs::write(file.path(), "[s3]\nwebhooks_for_all = [\"arn:aws:sqs:us-east-1:000000000000:none\"]").unwrap();
        let error = Config::load(Some(file.path())).unwrap_err();
        assert!(format!("{error:#}").contains(":none"), "{error:#}");
    }
}

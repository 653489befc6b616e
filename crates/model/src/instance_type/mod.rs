//! Instance types: AWS's catalogue, and what one instance of a type takes on a host.

mod table;

use crate::capacity::{Host, Overcommit, Used, fits};
pub use table::all;

/// The type of a launch that names none ("RunInstances", `InstanceType`).
pub const DEFAULT: &str = "m1.small";
const GB: u64 = 1_000_000_000;
/// The architecture that this cloud's hosts run.
const HOST_ARCHITECTURE: &str = "x86_64";

/// One type. What only DescribeInstanceTypes asks for is read from the table's text on demand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InstanceType {
    /// Such as `t3.nano`.
    pub name: &'static str,
    /// Letters of the boolean facts, see the table's header.
    flags: &'static str,
    /// The processor's manufacturer.
    pub maker: &'static str,
    /// Supported architectures, separated by commas.
    architectures: &'static str,
    /// Supported processor features, separated by commas.
    features: &'static str,
    /// The clock speed that its processor sustains, in MHz, where AWS tells it.
    pub clock_mhz: Option<u32>,
    /// Default cores.
    pub cores: u32,
    /// Default threads of each core.
    pub threads_per_core: u32,
    /// Core counts that `CpuOptions` may ask for, as `first-last/step` separated by commas.
    valid_cores: &'static str,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Instance storage, if it has any.
    pub storage: Option<Storage>,
    /// How it reaches EBS volumes.
    pub ebs: Ebs,
    /// Its network.
    pub network: Network,
    /// Accelerators, as the table has them.
    devices: &'static str,
}

/// Instance storage: equal disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// How many disks.
    pub count: u32,
    /// The size of each, in GB (10⁹ bytes).
    pub size_gb: u32,
    /// `ssd` or `hdd`.
    pub kind: &'static str,
}

/// Whether a feature is there. The words are AWS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// `default`: always on.
    Default,
    /// `required`: always on.
    Required,
    /// `supported`: on where asked for.
    Supported,
    /// `unsupported`.
    Unsupported,
}

impl Support {
    /// AWS's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Required => "required",
            Self::Supported => "supported",
            Self::Unsupported => "unsupported",
        }
    }
}

/// What a type has for EBS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ebs {
    /// EBS-optimized performance.
    pub optimized: Support,
    /// Volumes as NVMe devices.
    pub nvme: Support,
    /// Whether volumes share their attachment limit with network interfaces and NVMe instance storage.
    pub limit_shared: bool,
    /// Most attachments.
    pub attachments_max: u32,
    /// EBS cards with half of the performance each, where there is more than one.
    pub cards: u32,
    /// Sustained performance, where EBS-optimized performance is supported.
    pub baseline: Option<Rate>,
    /// Burst performance.
    pub maximum: Option<Rate>,
}

/// A performance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Mbit/s.
    pub mbps: u32,
    /// Operations a second.
    pub iops: u32,
    /// MB/s.
    pub megabytes: f64,
}

/// What a type has for networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Elastic network adapters.
    pub ena: Support,
    /// Most network interfaces, on all cards.
    pub interfaces_max: u32,
    /// Most IPv4 addresses of an interface; of IPv6 addresses as many, where they are supported.
    pub addresses_max: u32,
    /// Seconds that security groups remember an idle TCP connection.
    pub tcp_established_seconds: u32,
    /// Most EFA interfaces, where EFA is supported.
    pub efa_max: Option<u32>,
    /// AWS's words, such as `Up to 5 Gigabit`.
    pub performance: &'static str,
    /// The cards, as the table has them.
    cards: &'static str,
}

/// A network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkCard {
    /// Most interfaces.
    pub interfaces_max: u32,
    /// Sustained Mbit/s, where AWS tells it.
    pub baseline_mbps: Option<u32>,
    /// Burst Mbit/s, where AWS tells it.
    pub peak_mbps: Option<u32>,
    /// ENA queues of an interface.
    pub queues: u32,
    /// Most ENA queues of all interfaces.
    pub queues_max: Option<u32>,
    /// Most ENA queues of an interface.
    pub queues_per_interface_max: Option<u32>,
    /// Further interfaces for flexible queues.
    pub flexible_interfaces: Option<u32>,
    /// AWS's words.
    pub performance: &'static str,
}

/// Which member of a description a device belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// `GpuInfo`.
    Gpu,
    /// `FpgaInfo`.
    Fpga,
    /// `InferenceAcceleratorInfo`.
    Inference,
    /// `MediaAcceleratorInfo`.
    Media,
    /// `NeuronInfo`.
    Neuron,
}

/// A kind of accelerator that a type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Where a description shows it.
    pub kind: DeviceKind,
    /// Its manufacturer; none for Neuron devices.
    pub maker: Option<&'static str>,
    /// Its name.
    pub name: &'static str,
    /// How many there are.
    pub count: u32,
    /// Memory of each, in MiB.
    pub memory_mib: u32,
    /// Memory of all, in MiB.
    pub total_mib: u32,
    /// GPU: logical GPUs. Neuron: cores of each device.
    pub detail: Option<u32>,
    /// GPU: thousandths of a device. Neuron: the cores' version.
    pub detail_2: Option<u32>,
    /// GPU: what it is meant for, separated by commas.
    workloads: &'static str,
}

impl Device {
    /// What a GPU is meant for.
    pub fn workloads(&self) -> impl Iterator<Item = &'static str> + use<> {
        list(self.workloads)
    }
}

/// The items of a list with commas; `-` is an empty one.
fn list(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split(',').filter(|item| !matches!(*item, "" | "-"))
}

/// Names of the letters of the table's `flags`.
macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident $letter:literal),* $(,)?) => {
        impl InstanceType {
            $($(#[$doc])* #[must_use] pub fn $name(&self) -> bool { self.flags.contains($letter) })*
        }
    };
}

flags! {
    /// Whether AWS moves an instance to another host when its host fails.
    auto_recovery 'a',
    /// Whether its processors are paid by credits (`CreditSpecification`).
    burstable 'b',
    /// Whether AWS counts it to the current generation.
    current_generation 'c',
    /// Whether it can be on a Dedicated Host.
    dedicated_hosts 'd',
    /// Whether it can have Nitro Enclaves.
    enclaves 'e',
    /// Whether the free tier has it.
    free_tier_eligible 'f',
    /// Whether ENA queues can be distributed among interfaces.
    flexible_queues 'g',
    /// Whether it can hibernate.
    hibernation 'h',
    /// Whether traffic between instances is encrypted.
    encryption_in_transit 'i',
    /// Whether it can be in a cluster placement group.
    cluster_placement 'k',
    /// Whether it boots by legacy BIOS.
    legacy_bios 'l',
    /// Whether it is a whole host, without a hypervisor.
    bare_metal 'm',
    /// Whether its instance storage is NVMe devices. Others are attached only where a block device mapping names them.
    storage_nvme 'n',
    /// Whether it can be bought on demand.
    on_demand 'o',
    /// Whether it has a precision hardware clock.
    hardware_clock 'p',
    /// Whether it can be bought in capacity blocks.
    capacity_blocks 'q',
    /// Whether a reboot may move it to another host.
    reboot_migration 'r',
    /// Whether it can be bought as a Spot Instance.
    spot 's',
    /// Whether it can have a Nitro TPM.
    tpm 't',
    /// Whether it boots by UEFI.
    uefi 'u',
    /// Whether it runs paravirtual images too.
    paravirtual 'v',
    /// Whether bandwidth can be weighted between network and EBS.
    bandwidth_weightings 'w',
    /// Whether its hypervisor is Xen; else Nitro.
    xen 'x',
    /// Whether its instance storage is encrypted.
    storage_encrypted 'y',
    /// Whether AWS says that secondary interfaces have no further IPv4 addresses.
    secondary_addresses_zero 'z',
    /// Whether it has IPv6.
    ipv6 '6',
    /// Whether it has ENA Express.
    ena_srd 'S',
    /// Whether its root can be instance storage.
    instance_store_root 'I',
}

impl InstanceType {
    /// The type of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        all().binary_search_by(|t| t.name.cmp(name)).ok().map(|at| &all()[at])
    }

    /// What stands before the dot.
    #[must_use]
    pub fn family(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(family, _)| family)
    }

    /// The architectures of images that it runs.
    pub fn architectures(&self) -> impl Iterator<Item = &'static str> + use<> {
        list(self.architectures)
    }

    /// The architectures as messages show them: with commas.
    #[must_use]
    pub fn architectures_text(&self) -> &'static str {
        self.architectures
    }

    /// What its processor can do besides.
    pub fn features(&self) -> impl Iterator<Item = &'static str> + use<> {
        list(self.features)
    }

    /// Virtual processors, unless `CpuOptions` says otherwise.
    #[must_use]
    pub fn vcpus(&self) -> u32 {
        self.cores * self.threads_per_core
    }

    /// The numbers of cores that `CpuOptions` may ask for.
    pub fn valid_cores(&self) -> impl Iterator<Item = u32> + use<> {
        list(self.valid_cores).filter_map(table::steps).flatten()
    }

    /// The numbers of threads a core that `CpuOptions` may ask for.
    pub fn valid_threads(&self) -> impl Iterator<Item = u32> + use<> {
        let most = if self.valid_cores().next().is_some() { self.threads_per_core } else { 0 };
        1..=most
    }

    /// The network cards.
    pub fn network_cards(&self) -> impl Iterator<Item = NetworkCard> + use<> {
        table::cards(self.network.cards)
    }

    /// The accelerators.
    pub fn devices(&self) -> impl Iterator<Item = Device> + use<> {
        table::devices(self.devices)
    }

    /// The credit option of a launch that names none: T2 are `standard` ("Burstable performance instances", credit option).
    #[must_use]
    pub fn default_credits(&self) -> Option<&'static str> {
        self.burstable().then(|| if self.family() == "t2" { "standard" } else { "unlimited" })
    }

    /// The sizes, in bytes, of the instance-store disks that each instance has without asking: NVMe disks.
    pub fn disk_bytes(&self) -> impl Iterator<Item = u64> + use<> {
        let (count, gb) = self.storage.filter(|_| self.storage_nvme()).map_or((0, 0), |s| (s.count, s.size_gb));
        (0..count).map(move |_| u64::from(gb) * GB)
    }

    /// The virtual processors of an instance of it, with these `CpuOptions` (cores, threads a core), if any.
    #[must_use]
    pub fn vcpus_with(&self, cpu_options: Option<(u32, u32)>) -> u32 {
        cpu_options.map_or(self.vcpus(), |(cores, threads)| cores * threads)
    }

    /// What one machine of it takes on a host. `CpuOptions` don't change it, as they don't change the price on AWS.
    #[must_use]
    pub fn takes(&self) -> Used {
        Used { vcpus: self.vcpus().into(), memory_mib: self.memory_mib.into(), disk_bytes: self.disk_bytes().sum() }
    }

    /// Why no host of this cloud can run it, whatever its size.
    #[must_use]
    pub fn unrunnable(&self) -> Option<&'static str> {
        if self.bare_metal() {
            Some("bare metal needs a whole host")
        } else if !self.architectures().any(|a| a == HOST_ARCHITECTURE) {
            Some("its architecture is not that of this host")
        } else if self.devices != "-" {
            Some("this host has no accelerators for it")
        } else {
            None
        }
    }

    /// Whether an empty host of this size can run it.
    #[must_use]
    pub fn runs_on(&self, host: &Host, overcommit: &Overcommit) -> bool {
        self.unrunnable().is_none() && fits(host, overcommit, &Used::default(), &self.takes()) > 0
    }
}

/// What many machines take together: for each type's name, how many there are.
pub fn taken<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> Used {
    // Every type that an instance has was found in the table when it was launched, and the table only grows.
    let each = counts.filter_map(|(name, count)| InstanceType::find(name).map(|t| (t.takes(), count)));
    each.fold(Used::default(), |sum, (takes, count)| takes.times_plus(count, sum))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn find(name: &str) -> &'static InstanceType {
        InstanceType::find(name).unwrap()
    }

    #[test]
    fn sizes() {
        assert_eq!(find("t3.nano").takes(), Used { vcpus: 2, memory_mib: 512, disk_bytes: 0 });
        // NVMe disks come with the type: 97,656,250 sectors of 512 bytes. Others come by a block device mapping only.
        assert_eq!(find("c5d.large").disk_bytes().collect::<Vec<_>>(), [97_656_250 * 512]);
        assert_eq!(find("m1.small").storage, Some(Storage { count: 1, size_gb: 160, kind: "hdd" }));
        assert_eq!(find("m1.small").takes(), Used { vcpus: 1, memory_mib: 1740, disk_bytes: 0 });
    }

    #[test]
    fn valid_cores_are_as_aws_lists_them() {
        let cores = |name: &str| find(name).valid_cores().collect::<Vec<_>>();
        assert_eq!(cores("t3.nano"), [1]);
        assert_eq!(cores("m5.xlarge"), [2]);
        assert_eq!(cores("m5.4xlarge"), [2, 4, 6, 8]);
        assert_eq!(cores("c5a.24xlarge"), [1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48]);
        assert_eq!(cores("c5.18xlarge").first(), Some(&4));
        assert!(cores("m5.metal").is_empty());
        assert_eq!(find("m8g.large").valid_threads().collect::<Vec<_>>(), [1]);
        assert_eq!(find("m5.large").valid_threads().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(find("t2.micro").valid_threads().count(), 0);
    }

    #[test]
    fn what_a_host_can_run() {
        let overcommit = Overcommit { vcpus: 16.0, memory: 1.0, memory_reserve_mib: 1024 };
        let host = Host { vcpus: 2, memory_mib: 8192, disk_bytes: 100 * GB };
        for name in ["t2.micro", "t3.nano", "m1.small", "c5d.large"] {
            assert!(find(name).runs_on(&host, &overcommit), "{name}");
        }
        for name in ["t4g.micro", "mac1.metal", "c5.metal", "g4dn.xlarge", "inf1.xlarge", "m5.24xlarge", "i3.large"] {
            assert!(!find(name).runs_on(&host, &overcommit), "{name}");
        }
        assert_eq!(find("m5.24xlarge").unrunnable(), None);
    }

    #[test]
    fn credits() {
        assert_eq!(find("t2.micro").default_credits(), Some("standard"));
        assert_eq!(find("t4g.micro").default_credits(), Some("unlimited"));
        assert_eq!(find("m5.large").default_credits(), None);
    }
}

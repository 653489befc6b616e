//! Instance types: what a machine of each is made of ("Amazon EC2 instance types"; sizes as DescribeInstanceTypes gives them).

use crate::capacity::Used;

/// One type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceType {
    /// Such as `t3.nano`.
    pub name: &'static str,
    /// Cores, each of two threads.
    pub cores: u32,
    /// The clock speed that its processor sustains, in MHz.
    pub clock_mhz: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Instance-store disks: how many, and the size of each in GB (10⁹ bytes).
    pub disks: (u32, u32),
    /// Most network interfaces.
    pub interfaces_max: u32,
    /// Most IPv4 addresses of an interface, and most IPv6 ones.
    pub addresses_max: u32,
    /// What its network always has, and at its best, in Mbit/s.
    pub network_mbps: (u32, u32),
    /// Queues of an interface (ENA).
    pub queues: u32,
    /// Its way to EBS.
    pub ebs: Ebs,
}

/// What a type has for EBS: always, and at its best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ebs {
    /// Mbit/s, always.
    pub baseline_mbps: u32,
    /// Operations a second, always.
    pub baseline_iops: u32,
    /// Mbit/s, at its best.
    pub maximum_mbps: u32,
    /// Operations a second, at its best.
    pub maximum_iops: u32,
    /// Most volumes, which share their places with the interfaces.
    pub attachments_max: u32,
}

/// Threads a core, unless `CpuOptions` says otherwise.
pub const THREADS_PER_CORE: u32 = 2;
const GB: u64 = 1_000_000_000;
/// Most memory of an instance that can hibernate, in MiB ("Prerequisites for EC2 instance hibernation": less than 150 GiB).
const HIBERNATION_MIB_MAX: u32 = 150 * 1024;

/// A row of the table. `network`: interfaces, addresses an interface, Mbit/s always and at best, queues. `ebs`: Mbit/s and operations a
/// second, always and at best, attachments.
const fn kind(
    name: &'static str,
    cores: u32,
    clock_mhz: u32,
    memory_mib: u32,
    disks: (u32, u32),
    network: [u32; 5],
    ebs: [u32; 5],
) -> InstanceType {
    let [interfaces_max, addresses_max, network_baseline, network_peak, queues] = network;
    let [baseline_mbps, baseline_iops, maximum_mbps, maximum_iops, attachments_max] = ebs;
    InstanceType {
        name,
        cores,
        clock_mhz,
        memory_mib,
        disks,
        interfaces_max,
        addresses_max,
        network_mbps: (network_baseline, network_peak),
        queues,
        ebs: Ebs { baseline_mbps, baseline_iops, maximum_mbps, maximum_iops, attachments_max },
    }
}

/// All types, by name.
pub const INSTANCE_TYPES: &[InstanceType] = &[
    kind("c5.12xlarge", 24, 3_600, 98_304, (0, 0), [8, 30, 12_000, 12_000, 8], [9_500, 40_000, 9_500, 40_000, 27]),
    kind("c5.18xlarge", 36, 3_400, 147_456, (0, 0), [15, 50, 25_000, 25_000, 8], [19_000, 80_000, 19_000, 80_000, 27]),
    kind("c5.24xlarge", 48, 3_600, 196_608, (0, 0), [15, 50, 25_000, 25_000, 8], [19_000, 80_000, 19_000, 80_000, 27]),
    kind("c5.2xlarge", 4, 3_400, 16_384, (0, 0), [4, 15, 2_500, 10_000, 8], [2_300, 10_000, 4_750, 20_000, 27]),
    kind("c5.4xlarge", 8, 3_400, 32_768, (0, 0), [8, 30, 5_000, 10_000, 8], [4_750, 20_000, 4_750, 20_000, 27]),
    kind("c5.9xlarge", 18, 3_400, 73_728, (0, 0), [8, 30, 12_000, 12_000, 8], [9_500, 40_000, 9_500, 40_000, 27]),
    kind("c5.large", 1, 3_400, 4_096, (0, 0), [3, 10, 750, 10_000, 8], [650, 4_000, 4_750, 20_000, 27]),
    kind("c5.metal", 48, 3_600, 196_608, (0, 0), [15, 50, 25_000, 25_000, 8], [19_000, 80_000, 19_000, 80_000, 31]),
    kind("c5.xlarge", 2, 3_400, 8_192, (0, 0), [4, 15, 1_250, 10_000, 8], [1_150, 6_000, 4_750, 20_000, 27]),
    kind("c5d.12xlarge", 24, 3_600, 98_304, (2, 900), [8, 30, 12_000, 12_000, 8], [9_500, 40_000, 9_500, 40_000, 25]),
    kind("c5d.18xlarge", 36, 3_400, 147_456, (2, 900), [15, 50, 25_000, 25_000, 8], [19_000, 80_000, 19_000, 80_000, 25]),
    kind("c5d.24xlarge", 48, 3_600, 196_608, (4, 900), [15, 50, 25_000, 25_000, 8], [19_000, 80_000, 19_000, 80_000, 23]),
    kind("c5d.2xlarge", 4, 3_400, 16_384, (1, 200), [4, 15, 2_500, 10_000, 8], [2_300, 10_000, 4_750, 20_000, 26]),
    kind("c5d.4xlarge", 8, 3_400, 32_768, (1, 400), [8, 30, 5_000, 10_000, 8], [4_750, 20_000, 4_750, 20_000, 26]),
    kind("c5d.9xlarge", 18, 3_400, 73_728, (1, 900), [8, 30, 12_000, 12_000, 8], [9_500, 40_000, 9_500, 40_000, 26]),
    kind("c5d.large", 1, 3_400, 4_096, (1, 50), [3, 10, 750, 10_000, 8], [650, 4_000, 4_750, 20_000, 26]),
    kind("c5d.metal", 48, 3_600, 196_608, (4, 900), [15, 50, 25_000, 25_000, 8], [19_000, 80_000, 19_000, 80_000, 31]),
    kind("c5d.xlarge", 2, 3_400, 8_192, (1, 100), [4, 15, 1_250, 10_000, 8], [1_150, 6_000, 4_750, 20_000, 26]),
    kind("m5.12xlarge", 24, 3_100, 196_608, (0, 0), [8, 30, 12_000, 12_000, 8], [9_500, 40_000, 9_500, 40_000, 27]),
    kind("m5.16xlarge", 32, 3_100, 262_144, (0, 0), [15, 50, 20_000, 20_000, 8], [13_600, 60_000, 13_600, 60_000, 27]),
    kind("m5.24xlarge", 48, 3_100, 393_216, (0, 0), [15, 50, 25_000, 25_000, 8], [19_000, 80_000, 19_000, 80_000, 27]),
    kind("m5.2xlarge", 4, 3_100, 32_768, (0, 0), [4, 15, 2_500, 10_000, 8], [2_300, 12_000, 4_750, 18_750, 27]),
    kind("m5.4xlarge", 8, 3_100, 65_536, (0, 0), [8, 30, 5_000, 10_000, 8], [4_750, 18_750, 4_750, 18_750, 27]),
    kind("m5.8xlarge", 16, 3_100, 131_072, (0, 0), [8, 30, 10_000, 10_000, 8], [6_800, 30_000, 6_800, 30_000, 27]),
    kind("m5.large", 1, 3_100, 8_192, (0, 0), [3, 10, 750, 10_000, 8], [650, 3_600, 4_750, 18_750, 27]),
    kind("m5.metal", 48, 3_100, 393_216, (0, 0), [15, 50, 25_000, 25_000, 8], [19_000, 80_000, 19_000, 80_000, 31]),
    kind("m5.xlarge", 2, 3_100, 16_384, (0, 0), [4, 15, 1_250, 10_000, 8], [1_150, 6_000, 4_750, 18_750, 27]),
    kind("t3.2xlarge", 4, 2_500, 32_768, (0, 0), [4, 15, 2_048, 5_000, 8], [695, 4_000, 2_780, 15_700, 27]),
    kind("t3.large", 1, 2_500, 8_192, (0, 0), [3, 12, 512, 5_000, 2], [695, 4_000, 2_780, 15_700, 27]),
    kind("t3.medium", 1, 2_500, 4_096, (0, 0), [3, 6, 256, 5_000, 2], [347, 2_000, 2_085, 11_800, 27]),
    kind("t3.micro", 1, 2_500, 1_024, (0, 0), [2, 2, 64, 5_000, 2], [87, 500, 2_085, 11_800, 27]),
    kind("t3.nano", 1, 2_500, 512, (0, 0), [2, 2, 32, 5_000, 2], [43, 250, 2_085, 11_800, 27]),
    kind("t3.small", 1, 2_500, 2_048, (0, 0), [3, 4, 128, 5_000, 2], [174, 1_000, 2_085, 11_800, 27]),
    kind("t3.xlarge", 2, 2_500, 16_384, (0, 0), [4, 15, 1_024, 5_000, 4], [695, 4_000, 2_780, 15_700, 27]),
];

impl InstanceType {
    /// The type of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        INSTANCE_TYPES.binary_search_by(|t| t.name.cmp(name)).ok().map(|at| &INSTANCE_TYPES[at])
    }

    /// What stands before the dot.
    #[must_use]
    pub fn family(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(family, _)| family)
    }

    /// Virtual processors, unless `CpuOptions` says otherwise.
    #[must_use]
    pub fn vcpus(&self) -> u32 {
        self.cores * THREADS_PER_CORE
    }

    /// Whether it is a whole host, without a hypervisor.
    #[must_use]
    pub fn bare_metal(&self) -> bool {
        self.name.ends_with(".metal")
    }

    /// Whether its processors are paid by credits (`CreditSpecification`).
    #[must_use]
    pub fn burstable(&self) -> bool {
        self.family() == "t3"
    }

    /// Whether AWS counts it to the current generation.
    #[must_use]
    pub fn current_generation(&self) -> bool {
        matches!(self.family(), "t3" | "c5d")
    }

    /// Whether AWS's free tier has it.
    #[must_use]
    pub fn free_tier_eligible(&self) -> bool {
        matches!(self.name, "t3.micro" | "t3.small")
    }

    /// `Up to 5 Gigabit` or `25 Gigabit`.
    #[must_use]
    pub fn network_performance(&self) -> String {
        let (baseline, peak) = self.network_mbps;
        format!("{}{} Gigabit", if baseline < peak { "Up to " } else { "" }, peak / 1000)
    }

    /// Whether AWS moves an instance of it to another host when its host fails.
    #[must_use]
    pub fn auto_recovery(&self) -> bool {
        self.disks.0 == 0
    }

    /// Whether a reboot may move it to another host.
    #[must_use]
    pub fn reboot_migration(&self) -> bool {
        self.disks.0 == 0
    }

    /// Whether a Dedicated Host can be made for it.
    #[must_use]
    pub fn dedicated_hosts(&self) -> bool {
        !matches!(self.name, "c5.24xlarge" | "c5.metal" | "c5d.metal")
    }

    /// Whether it can hibernate.
    #[must_use]
    pub fn hibernation(&self) -> bool {
        !self.bare_metal() && self.memory_mib <= HIBERNATION_MIB_MAX
    }

    /// Whether it can have Nitro Enclaves.
    #[must_use]
    pub fn enclaves(&self) -> bool {
        !self.bare_metal() && !self.burstable() && self.cores > 1
    }

    /// The numbers of cores that `CpuOptions` may ask for.
    pub fn valid_cores(&self) -> impl Iterator<Item = u32> + use<> {
        let (cores, first) = match (self.bare_metal(), self.name) {
            (true, _) => (0, 2),
            (false, "c5.18xlarge" | "c5d.18xlarge" | "m5.24xlarge") => (self.cores, 4),
            (false, _) => (self.cores, 2),
        };
        (first..=cores).step_by(2).chain((cores == 1).then_some(1))
    }

    /// The sizes of its instance-store disks, in bytes.
    pub fn disk_bytes(&self) -> impl Iterator<Item = u64> + use<> {
        let (count, gb) = self.disks;
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

    #[test]
    fn the_table_is_sorted_and_found() {
        assert!(INSTANCE_TYPES.is_sorted_by(|a, b| a.name < b.name));
        for t in INSTANCE_TYPES {
            assert_eq!(InstanceType::find(t.name), Some(t));
        }
        assert_eq!(InstanceType::find("t3.nona"), None);
    }

    #[test]
    fn sizes() {
        let nano = InstanceType::find("t3.nano").unwrap();
        assert_eq!(nano.takes(), Used { vcpus: 2, memory_mib: 512, disk_bytes: 0 });
        // The lecture's disk: 97,656,250 sectors of 512 bytes.
        let c5d = InstanceType::find("c5d.large").unwrap();
        assert_eq!(c5d.disk_bytes().collect::<Vec<_>>(), [97_656_250 * 512]);
    }

    #[test]
    fn valid_cores_are_as_aws_lists_them() {
        let cores = |name: &str| InstanceType::find(name).unwrap().valid_cores().collect::<Vec<_>>();
        assert_eq!(cores("t3.nano"), [1]);
        assert_eq!(cores("m5.xlarge"), [2]);
        assert_eq!(cores("m5.4xlarge"), [2, 4, 6, 8]);
        assert_eq!(cores("c5.18xlarge").first(), Some(&4));
        assert!(cores("m5.metal").is_empty());
    }
}

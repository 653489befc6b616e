//! Instance types: what a machine of each is made of ("Amazon EC2 instance types"; sizes as DescribeInstanceTypes gives them).

use crate::capacity::Used;

/// One type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceType {
    /// Such as `t3.nano`.
    pub name: &'static str,
    /// Cores, each of two threads.
    pub cores: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Instance-store disks: how many, and the size of each in GB (10⁹ bytes).
    pub disks: (u32, u32),
    /// Most network interfaces.
    pub interfaces_max: u32,
}

/// Threads a core, unless `CpuOptions` says otherwise.
pub const THREADS_PER_CORE: u32 = 2;
const GB: u64 = 1_000_000_000;

const fn kind(name: &'static str, cores: u32, memory_mib: u32, disks: (u32, u32), interfaces_max: u32) -> InstanceType {
    InstanceType { name, cores, memory_mib, disks, interfaces_max }
}

/// All types, by name.
pub const INSTANCE_TYPES: &[InstanceType] = &[
    kind("c5.12xlarge", 24, 98_304, (0, 0), 8),
    kind("c5.18xlarge", 36, 147_456, (0, 0), 15),
    kind("c5.24xlarge", 48, 196_608, (0, 0), 15),
    kind("c5.2xlarge", 4, 16_384, (0, 0), 4),
    kind("c5.4xlarge", 8, 32_768, (0, 0), 8),
    kind("c5.9xlarge", 18, 73_728, (0, 0), 8),
    kind("c5.large", 1, 4_096, (0, 0), 3),
    kind("c5.metal", 48, 196_608, (0, 0), 15),
    kind("c5.xlarge", 2, 8_192, (0, 0), 4),
    kind("c5d.12xlarge", 24, 98_304, (2, 900), 8),
    kind("c5d.18xlarge", 36, 147_456, (2, 900), 15),
    kind("c5d.24xlarge", 48, 196_608, (4, 900), 15),
    kind("c5d.2xlarge", 4, 16_384, (1, 200), 4),
    kind("c5d.4xlarge", 8, 32_768, (1, 400), 8),
    kind("c5d.9xlarge", 18, 73_728, (1, 900), 8),
    kind("c5d.large", 1, 4_096, (1, 50), 3),
    kind("c5d.metal", 48, 196_608, (4, 900), 15),
    kind("c5d.xlarge", 2, 8_192, (1, 100), 4),
    kind("m5.12xlarge", 24, 196_608, (0, 0), 8),
    kind("m5.16xlarge", 32, 262_144, (0, 0), 15),
    kind("m5.24xlarge", 48, 393_216, (0, 0), 15),
    kind("m5.2xlarge", 4, 32_768, (0, 0), 4),
    kind("m5.4xlarge", 8, 65_536, (0, 0), 8),
    kind("m5.8xlarge", 16, 131_072, (0, 0), 8),
    kind("m5.large", 1, 8_192, (0, 0), 3),
    kind("m5.metal", 48, 393_216, (0, 0), 15),
    kind("m5.xlarge", 2, 16_384, (0, 0), 4),
    kind("t3.2xlarge", 4, 32_768, (0, 0), 4),
    kind("t3.large", 1, 8_192, (0, 0), 3),
    kind("t3.medium", 1, 4_096, (0, 0), 3),
    kind("t3.micro", 1, 1_024, (0, 0), 2),
    kind("t3.nano", 1, 512, (0, 0), 2),
    kind("t3.small", 1, 2_048, (0, 0), 3),
    kind("t3.xlarge", 2, 16_384, (0, 0), 4),
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

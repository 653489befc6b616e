//! What fits on a host: one rule, asked by whoever places a machine.

/// What a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Its processors' threads.
    pub vcpus: u32,
    /// Its memory, in MiB.
    pub memory_mib: u64,
    /// The room for instance storage, in bytes. It is reserved in full, since AWS's instance storage never runs out half way.
    pub disk_bytes: u64,
}

/// How much more may be promised than there is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overcommit {
    /// Virtual processors for each of the host's threads.
    pub vcpus: f64,
    /// MiB of guests' memory for each MiB of the host's.
    pub memory: f64,
    /// Memory that is kept for the host itself, in MiB, taken off before overcommitting.
    pub memory_reserve_mib: u64,
}

/// What one machine takes, or many together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Virtual processors.
    pub vcpus: u64,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Instance storage, in bytes.
    pub disk_bytes: u64,
}

impl Used {
    /// This, `count` times, and `other`.
    #[must_use]
    pub fn times_plus(self, count: u64, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_mul(count).saturating_add(other.vcpus),
            memory_mib: self.memory_mib.saturating_mul(count).saturating_add(other.memory_mib),
            disk_bytes: self.disk_bytes.saturating_mul(count).saturating_add(other.disk_bytes),
        }
    }
}

/// What may be promised on a host.
#[must_use]
pub fn promised_max(host: &Host, overcommit: &Overcommit) -> Used {
    // A float turned to an integer saturates, and a NaN becomes 0: nothing fits then, which is the safe side.
    let scale = |n: u64, by: f64| (n as f64 * by) as u64;
    Used {
        vcpus: scale(u64::from(host.vcpus), overcommit.vcpus),
        memory_mib: scale(host.memory_mib.saturating_sub(overcommit.memory_reserve_mib), overcommit.memory),
        disk_bytes: host.disk_bytes,
    }
}

/// How many machines that take `each` fit beside what is used. A single machine never has more virtual processors than the overcommitted
/// host, nor more memory.
#[must_use]
pub fn fits(host: &Host, overcommit: &Overcommit, used: &Used, each: &Used) -> u64 {
    let max = promised_max(host, overcommit);
    let by = |max: u64, used: u64, each: u64| max.saturating_sub(used).checked_div(each).unwrap_or(u64::MAX);
    by(max.vcpus, used.vcpus, each.vcpus).min(by(max.memory_mib, used.memory_mib, each.memory_mib)).min(by(
        max.disk_bytes,
        used.disk_bytes,
        each.disk_bytes,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host { vcpus: 2, memory_mib: 8192, disk_bytes: 100 };
    const PLAIN: Overcommit = Overcommit { vcpus: 1.0, memory: 1.0, memory_reserve_mib: 0 };
    const NANO: Used = Used { vcpus: 2, memory_mib: 512, disk_bytes: 0 };

    #[test]
    fn the_scarcest_decides() {
        assert_eq!(fits(&HOST, &PLAIN, &Used::default(), &NANO), 1);
        let overcommit = Overcommit { vcpus: 16.0, memory: 1.0, memory_reserve_mib: 1024 };
        assert_eq!(fits(&HOST, &overcommit, &Used::default(), &NANO), 14);
        let overcommit = Overcommit { memory: 2.0, ..overcommit };
        assert_eq!(fits(&HOST, &overcommit, &Used::default(), &NANO), 16);
        let stored = Used { disk_bytes: 40, ..NANO };
        assert_eq!(fits(&HOST, &overcommit, &Used::default(), &stored), 2);
        assert_eq!(fits(&HOST, &overcommit, &stored, &stored), 1);
        assert_eq!(fits(&HOST, &overcommit, &stored.times_plus(2, NANO), &stored), 0);
    }

    #[test]
    fn more_used_than_there_is_is_no_room() {
        let used = Used { vcpus: 99, memory_mib: 99_999, disk_bytes: 999 };
        assert_eq!(fits(&HOST, &PLAIN, &used, &NANO), 0);
        let reserve = Overcommit { memory_reserve_mib: 9000, ..PLAIN };
        assert_eq!(fits(&HOST, &reserve, &Used::default(), &NANO), 0);
        let broken = Overcommit { vcpus: f64::NAN, ..PLAIN };
        assert_eq!(fits(&HOST, &broken, &Used::default(), &NANO), 0);
    }
}

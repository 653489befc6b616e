//! The filters of DescribeInstanceTypes.

use super::show;
use crate::ec2::shown::bool_text;
use model::filter::Field;
use model::instance_type::{InstanceType, NetworkCard, Rate, Storage};

pub(super) const FIELDS: &[Field<InstanceType>] = &[
    ("auto-recovery-supported", |t, is| is(bool_text(t.auto_recovery()))),
    ("bare-metal", |t, is| is(bool_text(t.bare_metal()))),
    ("burstable-performance-supported", |t, is| is(bool_text(t.burstable()))),
    ("current-generation", |t, is| is(bool_text(t.current_generation()))),
    ("dedicated-hosts-supported", |t, is| is(bool_text(t.dedicated_hosts()))),
    ("ebs-info.attachment-limit-type", |t, is| is(show::attachment_limit(t))),
    ("ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps", |t, is| rate(t.ebs.baseline, is, |r| r.mbps.to_string())),
    ("ebs-info.ebs-optimized-info.baseline-iops", |t, is| rate(t.ebs.baseline, is, |r| r.iops.to_string())),
    ("ebs-info.ebs-optimized-info.baseline-throughput-in-mbps", |t, is| rate(t.ebs.baseline, is, |r| format!("{:?}", r.megabytes))),
    ("ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps", |t, is| rate(t.ebs.maximum, is, |r| r.mbps.to_string())),
    ("ebs-info.ebs-optimized-info.maximum-iops", |t, is| rate(t.ebs.maximum, is, |r| r.iops.to_string())),
    ("ebs-info.ebs-optimized-info.maximum-throughput-in-mbps", |t, is| rate(t.ebs.maximum, is, |r| format!("{:?}", r.megabytes))),
    ("ebs-info.ebs-optimized-support", |t, is| is(t.ebs.optimized.as_str())),
    ("ebs-info.encryption-support", |_, is| is("supported")),
    ("ebs-info.maximum-ebs-attachments", |t, is| is(&t.ebs.attachments_max.to_string())),
    ("ebs-info.nvme-support", |t, is| is(t.ebs.nvme.as_str())),
    ("free-tier-eligible", |t, is| is(bool_text(t.free_tier_eligible()))),
    ("hibernation-supported", |t, is| is(bool_text(t.hibernation()))),
    ("hypervisor", |t, is| show::hypervisor(t).iter().for_each(|h| is(h))),
    ("instance-storage-info.disk.count", |t, is| storage(t, is, |s| s.count.to_string())),
    ("instance-storage-info.disk.size-in-gb", |t, is| storage(t, is, |s| s.size_gb.to_string())),
    ("instance-storage-info.disk.type", |t, is| storage(t, is, |s| s.kind.into())),
    ("instance-storage-info.encryption-support", |t, is| storage(t, is, |_| show::required(t.storage_encrypted()).into())),
    ("instance-storage-info.nvme-support", |t, is| storage(t, is, |_| show::required(t.storage_nvme()).into())),
    ("instance-storage-info.total-size-in-gb", |t, is| storage(t, is, |s| (s.count * s.size_gb).to_string())),
    ("instance-storage-supported", |t, is| is(bool_text(t.storage.is_some()))),
    ("instance-type", |t, is| is(t.name)),
    ("memory-info.size-in-mib", |t, is| is(&t.memory_mib.to_string())),
    ("network-info.bandwidth-weightings", |t, is| show::weightings(t).iter().for_each(|w| is(w))),
    ("network-info.efa-info.maximum-efa-interfaces", |t, is| t.network.efa_max.iter().for_each(|n| is(&n.to_string()))),
    ("network-info.efa-supported", |t, is| is(bool_text(t.network.efa_max.is_some()))),
    ("network-info.ena-support", |t, is| is(t.network.ena.as_str())),
    ("network-info.encryption-in-transit-supported", |t, is| is(bool_text(t.encryption_in_transit()))),
    ("network-info.flexible-ena-queues-support", |t, is| is(show::supported(t.flexible_queues()))),
    ("network-info.ipv4-addresses-per-interface", |t, is| is(&t.network.addresses_max.to_string())),
    ("network-info.ipv6-addresses-per-interface", |t, is| is(&show::ipv6_max(t).to_string())),
    ("network-info.ipv6-supported", |t, is| is(bool_text(t.ipv6()))),
    ("network-info.maximum-network-cards", |t, is| is(&t.network_cards().count().to_string())),
    ("network-info.maximum-network-interfaces", |t, is| is(&t.network.interfaces_max.to_string())),
    ("network-info.network-cards.baseline-bandwidth-in-gbps", |t, is| cards(t, is, |c| c.baseline_mbps)),
    ("network-info.network-cards.peak-bandwidth-in-gbps", |t, is| cards(t, is, |c| c.peak_mbps)),
    ("network-info.network-performance", |t, is| is(t.network.performance)),
    ("nitro-enclaves-support", |t, is| is(show::supported(t.enclaves()))),
    ("nitro-tpm-info.supported-versions", |t, is| show::tpm(t).iter().for_each(|v| is(v))),
    ("nitro-tpm-support", |t, is| is(show::supported(t.tpm()))),
    ("processor-info.supported-architecture", |t, is| t.architectures().for_each(is)),
    ("processor-info.supported-features", |t, is| t.features().for_each(is)),
    ("processor-info.sustained-clock-speed-in-ghz", |t, is| t.clock_mhz.iter().for_each(|mhz| is(&thousandth(*mhz)))),
    ("reboot-migration-support", |t, is| is(show::supported(t.reboot_migration()))),
    ("supported-boot-mode", |t, is| show::boot_modes(t).for_each(is)),
    ("supported-root-device-type", |t, is| show::root_devices(t).iter().for_each(|r| is(r))),
    ("supported-usage-class", |t, is| show::usage_classes(t).for_each(is)),
    ("supported-virtualization-type", |t, is| show::virtualization(t).iter().for_each(|v| is(v))),
    ("vcpu-info.default-cores", |t, is| is(&t.cores.to_string())),
    ("vcpu-info.default-threads-per-core", |t, is| is(&t.threads_per_core.to_string())),
    ("vcpu-info.default-vcpus", |t, is| is(&t.vcpus().to_string())),
    ("vcpu-info.valid-cores", |t, is| t.valid_cores().for_each(|c| is(&c.to_string()))),
    ("vcpu-info.valid-threads-per-core", |t, is| t.valid_threads().for_each(|n| is(&n.to_string()))),
];

fn rate(rate: Option<Rate>, is: &mut dyn FnMut(&str), of: fn(Rate) -> String) {
    rate.into_iter().map(of).for_each(|text| is(&text));
}

fn storage(t: &InstanceType, is: &mut dyn FnMut(&str), of: impl Fn(Storage) -> String) {
    t.storage.into_iter().map(of).for_each(|text| is(&text));
}

fn cards(t: &InstanceType, is: &mut dyn FnMut(&str), of: fn(NetworkCard) -> Option<u32>) {
    t.network_cards().filter_map(of).for_each(|mbps| is(&thousandth(mbps)));
}

fn thousandth(n: u32) -> String {
    format!("{:?}", show::thousandths(n))
}

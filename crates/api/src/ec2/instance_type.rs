//! DescribeInstanceTypes. Nothing in it is a tenant's.

use super::common::{Paging, filters};
use super::shown::{bool_text, fixed, none, number, text};
use crate::action::{Call, Read, actions};
use model::filter::Field;
use model::instance_type::{Ebs, INSTANCE_TYPES, InstanceType, THREADS_PER_CORE};
use model::tag::Tags;
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

actions![read DescribeInstanceTypes,];

const PAGE_LEAST: i32 = 5;
const PAGE_MOST: i32 = 100;
/// Most types that a call may name.
const NAMES_MAX: usize = 100;
/// Seconds that a security group's memory of a flow lasts, unless an interface says otherwise.
const TCP_ESTABLISHED_SECONDS: i32 = 432_000;
const UDP_STREAM_SECONDS: i32 = 180;
const UDP_SECONDS: i32 = 30;

pub(super) struct DescribeInstanceTypes;

impl Read for DescribeInstanceTypes {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeInstanceTypes";
    type Input = shapes::DescribeInstanceTypesRequest;
    type Output = shapes::DescribeInstanceTypesResult;

    fn run(call: &Call, _: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let max = Some(input.max_results.unwrap_or(PAGE_MOST));
        let paging = Paging::new(call, max, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), FIELDS, false)?;
        let named = input.instance_types.unwrap_or_default();
        if named.len() > NAMES_MAX {
            return Err(super::common::invalid_value(format!("The number of instance types is greater than {NAMES_MAX}")));
        }
        let unknown: Vec<&str> = named.iter().map(String::as_str).filter(|n| InstanceType::find(n).is_none()).collect();
        if !unknown.is_empty() {
            let says = format!("The following supplied instance types do not exist: [{}]", unknown.join(", "));
            return Err(ApiError::new("InvalidInstanceType", says));
        }
        let types = INSTANCE_TYPES.iter().filter(|t| named.is_empty() || named.iter().any(|n| n == t.name));
        let types = types.filter(|t| filters.matches(t, &Tags::default()));
        let (page, next_token) = paging.cut(types, |t| t.name.to_owned());
        Ok(shapes::DescribeInstanceTypesResult { next_token, instance_types: Some(page.into_iter().map(show).collect()) })
    }
}

const FIELDS: &[Field<InstanceType>] = &[
    ("auto-recovery-supported", |t, is| is(bool_text(t.auto_recovery()))),
    ("bare-metal", |t, is| is(bool_text(t.bare_metal()))),
    ("burstable-performance-supported", |t, is| is(bool_text(t.burstable()))),
    ("current-generation", |t, is| is(bool_text(t.current_generation()))),
    ("dedicated-hosts-supported", |t, is| is(bool_text(t.dedicated_hosts()))),
    ("ebs-info.attachment-limit-type", |_, is| is("shared")),
    ("ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps", |t, is| is(&t.ebs.baseline_mbps.to_string())),
    ("ebs-info.ebs-optimized-info.baseline-iops", |t, is| is(&t.ebs.baseline_iops.to_string())),
    ("ebs-info.ebs-optimized-info.baseline-throughput-in-mbps", |t, is| is(&format!("{:?}", bytes(t.ebs.baseline_mbps)))),
    ("ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps", |t, is| is(&t.ebs.maximum_mbps.to_string())),
    ("ebs-info.ebs-optimized-info.maximum-iops", |t, is| is(&t.ebs.maximum_iops.to_string())),
    ("ebs-info.ebs-optimized-info.maximum-throughput-in-mbps", |t, is| is(&format!("{:?}", bytes(t.ebs.maximum_mbps)))),
    ("ebs-info.ebs-optimized-support", |_, is| is("default")),
    ("ebs-info.encryption-support", |_, is| is("supported")),
    ("ebs-info.maximum-ebs-attachments", |t, is| is(&t.ebs.attachments_max.to_string())),
    ("ebs-info.nvme-support", |_, is| is("required")),
    ("free-tier-eligible", |t, is| is(bool_text(t.free_tier_eligible()))),
    ("hibernation-supported", |t, is| is(bool_text(t.hibernation()))),
    ("hypervisor", |t, is| hypervisor(t).iter().for_each(|h| is(h))),
    ("instance-storage-info.disk.count", |t, is| storage(t, |count, _| is(&count.to_string()))),
    ("instance-storage-info.disk.size-in-gb", |t, is| storage(t, |_, gb| is(&gb.to_string()))),
    ("instance-storage-info.disk.type", |t, is| storage(t, |_, _| is("ssd"))),
    ("instance-storage-info.encryption-support", |t, is| storage(t, |_, _| is("required"))),
    ("instance-storage-info.nvme-support", |t, is| storage(t, |_, _| is("required"))),
    ("instance-storage-info.total-size-in-gb", |t, is| storage(t, |count, gb| is(&(count * gb).to_string()))),
    ("instance-storage-supported", |t, is| is(bool_text(t.disks.0 > 0))),
    ("instance-type", |t, is| is(t.name)),
    ("memory-info.size-in-mib", |t, is| is(&t.memory_mib.to_string())),
    ("network-info.bandwidth-weightings", none),
    ("network-info.efa-info.maximum-efa-interfaces", none),
    ("network-info.efa-supported", |_, is| is("false")),
    ("network-info.ena-support", |_, is| is("required")),
    ("network-info.encryption-in-transit-supported", |_, is| is("false")),
    ("network-info.flexible-ena-queues-support", |_, is| is("unsupported")),
    ("network-info.ipv4-addresses-per-interface", |t, is| is(&t.addresses_max.to_string())),
    ("network-info.ipv6-addresses-per-interface", |t, is| is(&t.addresses_max.to_string())),
    ("network-info.ipv6-supported", |_, is| is("true")),
    ("network-info.maximum-network-cards", |_, is| is("1")),
    ("network-info.maximum-network-interfaces", |t, is| is(&t.interfaces_max.to_string())),
    ("network-info.network-performance", |t, is| is(&t.network_performance())),
    ("nitro-enclaves-support", |t, is| is(supported(t.enclaves()))),
    ("nitro-tpm-info.supported-versions", |t, is| tpm(t).iter().for_each(|v| is(v))),
    ("nitro-tpm-support", |t, is| is(supported(tpm(t).is_some()))),
    ("processor-info.supported-architecture", |_, is| is("x86_64")),
    ("processor-info.supported-features", none),
    ("processor-info.sustained-clock-speed-in-ghz", |t, is| is(&format!("{:?}", thousandths(t.clock_mhz)))),
    ("reboot-migration-support", |t, is| is(supported(t.reboot_migration()))),
    ("supported-boot-mode", |t, is| boot_modes(t).iter().for_each(|m| is(m))),
    ("supported-root-device-type", |_, is| is("ebs")),
    ("supported-usage-class", |_, is| USAGE_CLASSES.iter().for_each(|c| is(c))),
    ("supported-virtualization-type", |_, is| is("hvm")),
    ("vcpu-info.default-cores", |t, is| is(&t.cores.to_string())),
    ("vcpu-info.default-threads-per-core", |_, is| is(&THREADS_PER_CORE.to_string())),
    ("vcpu-info.default-vcpus", |t, is| is(&t.vcpus().to_string())),
    ("vcpu-info.valid-cores", |t, is| t.valid_cores().for_each(|c| is(&c.to_string()))),
    ("vcpu-info.valid-threads-per-core", |t, is| valid_threads(t).for_each(|n| is(&n.to_string()))),
];

const USAGE_CLASSES: [&str; 2] = ["on-demand", "spot"];

fn supported(yes: bool) -> &'static str {
    if yes { "supported" } else { "unsupported" }
}

fn hypervisor(t: &InstanceType) -> Option<&'static str> {
    (!t.bare_metal()).then_some("nitro")
}

fn tpm(t: &InstanceType) -> Option<&'static str> {
    (!t.bare_metal()).then_some("2.0")
}

fn boot_modes(t: &InstanceType) -> &'static [&'static str] {
    if t.bare_metal() { &["legacy-bios"] } else { &["legacy-bios", "uefi"] }
}

fn valid_threads(t: &InstanceType) -> impl Iterator<Item = u32> + use<> {
    1..=(if t.bare_metal() { 0 } else { THREADS_PER_CORE })
}

/// Calls with the number of disks and the size of each in GB, if there are any.
fn storage(t: &InstanceType, then: impl FnOnce(u32, u32)) {
    let (count, gb) = t.disks;
    if count > 0 {
        then(count, gb);
    }
}

/// Mbit/s as MB/s.
fn bytes(mbps: u32) -> f64 {
    f64::from(mbps) / 8.0
}

fn thousandths(n: u32) -> f64 {
    f64::from(n) / 1000.0
}

fn texts(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|t| (*t).to_owned()).collect())
}

fn show(t: &InstanceType) -> shapes::InstanceTypeInfo {
    let strategies: &[&str] = if t.burstable() { &["partition", "spread"] } else { &["cluster", "partition", "spread"] };
    shapes::InstanceTypeInfo {
        instance_type: fixed(t.name),
        current_generation: Some(t.current_generation()),
        free_tier_eligible: Some(t.free_tier_eligible()),
        supported_usage_classes: texts(&USAGE_CLASSES),
        supported_root_device_types: texts(&["ebs"]),
        supported_virtualization_types: texts(&["hvm"]),
        supported_boot_modes: texts(boot_modes(t)),
        bare_metal: Some(t.bare_metal()),
        hypervisor: hypervisor(t).and_then(fixed),
        processor_info: Some(shapes::ProcessorInfo {
            supported_architectures: texts(&["x86_64"]),
            sustained_clock_speed_in_ghz: Some(thousandths(t.clock_mhz)),
            manufacturer: fixed("Intel"),
            ..Default::default()
        }),
        vcpu_info: Some(vcpus(t)),
        memory_info: Some(shapes::MemoryInfo { size_in_mib: Some(t.memory_mib.into()) }),
        instance_storage_supported: Some(t.disks.0 > 0),
        instance_storage_info: instance_storage(t),
        ebs_info: Some(ebs(&t.ebs)),
        network_info: Some(network(t)),
        placement_group_info: Some(shapes::PlacementGroupInfo { supported_strategies: texts(strategies) }),
        hibernation_supported: Some(t.hibernation()),
        burstable_performance_supported: Some(t.burstable()),
        dedicated_hosts_supported: Some(t.dedicated_hosts()),
        auto_recovery_supported: Some(t.auto_recovery()),
        reboot_migration_support: fixed(supported(t.reboot_migration())),
        nitro_enclaves_support: fixed(supported(t.enclaves())),
        nitro_tpm_support: fixed(supported(tpm(t).is_some())),
        nitro_tpm_info: tpm(t).map(|version| shapes::NitroTpmInfo { supported_versions: texts(&[version]) }),
        phc_support: fixed(supported(false)),
        ..Default::default()
    }
}

fn vcpus(t: &InstanceType) -> shapes::VCpuInfo {
    let list = |numbers: Vec<Option<i32>>| if numbers.is_empty() { None } else { numbers.into_iter().collect() };
    shapes::VCpuInfo {
        default_vcpus: number(t.vcpus()),
        default_cores: number(t.cores),
        default_threads_per_core: number(THREADS_PER_CORE),
        valid_cores: list(t.valid_cores().map(number).collect()),
        valid_threads_per_core: list(valid_threads(t).map(number).collect()),
    }
}

fn instance_storage(t: &InstanceType) -> Option<shapes::InstanceStorageInfo> {
    let (count, gb) = t.disks;
    (count > 0).then(|| shapes::InstanceStorageInfo {
        total_size_in_gb: Some((count * gb).into()),
        disks: Some(vec![shapes::DiskInfo { size_in_gb: Some(gb.into()), count: number(count), r#type: fixed("ssd") }]),
        nvme_support: fixed("required"),
        encryption_support: fixed("required"),
    })
}

fn ebs(ebs: &Ebs) -> shapes::EbsInfo {
    shapes::EbsInfo {
        ebs_optimized_support: fixed("default"),
        encryption_support: fixed("supported"),
        nvme_support: fixed("required"),
        attachment_limit_type: fixed("shared"),
        maximum_ebs_attachments: number(ebs.attachments_max),
        ebs_optimized_info: Some(shapes::EbsOptimizedInfo {
            baseline_bandwidth_in_mbps: number(ebs.baseline_mbps),
            baseline_throughput_in_m_bps: Some(bytes(ebs.baseline_mbps)),
            baseline_iops: number(ebs.baseline_iops),
            maximum_bandwidth_in_mbps: number(ebs.maximum_mbps),
            maximum_throughput_in_m_bps: Some(bytes(ebs.maximum_mbps)),
            maximum_iops: number(ebs.maximum_iops),
        }),
        ..Default::default()
    }
}

fn network(t: &InstanceType) -> shapes::NetworkInfo {
    let card = shapes::NetworkCardInfo {
        network_card_index: Some(0),
        network_performance: text(&t.network_performance()),
        maximum_network_interfaces: number(t.interfaces_max),
        baseline_bandwidth_in_gbps: Some(thousandths(t.network_mbps.0)),
        peak_bandwidth_in_gbps: Some(thousandths(t.network_mbps.1)),
        default_ena_queue_count_per_interface: number(t.queues),
        ..Default::default()
    };
    shapes::NetworkInfo {
        network_performance: text(&t.network_performance()),
        maximum_network_interfaces: number(t.interfaces_max),
        maximum_network_cards: Some(1),
        default_network_card_index: Some(0),
        network_cards: Some(vec![card]),
        ipv4_addresses_per_interface: number(t.addresses_max),
        ipv6_addresses_per_interface: number(t.addresses_max),
        ipv6_supported: Some(true),
        ena_support: fixed("required"),
        efa_supported: Some(false),
        ena_srd_supported: Some(false),
        encryption_in_transit_supported: Some(false),
        flexible_ena_queues_support: fixed("unsupported"),
        secondary_network_supported: Some(false),
        connection_tracking_configuration: Some(shapes::DefaultConnectionTrackingConfiguration {
            default_tcp_established_timeout: Some(TCP_ESTABLISHED_SECONDS),
            default_udp_stream_timeout: Some(UDP_STREAM_SECONDS),
            default_udp_timeout: Some(UDP_SECONDS),
        }),
        ..Default::default()
    }
}

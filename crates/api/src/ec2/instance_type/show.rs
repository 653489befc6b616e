//! A type as DescribeInstanceTypes shows it.

use crate::ec2::shown::{fixed, number};
use model::instance_type::{DeviceKind, Ebs, InstanceType, NetworkCard, Rate, Storage};
use wire::shapes::ec2 as shapes;

/// Seconds that a security group remembers a flow of UDP, unless an interface says otherwise.
const UDP_STREAM_SECONDS: i32 = 180;
const UDP_SECONDS: i32 = 30;

pub(super) fn supported(yes: bool) -> &'static str {
    if yes { "supported" } else { "unsupported" }
}

pub(super) fn required(yes: bool) -> &'static str {
    if yes { "required" } else { "unsupported" }
}

pub(super) fn hypervisor(t: &InstanceType) -> Option<&'static str> {
    (!t.bare_metal()).then(|| if t.xen() { "xen" } else { "nitro" })
}

pub(super) fn tpm(t: &InstanceType) -> Option<&'static str> {
    t.tpm().then_some("2.0")
}

pub(super) fn boot_modes(t: &InstanceType) -> impl Iterator<Item = &'static str> {
    present([(t.legacy_bios(), "legacy-bios"), (t.uefi(), "uefi")])
}

pub(super) fn usage_classes(t: &InstanceType) -> impl Iterator<Item = &'static str> {
    present([(t.capacity_blocks(), "capacity-block"), (t.on_demand(), "on-demand"), (t.spot(), "spot")])
}

fn strategies(t: &InstanceType) -> impl Iterator<Item = &'static str> {
    present([(t.cluster_placement(), "cluster"), (true, "partition"), (true, "spread")])
}

pub(super) fn root_devices(t: &InstanceType) -> &'static [&'static str] {
    if t.instance_store_root() { &["ebs", "instance-store"] } else { &["ebs"] }
}

pub(super) fn virtualization(t: &InstanceType) -> &'static [&'static str] {
    if t.paravirtual() { &["hvm", "paravirtual"] } else { &["hvm"] }
}

pub(super) fn weightings(t: &InstanceType) -> &'static [&'static str] {
    if t.bandwidth_weightings() { &["default", "ebs-1", "vpc-1"] } else { &[] }
}

pub(super) fn attachment_limit(t: &InstanceType) -> &'static str {
    if t.ebs.limit_shared { "shared" } else { "dedicated" }
}

pub(super) fn ipv6_max(t: &InstanceType) -> u32 {
    if t.ipv6() { t.network.addresses_max } else { 0 }
}

pub(super) fn thousandths(n: u32) -> f64 {
    f64::from(n) / 1000.0
}

fn present<const N: usize>(items: [(bool, &'static str); N]) -> impl Iterator<Item = &'static str> {
    items.into_iter().filter(|(yes, _)| *yes).map(|(_, text)| text)
}

/// A list of texts, absent where it is empty.
fn texts(list: impl IntoIterator<Item = &'static str>) -> Option<Vec<String>> {
    some(list.into_iter().map(str::to_owned).collect())
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|l| !l.is_empty())
}

pub(super) fn info(t: &InstanceType) -> shapes::InstanceTypeInfo {
    let mut info = shapes::InstanceTypeInfo {
        instance_type: fixed(t.name),
        current_generation: Some(t.current_generation()),
        free_tier_eligible: Some(t.free_tier_eligible()),
        supported_usage_classes: texts(usage_classes(t)),
        supported_root_device_types: texts(root_devices(t).iter().copied()),
        supported_virtualization_types: texts(virtualization(t).iter().copied()),
        supported_boot_modes: texts(boot_modes(t)),
        supported_in_region: Some(true),
        bare_metal: Some(t.bare_metal()),
        hypervisor: hypervisor(t).and_then(fixed),
        processor_info: Some(shapes::ProcessorInfo {
            supported_architectures: texts(t.architectures()),
            supported_features: texts(t.features()),
            sustained_clock_speed_in_ghz: t.clock_mhz.map(thousandths),
            manufacturer: fixed(t.maker),
        }),
        vcpu_info: Some(shapes::VCpuInfo {
            default_vcpus: number(t.vcpus()),
            default_cores: number(t.cores),
            default_threads_per_core: number(t.threads_per_core),
            valid_cores: some(t.valid_cores().filter_map(number).collect()),
            valid_threads_per_core: some(t.valid_threads().filter_map(number).collect()),
        }),
        memory_info: Some(shapes::MemoryInfo { size_in_mib: Some(t.memory_mib.into()) }),
        instance_storage_supported: Some(t.storage.is_some()),
        instance_storage_info: t.storage.map(|s| storage(t, s)),
        ebs_info: Some(ebs(t)),
        network_info: Some(network(t)),
        placement_group_info: Some(shapes::PlacementGroupInfo { supported_strategies: texts(strategies(t)) }),
        hibernation_supported: Some(t.hibernation()),
        burstable_performance_supported: Some(t.burstable()),
        dedicated_hosts_supported: Some(t.dedicated_hosts()),
        auto_recovery_supported: Some(t.auto_recovery()),
        reboot_migration_support: fixed(supported(t.reboot_migration())),
        nitro_enclaves_support: fixed(supported(t.enclaves())),
        nitro_tpm_support: fixed(supported(t.tpm())),
        nitro_tpm_info: tpm(t).map(|version| shapes::NitroTpmInfo { supported_versions: texts([version]) }),
        phc_support: fixed(supported(t.hardware_clock())),
        ..Default::default()
    };
    devices(t, &mut info);
    info
}

fn storage(t: &InstanceType, s: Storage) -> shapes::InstanceStorageInfo {
    let disk = shapes::DiskInfo { size_in_gb: Some(s.size_gb.into()), count: number(s.count), r#type: fixed(s.kind) };
    shapes::InstanceStorageInfo {
        total_size_in_gb: Some((s.count * s.size_gb).into()),
        disks: Some(vec![disk]),
        nvme_support: fixed(required(t.storage_nvme())),
        encryption_support: fixed(required(t.storage_encrypted())),
    }
}

fn ebs(t: &InstanceType) -> shapes::EbsInfo {
    let ebs = &t.ebs;
    let info = ebs.baseline.zip(ebs.maximum).map(|(baseline, maximum)| shapes::EbsOptimizedInfo {
        baseline_bandwidth_in_mbps: number(baseline.mbps),
        baseline_throughput_in_m_bps: Some(baseline.megabytes),
        baseline_iops: number(baseline.iops),
        maximum_bandwidth_in_mbps: number(maximum.mbps),
        maximum_throughput_in_m_bps: Some(maximum.megabytes),
        maximum_iops: number(maximum.iops),
    });
    let several = ebs.cards > 1;
    shapes::EbsInfo {
        ebs_optimized_support: fixed(ebs.optimized.as_str()),
        encryption_support: fixed("supported"),
        nvme_support: fixed(ebs.nvme.as_str()),
        attachment_limit_type: fixed(attachment_limit(t)),
        maximum_ebs_attachments: number(ebs.attachments_max),
        ebs_optimized_info: info,
        maximum_ebs_cards: number(ebs.cards).filter(|_| several),
        ebs_cards: several.then(|| (0..ebs.cards).map(|index| ebs_card(ebs, index)).collect()),
    }
}

/// One of several cards that share the type's performance evenly.
fn ebs_card(ebs: &Ebs, index: u32) -> shapes::EbsCardInfo {
    let share = |rate: Option<Rate>, of: fn(Rate) -> u32| rate.and_then(|r| number(of(r) / ebs.cards));
    let megabytes = |rate: Option<Rate>| rate.map(|r| r.megabytes / f64::from(ebs.cards));
    shapes::EbsCardInfo {
        ebs_card_index: number(index),
        baseline_bandwidth_in_mbps: share(ebs.baseline, |r| r.mbps),
        baseline_throughput_in_m_bps: megabytes(ebs.baseline),
        baseline_iops: share(ebs.baseline, |r| r.iops),
        maximum_bandwidth_in_mbps: share(ebs.maximum, |r| r.mbps),
        maximum_throughput_in_m_bps: megabytes(ebs.maximum),
        maximum_iops: share(ebs.maximum, |r| r.iops),
    }
}

fn network(t: &InstanceType) -> shapes::NetworkInfo {
    let n = &t.network;
    let cards: Vec<_> = (0..).zip(t.network_cards()).map(|(index, card)| network_card(index, &card)).collect();
    shapes::NetworkInfo {
        network_performance: fixed(n.performance),
        maximum_network_interfaces: number(n.interfaces_max),
        maximum_network_cards: i32::try_from(cards.len()).ok(),
        default_network_card_index: Some(0),
        network_cards: Some(cards),
        ipv4_addresses_per_interface: number(n.addresses_max),
        ipv4_addresses_per_secondary_interface: t.secondary_addresses_zero().then_some(0),
        ipv6_addresses_per_interface: number(ipv6_max(t)),
        ipv6_supported: Some(t.ipv6()),
        ena_support: fixed(n.ena.as_str()),
        efa_supported: Some(n.efa_max.is_some()),
        efa_info: n.efa_max.map(|most| shapes::EfaInfo { maximum_efa_interfaces: number(most) }),
        ena_srd_supported: Some(t.ena_srd()),
        encryption_in_transit_supported: Some(t.encryption_in_transit()),
        flexible_ena_queues_support: fixed(supported(t.flexible_queues())),
        bandwidth_weightings: texts(weightings(t).iter().copied()),
        secondary_network_supported: Some(false),
        connection_tracking_configuration: Some(shapes::DefaultConnectionTrackingConfiguration {
            default_tcp_established_timeout: number(n.tcp_established_seconds),
            default_udp_stream_timeout: Some(UDP_STREAM_SECONDS),
            default_udp_timeout: Some(UDP_SECONDS),
        }),
        ..Default::default()
    }
}

fn network_card(index: i32, card: &NetworkCard) -> shapes::NetworkCardInfo {
    shapes::NetworkCardInfo {
        network_card_index: Some(index),
        network_performance: fixed(card.performance),
        maximum_network_interfaces: number(card.interfaces_max),
        baseline_bandwidth_in_gbps: card.baseline_mbps.map(thousandths),
        peak_bandwidth_in_gbps: card.peak_mbps.map(thousandths),
        default_ena_queue_count_per_interface: number(card.queues),
        maximum_ena_queue_count: card.queues_max.and_then(number),
        maximum_ena_queue_count_per_interface: card.queues_per_interface_max.and_then(number),
        additional_flexible_network_interfaces: card.flexible_interfaces.and_then(number),
    }
}

/// Accelerators: a type has at most one description of each kind.
fn devices(t: &InstanceType, info: &mut shapes::InstanceTypeInfo) {
    for d in t.devices() {
        let (name, maker, count) = (fixed(d.name), d.maker.and_then(fixed), number(d.count));
        let (memory, total) = (number(d.memory_mib), number(d.total_mib));
        match d.kind {
            DeviceKind::Gpu => {
                let gpu = shapes::GpuDeviceInfo {
                    name,
                    manufacturer: maker,
                    count,
                    logical_gpu_count: d.detail.and_then(number),
                    gpu_partition_size: d.detail_2.map(thousandths),
                    workloads: texts(d.workloads()),
                    memory_info: Some(shapes::GpuDeviceMemoryInfo { size_in_mib: memory }),
                };
                info.gpu_info = Some(shapes::GpuInfo { gpus: Some(vec![gpu]), total_gpu_memory_in_mib: total });
            }
            DeviceKind::Fpga => {
                let memory_info = Some(shapes::FpgaDeviceMemoryInfo { size_in_mib: memory });
                let fpga = shapes::FpgaDeviceInfo { name, manufacturer: maker, count, memory_info };
                info.fpga_info = Some(shapes::FpgaInfo { fpgas: Some(vec![fpga]), total_fpga_memory_in_mib: total });
            }
            DeviceKind::Inference => {
                let memory_info = Some(shapes::InferenceDeviceMemoryInfo { size_in_mib: memory });
                let device = shapes::InferenceDeviceInfo { name, manufacturer: maker, count, memory_info };
                info.inference_accelerator_info =
                    Some(shapes::InferenceAcceleratorInfo { accelerators: Some(vec![device]), total_inference_memory_in_mib: total });
            }
            DeviceKind::Media => {
                let memory_info = Some(shapes::MediaDeviceMemoryInfo { size_in_mib: memory });
                let device = shapes::MediaDeviceInfo { name, manufacturer: maker, count, memory_info };
                info.media_accelerator_info =
                    Some(shapes::MediaAcceleratorInfo { accelerators: Some(vec![device]), total_media_memory_in_mib: total });
            }
            DeviceKind::Neuron => {
                let cores = shapes::NeuronDeviceCoreInfo { count: d.detail.and_then(number), version: d.detail_2.and_then(number) };
                let memory_info = Some(shapes::NeuronDeviceMemoryInfo { size_in_mib: memory });
                let device = shapes::NeuronDeviceInfo { name, count, core_info: Some(cores), memory_info };
                info.neuron_info =
                    Some(shapes::NeuronInfo { neuron_devices: Some(vec![device]), total_neuron_device_memory_in_mib: total });
            }
        }
    }
}

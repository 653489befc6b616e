//! Reads `data/instance_types.tsv`, whose header explains the columns. `cargo xtask instance-types` writes it.

use super::{Device, DeviceKind, Ebs, InstanceType, Network, NetworkCard, Rate, Storage, Support};
use std::sync::LazyLock;

const TEXT: &str = include_str!("../../data/instance_types.tsv");

/// Read at the first use: all of it takes less than a millisecond.
static ALL: LazyLock<Vec<InstanceType>> = LazyLock::new(|| rows().filter_map(row).collect());

/// All types, sorted by name.
#[must_use]
pub fn all() -> &'static [InstanceType] {
    &ALL
}

fn rows() -> impl Iterator<Item = &'static str> {
    TEXT.lines().filter(|line| !line.starts_with('#')).skip(1)
}

/// A row of the table. That none is malformed is tested below.
fn row(line: &'static str) -> Option<InstanceType> {
    let mut columns = line.split('\t');
    let mut next = || columns.next();
    let (name, flags, maker, architectures, features) = (next()?, next()?, next()?, next()?, next()?);
    let (clock, cores, memory, storage_text, ebs_text) = (next()?, next()?, next()?, next()?, next()?);
    let (baseline, maximum, network_text, performance, cards_text, devices_text) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let (count, valid_cores) = cores.split_once(':')?;
    let (cores, threads) = count.split_once('x')?;
    Some(InstanceType {
        name,
        flags,
        maker,
        architectures,
        features,
        clock_mhz: optional(clock)?,
        cores: cores.parse().ok()?,
        threads_per_core: threads.parse().ok()?,
        valid_cores,
        memory_mib: memory.parse().ok()?,
        storage: if storage_text == "-" { None } else { Some(storage(storage_text)?) },
        ebs: ebs(ebs_text, baseline, maximum)?,
        network: network(network_text, performance, cards_text)?,
        devices: devices_text,
    })
}

fn storage(text: &'static str) -> Option<Storage> {
    let (size, kind) = text.split_once(':')?;
    let (count, gb) = size.split_once('x')?;
    Some(Storage { count: count.parse().ok()?, size_gb: gb.parse().ok()?, kind })
}

fn ebs(text: &str, baseline: &str, maximum: &str) -> Option<Ebs> {
    let mut parts = text.split(':');
    Some(Ebs {
        optimized: support(parts.next()?)?,
        nvme: support(parts.next()?)?,
        limit_shared: parts.next()? == "s",
        attachments_max: parts.next()?.parse().ok()?,
        cards: parts.next()?.parse().ok()?,
        baseline: rate(baseline)?,
        maximum: rate(maximum)?,
    })
}

/// `-`, or Mbit/s, operations a second, and MB/s where that isn't an eighth of the Mbit/s.
fn rate(text: &str) -> Option<Option<Rate>> {
    if text == "-" {
        return Some(None);
    }
    let mut parts = text.split(':');
    let mbps: u32 = parts.next()?.parse().ok()?;
    let iops = parts.next()?.parse().ok()?;
    let megabytes = parts.next().map_or(Some(f64::from(mbps) / 8.0), |m| m.parse().ok())?;
    Some(Some(Rate { mbps, iops, megabytes }))
}

fn network(text: &str, performance: &'static str, cards_text: &'static str) -> Option<Network> {
    let mut parts = text.split(':');
    Some(Network {
        ena: support(parts.next()?)?,
        addresses_max: parts.next()?.parse().ok()?,
        tcp_established_seconds: parts.next()?.parse().ok()?,
        efa_max: optional(parts.next()?)?,
        performance,
        interfaces_max: cards(cards_text).map(|c| c.interfaces_max).sum(),
        cards: cards_text,
    })
}

/// The cards of the `cards` column, those that are equal one by one.
pub(super) fn cards(text: &'static str) -> impl Iterator<Item = NetworkCard> {
    let groups = text.split(';').filter_map(|group| {
        let (count, card_text) = group.split_once('*')?;
        Some(std::iter::repeat_n(card(card_text)?, count.parse().ok()?))
    });
    groups.flatten()
}

fn card(text: &'static str) -> Option<NetworkCard> {
    let mut parts = text.split(':');
    let mut next = || parts.next();
    Some(NetworkCard {
        interfaces_max: next()?.parse().ok()?,
        baseline_mbps: optional(next()?)?,
        peak_mbps: optional(next()?)?,
        queues: next()?.parse().ok()?,
        queues_max: optional(next()?)?,
        queues_per_interface_max: optional(next()?)?,
        flexible_interfaces: optional(next()?)?,
        performance: next()?,
    })
}

/// The devices of the `devices` column.
pub(super) fn devices(text: &'static str) -> impl Iterator<Item = Device> {
    text.split(';').filter_map(device)
}

fn device(text: &'static str) -> Option<Device> {
    let mut parts = text.split('|');
    let kind = match parts.next()? {
        "gpu" => DeviceKind::Gpu,
        "fpga" => DeviceKind::Fpga,
        "inference" => DeviceKind::Inference,
        "media" => DeviceKind::Media,
        "neuron" => DeviceKind::Neuron,
        _ => return None,
    };
    Some(Device {
        kind,
        maker: parts.next().filter(|m| *m != "-"),
        name: parts.next()?,
        count: parts.next()?.parse().ok()?,
        memory_mib: parts.next()?.parse().ok()?,
        total_mib: parts.next()?.parse().ok()?,
        detail: parts.next().and_then(|n| n.parse().ok()),
        detail_2: parts.next().and_then(|n| n.parse().ok()),
        workloads: parts.next().unwrap_or("-"),
    })
}

/// `first-last/step`, or one number.
pub(super) fn steps(text: &str) -> Option<impl Iterator<Item = u32> + use<>> {
    let (range, step) = text.split_once('/').unwrap_or((text, "1"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
    let step = step.parse().ok().filter(|s| *s > 0)?;
    Some((first..=last).step_by(step))
}

fn support(letter: &str) -> Option<Support> {
    Some(match letter {
        "d" => Support::Default,
        "r" => Support::Required,
        "s" => Support::Supported,
        "u" => Support::Unsupported,
        _ => return None,
    })
}

/// A number, or `-` for none.
fn optional(text: &str) -> Option<Option<u32>> {
    if text == "-" { Some(None) } else { text.parse().ok().map(Some) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_row_is_read() {
        assert_eq!(rows().filter(|line| row(line).is_none()).collect::<Vec<_>>(), [""; 0]);
        assert!(all().len() > 1300);
        assert!(all().is_sorted_by(|a, b| a.name < b.name));
        for t in all() {
            assert_eq!(InstanceType::find(t.name), Some(t));
            assert!(t.network.interfaces_max > 0 && t.vcpus() > 0 && t.memory_mib > 0, "{}", t.name);
            assert_eq!(t.network_cards().count(), t.network.cards.split(';').map(cards_counted).sum::<usize>(), "{}", t.name);
            assert_eq!(t.devices().count(), if t.devices == "-" { 0 } else { t.devices.split(';').count() }, "{}", t.name);
            assert!(t.valid_cores().all(|c| c <= t.cores), "{}", t.name);
            assert!(t.valid_cores == "-" || t.valid_cores().last() == Some(t.cores), "{}", t.name);
        }
        assert_eq!(InstanceType::find("t3.nona"), None);
    }

    fn cards_counted(group: &str) -> usize {
        group.split_once('*').unwrap().0.parse().unwrap()
    }

    #[test]
    fn cards_and_devices() {
        let p4d = InstanceType::find("p4d.24xlarge").unwrap();
        assert_eq!((p4d.network_cards().count(), p4d.network.interfaces_max), (4, 60));
        let gpu = p4d.devices().next().unwrap();
        assert_eq!((gpu.kind, gpu.maker, gpu.name, gpu.count, gpu.memory_mib), (DeviceKind::Gpu, Some("NVIDIA"), "A100", 8, 40_960));
        assert_eq!(gpu.workloads().collect::<Vec<_>>(), ["ml-ai"]);
    }
}

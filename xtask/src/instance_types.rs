//! `crates/model/data/instance_types.tsv`, from a reply of DescribeInstanceTypes.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// The table's place. `crates/model/src/instance_type/table.rs` reads it.
const TABLE: &str = "crates/model/data/instance_types.tsv";

const HEADER: &str = "\
# AWS's instance types: facts of DescribeInstanceTypes. Written by `cargo xtask instance-types FILE`; never edited.
# FILE is the saved reply of DescribeInstanceTypes, or a list or map of its InstanceTypes: `aws ec2 describe-instance-types`, or the copy
# of it that the moto project keeps (moto/ec2/resources/instance_types.json).
# One type a line, sorted by name, with tabs between columns; `-` is none.
#   flags     a auto recovery, b burstable, c current generation, d dedicated hosts, e Nitro enclaves, f free tier, g flexible ENA queues,
#             h hibernation, i encryption in transit, k cluster placement, l legacy BIOS, m bare metal, n instance storage is NVMe,
#             o on-demand, p precision hardware clock, q capacity blocks, r reboot migration, s spot, t Nitro TPM, u UEFI,
#             v paravirtual, w bandwidth weightings, x Xen, y instance storage is encrypted, z zero IPv4 addresses per secondary
#             interface, 6 IPv6, S ENA SRD, I instance-store roots
#   cores     default cores x default threads a core; valid core counts as first-last/step
#   storage   disks x GB (10^9 bytes) and their kind
#   ebs       EBS-optimized / NVMe (d default, r required, s supported, u unsupported), attachment limit (d dedicated, s shared),
#             most attachments, EBS cards
#   baseline, maximum   Mbit/s : operations a second, and MB/s where that isn't an eighth of the Mbit/s
#   network   ENA (r, s, u), IPv4 addresses an interface, seconds of a TCP connection's tracking, EFA interfaces
#   cards     count * interfaces : baseline Mbit/s : peak Mbit/s : ENA queues an interface : most queues : most an interface : flexible
#             interfaces : performance
#   devices   kind | maker | name | count | MiB each | MiB together | details
name\tflags\tmaker\tarchitectures\tfeatures\tMHz\tcores\tMiB\tstorage\tebs\tbaseline\tmaximum\tnetwork\tperformance\tcards\tdevices
";

/// Whether a type has a fact.
type Fact = fn(&Value) -> bool;

/// Letters of the boolean facts. `crates/model/src/instance_type/mod.rs` gives them names.
const FLAGS: &[(char, Fact)] = &[
    ('a', |t| t["AutoRecoverySupported"] == true),
    ('b', |t| t["BurstablePerformanceSupported"] == true),
    ('c', |t| t["CurrentGeneration"] == true),
    ('d', |t| t["DedicatedHostsSupported"] == true),
    ('e', |t| t["NitroEnclavesSupport"] == "supported"),
    ('f', |t| t["FreeTierEligible"] == true),
    ('g', |t| t["NetworkInfo"]["FlexibleEnaQueuesSupport"] == "supported"),
    ('h', |t| t["HibernationSupported"] == true),
    ('i', |t| t["NetworkInfo"]["EncryptionInTransitSupported"] == true),
    ('k', |t| has(&t["PlacementGroupInfo"]["SupportedStrategies"], "cluster")),
    ('l', |t| has(&t["SupportedBootModes"], "legacy-bios")),
    ('m', |t| t["BareMetal"] == true),
    ('n', |t| t["InstanceStorageInfo"]["NvmeSupport"] == "required"),
    ('o', |t| has(&t["SupportedUsageClasses"], "on-demand")),
    ('p', |t| t["PhcSupport"] == "supported"),
    ('q', |t| has(&t["SupportedUsageClasses"], "capacity-block")),
    ('r', |t| t["RebootMigrationSupport"] == "supported"),
    ('s', |t| has(&t["SupportedUsageClasses"], "spot")),
    ('t', |t| t["NitroTpmSupport"] == "supported"),
    ('u', |t| has(&t["SupportedBootModes"], "uefi")),
    ('v', |t| has(&t["SupportedVirtualizationTypes"], "paravirtual")),
    ('w', |t| t["NetworkInfo"]["BandwidthWeightings"].is_array()),
    ('x', |t| t["Hypervisor"] == "xen"),
    ('y', |t| t["InstanceStorageInfo"]["EncryptionSupport"] == "required"),
    ('z', |t| t["NetworkInfo"]["Ipv4AddressesPerSecondaryInterface"] == 0),
    ('6', |t| t["NetworkInfo"]["Ipv6Supported"] == true),
    ('S', |t| t["NetworkInfo"]["EnaSrdSupported"] == true),
    ('I', |t| has(&t["SupportedRootDeviceTypes"], "instance-store")),
];

pub(crate) fn run(root: &Path, from: &Path) -> Result<()> {
    let text = std::fs::read_to_string(from).with_context(|| format!("can't read {}", from.display()))?;
    let mut given: Value = serde_json::from_str(&text).with_context(|| format!("in {}", from.display()))?;
    if let Some(list) = given.get_mut("InstanceTypes") {
        given = list.take();
    }
    let types: Vec<Value> = match given {
        Value::Array(list) => list,
        Value::Object(map) => map.into_iter().map(|(_, t)| t).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => anyhow::bail!("{} holds no instance types", from.display()),
    };
    let mut rows = types.iter().map(|t| row(t).with_context(|| format!("type {}", t["InstanceType"]))).collect::<Result<Vec<_>>>()?;
    rows.sort_by(|a, b| a.split('\t').next().cmp(&b.split('\t').next()));
    let mut out = HEADER.to_owned();
    for row in &rows {
        writeln!(out, "{row}")?;
    }
    let path = root.join(TABLE);
    std::fs::write(&path, out).with_context(|| format!("can't write {}", path.display()))?;
    Ok(())
}

fn row(t: &Value) -> Result<String> {
    let (processor, network) = (&t["ProcessorInfo"], &t["NetworkInfo"]);
    let cards = list(&network["NetworkCards"]);
    let columns = [
        word(&t["InstanceType"])?.to_owned(),
        FLAGS.iter().filter(|(_, is)| is(t)).map(|(letter, _)| *letter).collect(),
        word(&processor["Manufacturer"])?.to_owned(),
        words(&processor["SupportedArchitectures"])?,
        words(&processor["SupportedFeatures"])?,
        thousandfold(&processor["SustainedClockSpeedInGhz"]),
        cores(&t["VCpuInfo"])?,
        number(&t["MemoryInfo"]["SizeInMiB"])?.to_string(),
        storage(&t["InstanceStorageInfo"])?,
        ebs(&t["EbsInfo"])?,
        rate(&t["EbsInfo"]["EbsOptimizedInfo"], "Baseline")?,
        rate(&t["EbsInfo"]["EbsOptimizedInfo"], "Maximum")?,
        format!(
            "{}:{}:{}:{}",
            initial(&network["EnaSupport"])?,
            number(&network["Ipv4AddressesPerInterface"])?,
            number(&network["ConnectionTrackingConfiguration"]["DefaultTcpEstablishedTimeout"])?,
            optional(&network["EfaInfo"]["MaximumEfaInterfaces"]),
        ),
        word(&network["NetworkPerformance"])?.to_owned(),
        runs(cards.iter().map(card).collect::<Result<_>>()?),
        devices(t)?,
    ];
    let clean = columns.iter().all(|c| !c.is_empty() && !c.contains(['\t', '\n']));
    anyhow::ensure!(clean, "a column is empty or has a tab in it: {columns:?}");
    Ok(columns.join("\t"))
}

fn cores(v: &Value) -> Result<String> {
    let valid = list(&v["ValidCores"]).iter().map(number).collect::<Result<Vec<_>>>()?;
    let valid = if valid.is_empty() { "-".into() } else { steps(&valid) };
    Ok(format!("{}x{}:{valid}", number(&v["DefaultCores"])?, number(&v["DefaultThreadsPerCore"])?))
}

/// Numbers as `first-last/step`, with commas between.
fn steps(mut numbers: &[u64]) -> String {
    let mut out = Vec::new();
    while let [first, rest @ ..] = numbers {
        let step = rest.first().map_or(1, |second| second - first);
        let more = rest.iter().zip(1..).take_while(|(n, i)| **n == first + step * i).count();
        out.push(if more == 0 { first.to_string() } else { format!("{first}-{}/{step}", rest[more - 1]) });
        numbers = &rest[more..];
    }
    out.join(",")
}

fn storage(s: &Value) -> Result<String> {
    match list(&s["Disks"]) {
        [] => Ok("-".into()),
        [disk] => Ok(format!("{}x{}:{}", number(&disk["Count"])?, number(&disk["SizeInGB"])?, word(&disk["Type"])?)),
        _ => anyhow::bail!("disks of several sizes"),
    }
}

fn ebs(e: &Value) -> Result<String> {
    let [support, nvme, limit] = ["EbsOptimizedSupport", "NvmeSupport", "AttachmentLimitType"].map(|k| initial(&e[k]));
    let cards = list(&e["EbsCards"]).len();
    Ok(format!("{}:{}:{}:{}:{cards}", support?, nvme?, limit?, number(&e["MaximumEbsAttachments"])?))
}

fn rate(info: &Value, which: &str) -> Result<String> {
    if info.is_null() {
        return Ok("-".into());
    }
    let bandwidth = number(&info[format!("{which}BandwidthInMbps")])?;
    let throughput = info[format!("{which}ThroughputInMBps")].as_f64().context("no throughput")?;
    let mut out = format!("{bandwidth}:{}", number(&info[format!("{which}Iops")])?);
    if (throughput - bandwidth as f64 / 8.0).abs() > f64::EPSILON {
        write!(out, ":{throughput}")?;
    }
    Ok(out)
}

fn card(c: &Value) -> Result<String> {
    Ok(format!(
        "{}:{}:{}:{}:{}:{}:{}:{}",
        number(&c["MaximumNetworkInterfaces"])?,
        thousandfold(&c["BaselineBandwidthInGbps"]),
        thousandfold(&c["PeakBandwidthInGbps"]),
        number(&c["DefaultEnaQueueCountPerInterface"])?,
        optional(&c["MaximumEnaQueueCount"]),
        optional(&c["MaximumEnaQueueCountPerInterface"]),
        optional(&c["AdditionalFlexibleNetworkInterfaces"]),
        word(&c["NetworkPerformance"])?,
    ))
}

/// Equal cards that follow each other, counted.
fn runs(cards: Vec<String>) -> String {
    let groups = cards.chunk_by(|a, b| a == b);
    groups.map(|g| format!("{}*{}", g.len(), g[0])).collect::<Vec<_>>().join(";")
}

fn devices(t: &Value) -> Result<String> {
    let mut out = Vec::new();
    for (kind, info, list_name, total) in [
        ("gpu", "GpuInfo", "Gpus", "TotalGpuMemoryInMiB"),
        ("fpga", "FpgaInfo", "Fpgas", "TotalFpgaMemoryInMiB"),
        ("inference", "InferenceAcceleratorInfo", "Accelerators", "TotalInferenceMemoryInMiB"),
        ("media", "MediaAcceleratorInfo", "Accelerators", "TotalMediaMemoryInMiB"),
        ("neuron", "NeuronInfo", "NeuronDevices", "TotalNeuronDeviceMemoryInMiB"),
    ] {
        for d in list(&t[info][list_name]) {
            let maker = d["Manufacturer"].as_str().unwrap_or("-");
            let mut text = format!("{kind}|{maker}|{}|{}", word(&d["Name"])?, number(&d["Count"])?);
            write!(text, "|{}|{}", number(&d["MemoryInfo"]["SizeInMiB"])?, number(&t[info][total])?)?;
            match kind {
                "gpu" => {
                    let logical = number(&d["LogicalGpuCount"])?;
                    write!(text, "|{logical}|{}|{}", thousandfold(&d["GpuPartitionSize"]), words(&d["Workloads"])?)?;
                }
                "neuron" => write!(text, "|{}|{}", number(&d["CoreInfo"]["Count"])?, number(&d["CoreInfo"]["Version"])?)?,
                _ => {}
            }
            out.push(text);
        }
    }
    Ok(if out.is_empty() { "-".into() } else { out.join(";") })
}

fn has(list: &Value, what: &str) -> bool {
    list.as_array().is_some_and(|l| l.iter().any(|v| v == what))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} where a text is expected"))
}

fn words(value: &Value) -> Result<String> {
    let words = list(value).iter().map(word).collect::<Result<Vec<_>>>()?;
    Ok(if words.is_empty() { "-".into() } else { words.join(",") })
}

/// The first letter of a word such as `required`.
fn initial(value: &Value) -> Result<char> {
    word(value)?.chars().next().context("an empty word")
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("{value} where a number is expected"))
}

fn optional(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".into(), |n| n.to_string())
}

/// A number of thousands, such as GHz, in whole units.
fn thousandfold(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".into(), |n| (n * 1000.0).round().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_counts_are_written_as_steps() {
        assert_eq!(steps(&[1]), "1");
        assert_eq!(steps(&[2, 4, 6, 8]), "2-8/2");
        assert_eq!(steps(&[1, 2, 3, 8, 16, 24]), "1-3/1,8-24/8");
    }

    #[test]
    fn a_table_is_refused_where_a_fact_is_missing() {
        assert!(row(&serde_json::json!({ "InstanceType": "t9.nano" })).is_err());
    }
}

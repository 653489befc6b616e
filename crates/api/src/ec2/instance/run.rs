//! RunInstances: from the request to the documents of new instances. Nothing waits for a host: the reconcile loop starts them.

use super::disks::{self, Disk};
use super::nics::{self, Nic};
use super::refuse;
use super::show::{self, Row};
use crate::Cloud;
use crate::action::{Broken, Call, Write, internal};
use crate::ec2::common::{client_token, idempotent_result, invalid_combination, invalid_value, missing, tag_specifications, unsupported};
use crate::ec2::instance_type::is_offered;
use crate::ec2::{image, kind};
use base64::Engine as _;
use model::capacity::{self, Used};
use model::ids::{InstanceId, NetworkInterfaceId, ReservationId, VolumeId};
use model::image::Image;
use model::instance::{Instance, ShutdownBehavior, State, StateReason};
use model::instance_type::{self, InstanceType, Support, taken};
use model::key_pair::KeyPair;
use model::metadata::MetadataOptions;
use model::tag::{Tags, metadata_key_ok, metadata_key_refusal};
use model::volume::{Attachment, FileState, Volume};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{AccountTx, IdempotencyToken, View};
use wire::ApiError;
use wire::shapes::ec2 as shapes;

/// Most instances that an account has in a region, but for terminated ones.
pub(crate) const INSTANCES_MAX: usize = 5000;
/// Most bytes of user data, decoded ("User data is limited to 16 KB, in raw form").
pub(super) const USER_DATA_BYTES_MAX: usize = 16_384;
const GIB_BYTES: u64 = 1 << 30;

pub(super) struct RunInstances;

impl Write for RunInstances {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "RunInstances";
    const NEEDS_DEFAULT_VPC: bool = true;
    type Input = shapes::RunInstancesRequest;
    type Output = shapes::Reservation;

    fn run(call: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let token = client_token(Self::NAME, input.client_token.as_deref())?;
        if let Some(done) = idempotent_result(call, tx, token.as_ref())? {
            return again(tx.view(), &done);
        }
        let counts = counts(&input)?;
        refuse::run_instances(&input)?;
        let plan = Plan::new(&call.cloud, tx.view(), &input, counts.1)?;
        let count = room(call, tx, &plan, counts)?;
        let made = launch(call, tx, &plan, count)?;
        if let Some(id) = token {
            let result_ids = made.iter().map(ToString::to_string).collect();
            tx.put(IdempotencyToken { id, params_hash: call.fingerprint().into(), result_ids, at: call.now });
        }
        reply(tx.view(), &made)
    }
}

/// The answer to a call that was answered before: the same reservation, as its instances are now.
fn again(view: View<'_>, done: &IdempotencyToken) -> Result<shapes::Reservation, ApiError> {
    let made: Vec<InstanceId> = done.result_ids.iter().filter_map(|id| id.parse().ok()).collect();
    reply(view, &made)
}

fn reply(view: View<'_>, made: &[InstanceId]) -> Result<shapes::Reservation, ApiError> {
    let instances: Vec<&Arc<Instance>> = made.iter().filter_map(|id| view.get::<Instance>(id)).collect();
    // A retry more than an hour after the termination of all: they are forgotten, and AWS says so in these words.
    let Some(first) = instances.first() else { return Err(kind::INSTANCE.not_found(made)) };
    let shown = instances.iter().map(|instance| Row { view, instance }.show()).collect();
    Ok(show::reservation(view.scope().account.as_str(), &first.reservation_id, shown))
}

/// `MinCount` and `MaxCount`.
fn counts(input: &shapes::RunInstancesRequest) -> Result<(u64, u64), ApiError> {
    let min = input.min_count.ok_or_else(|| missing("MinCount"))?;
    let max = input.max_count.ok_or_else(|| missing("MaxCount"))?;
    let positive = |n: i32, which| {
        let n = u64::try_from(n).ok().filter(|n| *n > 0);
        n.ok_or_else(|| invalid_value(format!("{which} instance count must be greater than zero")))
    };
    let (min, max) = (positive(min, "Minimum")?, positive(max, "Maximum")?);
    if min > max {
        return Err(invalid_value("Maximum instance count must not be smaller than minimum instance count"));
    }
    Ok((min, max))
}

/// All that the instances of a call have in common, checked.
struct Plan {
    image: Arc<Image>,
    kind: &'static InstanceType,
    key: Option<Arc<KeyPair>>,
    zone: String,
    nics: Vec<Nic>,
    disks: Vec<Disk>,
    user_data: Option<Vec<u8>>,
    shutdown_behavior: ShutdownBehavior,
    metadata_options: MetadataOptions,
    cpu_options: Option<(u32, u32)>,
    credit_specification: Option<String>,
    monitoring: bool,
    ebs_optimized: bool,
    disable_api_termination: bool,
    disable_api_stop: bool,
    client_token: Option<String>,
    instance_tags: Tags,
    volume_tags: Tags,
    interface_tags: Tags,
}

impl Plan {
    fn new(cloud: &Cloud, view: View<'_>, input: &shapes::RunInstancesRequest, max_count: u64) -> Result<Self, ApiError> {
        let image = image::launchable(view, input.image_id.as_deref())?.clone();
        let kind = instance_type(cloud, input.instance_type.as_deref().filter(|t| !t.is_empty()).unwrap_or(instance_type::DEFAULT))?;
        architecture_matches(kind, &image.architecture)?;
        let key = input.key_name.as_deref().map(|name| key_pair(view, name)).transpose()?;
        let wanted_zone = refuse::zone(&view.scope().region, input.placement.as_ref())?;
        let (zone, nics) = nics::plan(view, input, kind, wanted_zone.as_deref(), max_count)?;
        let disks = disks::plan(view, input.block_device_mappings.as_deref().unwrap_or_default(), &image, kind)?;
        attachments_fit(kind, nics.len(), disks.len())?;
        let mut tags = tag_specifications(input.tag_specifications.as_ref(), &["instance", "volume", "network-interface"])?;
        let metadata_options = metadata_options(&image, input.metadata_options.as_ref())?;
        tags_showable(&metadata_options, tags.get("instance"))?;
        let behavior = input.instance_initiated_shutdown_behavior.as_deref().unwrap_or("stop");
        Ok(Self {
            key,
            zone,
            nics,
            disks,
            user_data: input.user_data.as_deref().filter(|d| !d.is_empty()).map(user_data).transpose()?,
            shutdown_behavior: shutdown_behavior(behavior)?,
            metadata_options,
            cpu_options: input.cpu_options.as_ref().map(|o| cpu_options(kind, o)).transpose()?.flatten(),
            credit_specification: credits(kind, input.credit_specification.as_ref())?,
            monitoring: input.monitoring.as_ref().and_then(|m| m.enabled).unwrap_or_default(),
            ebs_optimized: ebs_optimized(kind, input.ebs_optimized.unwrap_or_default())?,
            disable_api_termination: input.disable_api_termination.unwrap_or_default(),
            disable_api_stop: input.disable_api_stop.unwrap_or_default(),
            client_token: input.client_token.clone().filter(|t| !t.is_empty()),
            instance_tags: tags.remove("instance").unwrap_or_default(),
            volume_tags: tags.remove("volume").unwrap_or_default(),
            interface_tags: tags.remove("network-interface").unwrap_or_default(),
            image,
            kind,
        })
    }
}

/// The type of this name. A name that AWS doesn't have is an invalid value. A type that this cloud's host can't run is refused with the
/// reason; one that is only too large for it is left to the check of the capacity.
pub(super) fn instance_type(cloud: &Cloud, name: &str) -> Result<&'static InstanceType, ApiError> {
    match InstanceType::find(name) {
        Some(kind) => match kind.unrunnable().filter(|_| !is_offered(cloud, kind)) {
            Some(reason) => Err(unsupported(&format!("the instance type {name}: {reason}"))),
            None => Ok(kind),
        },
        None if is_type_name(name) => Err(unsupported(&format!("the instance type {name} is not offered here"))),
        None => Err(invalid_value(format!("Invalid value '{name}' for InstanceType."))),
    }
}

/// Whether a type runs images of an architecture.
pub(super) fn architecture_matches(kind: &InstanceType, image: &str) -> Result<(), ApiError> {
    if kind.architectures().any(|a| a == image) {
        return Ok(());
    }
    Err(invalid_value(format!(
        "The architecture '{}' of the specified instance type does not match the architecture '{image}' of the specified AMI. Specify an \
         instance type and an AMI that have matching architectures, and try again. You can use 'describe-instance-types' or \
         'describe-images' to discover the architecture of the instance type or AMI.",
        kind.architectures_text()
    )))
}

fn ebs_optimized(kind: &InstanceType, asked: bool) -> Result<bool, ApiError> {
    if asked && kind.ebs.optimized == Support::Unsupported {
        let text = "EBS-optimized instances are not supported for your requested configuration. Please check the documentation for \
                    supported configurations.";
        return Err(ApiError::new("Unsupported", text));
    }
    Ok(asked)
}

/// Whether a name has the form of AWS's types (`family.size`, "Amazon EC2 instance type naming conventions").
fn is_type_name(name: &str) -> bool {
    let Some((family, size)) = name.split_once('.') else { return false };
    let family_ok = family.starts_with(|c: char| c.is_ascii_lowercase())
        && family.contains(|c: char| c.is_ascii_digit())
        && family.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let times = size.strip_suffix("xlarge").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    family_ok && (times || size.starts_with("metal") || ["nano", "micro", "small", "medium", "large"].contains(&size))
}

fn key_pair(view: View<'_>, name: &str) -> Result<Arc<KeyPair>, ApiError> {
    let missing = || ApiError::new("InvalidKeyPair.NotFound", format!("The key pair '{name}' does not exist"));
    view.key_pair_by_name(name).cloned().ok_or_else(missing)
}

/// User data comes in base64, on one line or on many.
pub(super) fn user_data(encoded: &str) -> Result<Vec<u8>, ApiError> {
    let packed: String = encoded.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let malformed = |_| ApiError::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.");
    let decoded = base64::engine::general_purpose::STANDARD.decode(packed).map_err(malformed)?;
    user_data_limit(&decoded)?;
    Ok(decoded)
}

pub(super) fn user_data_limit(decoded: &[u8]) -> Result<(), ApiError> {
    if decoded.len() > USER_DATA_BYTES_MAX {
        return Err(invalid_value(format!("User data is limited to {USER_DATA_BYTES_MAX} bytes")));
    }
    Ok(())
}

pub(super) fn shutdown_behavior(text: &str) -> Result<ShutdownBehavior, ApiError> {
    match text {
        "stop" => Ok(ShutdownBehavior::Stop),
        "terminate" => Ok(ShutdownBehavior::Terminate),
        other => Err(invalid_value(format!("Value ({other}) for parameter instanceInitiatedShutdownBehavior is invalid. Unknown value."))),
    }
}

/// A type's limit of attachments is for volumes alone, or for volumes and further interfaces together.
fn attachments_fit(kind: &InstanceType, interfaces: usize, volumes: usize) -> Result<(), ApiError> {
    let shared = if kind.ebs.limit_shared { interfaces - 1 } else { 0 };
    let (count, most) = (volumes + shared, kind.ebs.attachments_max);
    if count > most as usize {
        let text = format!("Attachment count {count} exceeds the limit of {most} for {}", kind.name);
        return Err(ApiError::new("AttachmentLimitExceeded", text));
    }
    Ok(())
}

/// Where the metadata service shows the tags, their keys must be names that it can show.
pub(super) fn tags_showable(options: &MetadataOptions, tags: Option<&Tags>) -> Result<(), ApiError> {
    let mut keys = tags.into_iter().flat_map(|t| t.0.keys()).filter(|_| options.tags);
    match keys.find(|key| !metadata_key_ok(key)) {
        Some(key) => Err(invalid_value(metadata_key_refusal(key))),
        None => Ok(()),
    }
}

/// What the launch asks for, before what the image asks for (`ImdsSupport`), before the defaults.
fn metadata_options(image: &Image, given: Option<&shapes::InstanceMetadataOptionsRequest>) -> Result<MetadataOptions, ApiError> {
    let (tokens_required, hop_limit) = if image.imds_v2 { (true, 2) } else { (false, 1) };
    let mut options = MetadataOptions { enabled: true, tokens_required, hop_limit, tags: false, ipv6: false };
    if let Some(g) = given {
        metadata_options_change(
            &mut options,
            [&g.http_endpoint, &g.http_tokens, &g.instance_metadata_tags, &g.http_protocol_ipv6].map(Option::as_deref),
            g.http_put_response_hop_limit,
        )?;
    }
    Ok(options)
}

/// Applies what is given: `HttpEndpoint`, `HttpTokens`, `InstanceMetadataTags`, `HttpProtocolIpv6`; and `HttpPutResponseHopLimit`.
pub(super) fn metadata_options_change(
    options: &mut MetadataOptions,
    [endpoint, tokens, tags, ipv6]: [Option<&str>; 4],
    hop_limit: Option<i32>,
) -> Result<(), ApiError> {
    let (endpoint, tags, ipv6) = (endpoint.map(is_enabled), tags.map(is_enabled), ipv6.map(is_enabled));
    options.enabled = endpoint.unwrap_or(options.enabled);
    options.tokens_required = tokens.map_or(options.tokens_required, |t| t == "required");
    options.tags = tags.unwrap_or(options.tags);
    options.ipv6 = ipv6.unwrap_or(options.ipv6);
    if let Some(limit) = hop_limit {
        let limit = u8::try_from(limit).ok().filter(|l| (1..=64).contains(l));
        options.hop_limit = limit.ok_or_else(|| invalid_value("The HttpPutResponseHopLimit must be an integer from 1 to 64."))?;
    }
    Ok(())
}

fn is_enabled(text: &str) -> bool {
    text == "enabled"
}

fn cpu_options(kind: &InstanceType, given: &shapes::CpuOptionsRequest) -> Result<Option<(u32, u32)>, ApiError> {
    let (cores, threads) = match (given.core_count, given.threads_per_core) {
        (None, None) => return Ok(None),
        (Some(cores), Some(threads)) => (cores, threads),
        (Some(_), None) | (None, Some(_)) => {
            return Err(invalid_combination("CoreCount and ThreadsPerCore must both be specified in CpuOptions."));
        }
    };
    let cores = u32::try_from(cores).ok().filter(|c| kind.valid_cores().any(|v| v == *c));
    let threads = u32::try_from(threads).ok().filter(|t| kind.valid_threads().any(|v| v == *t));
    match (cores, threads) {
        (Some(cores), Some(threads)) => Ok(Some((cores, threads))),
        (None, _) => Err(invalid_value(format!("The specified CoreCount is not valid for instance type {}.", kind.name))),
        (Some(_), None) => Err(invalid_value(format!("The specified ThreadsPerCore is not valid for instance type {}.", kind.name))),
    }
}

/// `standard` or `unlimited`; without either, the default of the type.
fn credits(kind: &InstanceType, given: Option<&shapes::CreditSpecificationRequest>) -> Result<Option<String>, ApiError> {
    match (kind.default_credits(), given.and_then(|g| g.cpu_credits.as_deref())) {
        (default, None) => Ok(default.map(Into::into)),
        (Some(_), Some(credits @ ("standard" | "unlimited"))) => Ok(Some(credits.into())),
        (Some(_), Some(other)) => Err(invalid_value(format!("Invalid value '{other}' for CpuCredits."))),
        (None, Some(_)) => Err(invalid_combination(format!("CreditSpecification is not supported for the instance type {}.", kind.name))),
    }
}

/// How many of the wanted instances there is room for: in the account's limit, on the host, and in the subnets.
fn room(call: &Call, tx: &AccountTx<'_>, plan: &Plan, (min, max): (u64, u64)) -> Result<u64, ApiError> {
    let held = tx.list::<Instance>().filter(|i| !matches!(i.state, State::Terminated { .. })).count();
    let left = INSTANCES_MAX.saturating_sub(held) as u64;
    // `MaxCount` is from 1 to the limit ("RunInstances", constraints); what is left of it decides how many are launched.
    if min > left || max > INSTANCES_MAX as u64 {
        let asked = if min > left { held as u64 + min } else { max };
        let text = format!(
            "You have requested more instances ({asked}) than your current instance limit of {INSTANCES_MAX} allows for the specified \
             instance type."
        );
        return Err(ApiError::new("InstanceLimitExceeded", text));
    }
    let volumes = plan.disks.iter().map(|d| u64::from(d.size_gib)).sum::<u64>().saturating_mul(GIB_BYTES);
    let by_host = capacity::fits(&call.cloud.host, &call.cloud.overcommit, &used(tx), &plan.kind.takes());
    let by_disk = call.cloud.space.fits(tx.volumes_gib().saturating_mul(GIB_BYTES), volumes);
    let fits = by_host.min(by_disk);
    if min > fits {
        // The client is told what AWS tells it; the operator, what there is too little of.
        let short = if min > by_host { "processors or memory (see `pileus status`)" } else { "free disk space × disk_overcommit" };
        tracing::info!(kind = plan.kind.name, min, fits, short, "RunInstances: not enough capacity");
        return Err(ApiError::new(
            "InsufficientInstanceCapacity",
            format!(
                "We currently do not have sufficient {} capacity in the Availability Zone you requested ({}). Our system will be \
                 working on provisioning additional capacity.",
                plan.kind.name, plan.zone
            ),
        ));
    }
    let free = nics::addresses_free(tx.view(), &plan.nics);
    if let Some((subnet, _)) = free.iter().find(|(_, free)| min > *free) {
        return Err(ApiError::new(
            "InsufficientFreeAddressesInSubnet",
            format!("There are not enough free addresses in subnet '{subnet}' to satisfy the requested number of instances."),
        ));
    }
    let free = free.into_iter().map(|(_, free)| free).min().unwrap_or(u64::MAX);
    Ok(max.min(left).min(fits).min(free))
}

/// What the machines of all tenants take together.
pub(super) fn used(tx: &AccountTx<'_>) -> Used {
    taken(tx.capacity_used())
}

fn launch(call: &mut Call, tx: &mut AccountTx<'_>, plan: &Plan, count: u64) -> Result<Vec<InstanceId>, ApiError> {
    let reservation_id = ReservationId::generate(&mut call.rng);
    let asked = nics::addresses_asked(&plan.nics);
    let mut made = Vec::new();
    for launch_index in 0..u32::try_from(count).unwrap_or(u32::MAX) {
        let id = InstanceId::generate(&mut call.rng);
        let mut interfaces = Vec::new();
        for nic in &plan.nics {
            interfaces.push(nics::attach(call, tx, nic, &asked, (&id, &plan.interface_tags))?);
        }
        let volumes: Vec<VolumeId> = plan.disks.iter().map(|d| volume_put(call, tx, plan, d, &id)).collect();
        let instance = instance(call, tx.view(), plan, (&id, &reservation_id, launch_index), interfaces, volumes)?;
        tx.put(instance);
        made.push(id);
    }
    Ok(made)
}

fn volume_put(call: &mut Call, tx: &mut AccountTx<'_>, plan: &Plan, disk: &Disk, instance: &InstanceId) -> VolumeId {
    let id = VolumeId::generate(&mut call.rng);
    tx.put(Volume {
        id: id.clone(),
        zone: plan.zone.clone(),
        size_gib: disk.size_gib,
        volume_type: disk.volume_type.clone(),
        source: disk.source.clone(),
        snapshot_id: disk.snapshot_id.clone(),
        file: FileState::Wanted,
        file_bytes_synced: 0,
        attachment: Some(Attachment {
            instance_id: instance.clone(),
            device_name: disk.device_name.clone(),
            attach_time: call.now,
            delete_on_termination: disk.delete_on_termination,
        }),
        deleting: false,
        created: call.now,
        tags: plan.volume_tags.clone(),
    });
    id
}

fn instance(
    call: &Call,
    view: View<'_>,
    plan: &Plan,
    (id, reservation_id, launch_index): (&InstanceId, &ReservationId, u32),
    interfaces: Vec<NetworkInterfaceId>,
    volumes: Vec<VolumeId>,
) -> Result<Instance, ApiError> {
    let primary = interfaces.first().and_then(|id| view.get::<model::network_interface::NetworkInterface>(id));
    let primary = primary.ok_or_else(|| internal(&Broken("a launch without a primary interface")))?;
    Ok(Instance {
        id: id.clone(),
        reservation_id: reservation_id.clone(),
        launch_index,
        client_token: plan.client_token.clone(),
        image_id: plan.image.id.clone(),
        instance_type: plan.kind.name.into(),
        architecture: plan.image.architecture.clone(),
        key_name: plan.key.as_ref().map(|k| k.name.clone()),
        public_key: plan.key.as_ref().map(|k| k.public_key.clone()),
        user_data: plan.user_data.clone(),
        zone: plan.zone.clone(),
        vpc_id: primary.vpc_id.clone(),
        subnet_id: primary.subnet_id.clone(),
        private_ip: primary.private_ip,
        interfaces,
        root_device_name: plan.image.root_device_name.clone(),
        volumes,
        state: State::Pending,
        state_reason: Some(StateReason::pending()),
        impairments: BTreeMap::new(),
        state_transition_reason: String::new(),
        run: 1,
        launch_time: call.now,
        reboot_since: None,
        disable_api_termination: plan.disable_api_termination,
        disable_api_stop: plan.disable_api_stop,
        shutdown_behavior: plan.shutdown_behavior,
        metadata_options: plan.metadata_options.clone(),
        monitoring: plan.monitoring,
        ebs_optimized: plan.ebs_optimized,
        cpu_options: plan.cpu_options,
        credit_specification: plan.credit_specification.clone(),
        tags: plan.instance_tags.clone(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn user_data_is_base64_of_at_most_16_kib() {
        let encode = |n: usize| base64::engine::general_purpose::STANDARD.encode(vec![b'x'; n]);
        assert_eq!(user_data(&encode(USER_DATA_BYTES_MAX)).unwrap().len(), USER_DATA_BYTES_MAX);
        let error = user_data(&encode(USER_DATA_BYTES_MAX + 1)).unwrap_err();
        assert_eq!((error.code.as_ref(), error.message.as_str()), ("InvalidParameterValue", "User data is limited to 16384 bytes"));
        assert_eq!(user_data("aGVs\nbG8=\n").unwrap(), b"hello");
        assert_eq!(user_data("#!/bin/sh").unwrap_err().code, "InvalidUserData.Malformed");
    }

    #[test]
    fn names_that_are_types_of_aws() {
        for name in ["t2.micro", "m7i-flex.large", "u-6tb1.56xlarge", "x2iezn.metal", "c7g.metal-48xl", "m5.xlarge"] {
            assert!(is_type_name(name), "{name}");
        }
        for name in ["", "x", "t3", "t3.", ".nano", "t3.nona", "T3.nano", "t3.3large", "nano.t3", "t3.x2large"] {
            assert!(!is_type_name(name), "{name}");
        }
    }
}

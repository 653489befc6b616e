//! DescribeImages: the images that the caller may launch.

use super::{AVAILABLE, CLOUD_ALIAS, alias};
use crate::action::{Call, Read};
use crate::ec2::common::{Paging, filters, tag_list_if_any};
use crate::ec2::kind;
use crate::ec2::shown::{bool_text, fixed, none, number, text};
use model::filter::Field;
use model::ids::ImageId;
use model::image::Image;
use model::scope::AccountId;
use std::collections::BTreeMap;
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

const PAGE_LEAST: i32 = 1;
const PAGE_MOST: i32 = 1000;
/// The other owner aliases that AWS has. No image here has one.
const OTHER_ALIASES: [&str; 2] = ["aws-marketplace", "aws-backup-vault"];
/// What AWS says of every image of Nitro's: `xen` is the type of its description, not of its host.
const HYPERVISOR: &str = "xen";

pub(super) struct DescribeImages;

impl Read for DescribeImages {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeImages";
    type Input = shapes::DescribeImagesRequest;
    type Output = shapes::DescribeImagesResult;

    /// Images here are never deprecated nor disabled, so the parameters that include such change nothing.
    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let paging = Paging::new(call, input.max_results, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), fields(), true)?;
        let caller = &view.scope().account;
        let owners: Option<Vec<Owner>> = input.owners.map(|o| o.iter().map(|o| Owner::parse(o, caller)).collect()).transpose()?;
        let users: Option<Vec<User>> = input.executable_users.map(|u| u.iter().map(|u| User::parse(u, caller)).collect()).transpose()?;
        let mut images = chosen(view, input.image_ids.as_deref().unwrap_or_default())?;
        images.retain(|image| owners.as_ref().is_none_or(|all| all.iter().any(|o| o.owns(image))));
        images.retain(|image| users.as_ref().is_none_or(|all| all.iter().any(|u| u.may_launch(image, caller))));
        images.retain(|image| filters.matches(image, view.image_tags(image).unwrap_or(&NO_TAGS)));
        let (page, next_token) = paging.cut(images, |i| i.id.to_string());
        Ok(shapes::DescribeImagesResult { next_token, images: Some(page.into_iter().map(|i| show(view, i)).collect()) })
    }
}

static NO_TAGS: model::tag::Tags = model::tag::Tags(BTreeMap::new());

/// The images that a call names, or all that the caller may launch; by id.
fn chosen<'a>(view: View<'a>, named: &[String]) -> Result<Vec<&'a Image>, ApiError> {
    if named.is_empty() {
        return Ok(view.images().map(|i| &**i).collect());
    }
    // A deregistered image is left out as long as the caller has an instance of it, and unknown afterwards ("DescribeImages").
    let find = |id: &ImageId| match view.image(id) {
        Some(image) => Some(Some(&**image)),
        None => view.has_instance_of_deregistered(id).then_some(None),
    };
    let found = kind::IMAGE.find_all(named, find)?.into_iter().flatten();
    Ok(found.map(|i| (&i.id, i)).collect::<BTreeMap<_, _>>().into_values().collect())
}

/// One of `Owners`.
enum Owner {
    Account(AccountId),
    Alias(String),
}

impl Owner {
    fn parse(text: &str, caller: &AccountId) -> Result<Self, ApiError> {
        match text {
            "self" => Ok(Self::Account(caller.clone())),
            alias if alias == CLOUD_ALIAS || OTHER_ALIASES.contains(&alias) => Ok(Self::Alias(alias.into())),
            id => id.parse().map(Self::Account).map_err(|_| malformed_user(id)),
        }
    }

    fn owns(&self, image: &Image) -> bool {
        match self {
            Self::Account(id) => image.owner == *id,
            Self::Alias(name) => alias(image) == Some(name),
        }
    }
}

/// One of `ExecutableUsers`: who was given permission to launch, besides the owner.
enum User {
    Everybody,
    One(AccountId),
}

impl User {
    fn parse(text: &str, caller: &AccountId) -> Result<Self, ApiError> {
        match text {
            "all" => Ok(Self::Everybody),
            "self" => Ok(Self::One(caller.clone())),
            id => id.parse().map(Self::One).map_err(|_| malformed_user(id)),
        }
    }

    /// Whom an image is shared with is shown to its owner only, and to each account of itself.
    fn may_launch(&self, image: &Image, caller: &AccountId) -> bool {
        match self {
            Self::Everybody => image.public,
            Self::One(id) => image.launch_permissions.contains(id) && (id == caller || image.owner == *caller),
        }
    }
}

fn malformed_user(text: &str) -> ApiError {
    ApiError::new("InvalidUserID.Malformed", format!("Invalid user id: \"{text}\""))
}

fn fields<'a>() -> &'a [Field<&'a Image>] {
    &[
        ("architecture", |i, is| is(&i.architecture)),
        ("block-device-mapping.delete-on-termination", |_, is| is("true")),
        ("block-device-mapping.device-name", |i, is| is(&i.root_device_name)),
        ("block-device-mapping.encrypted", |_, is| is("false")),
        ("block-device-mapping.snapshot-id", |i, is| is(i.snapshot_id.as_str())),
        ("block-device-mapping.volume-size", |i, is| is(&i.size_gib.to_string())),
        ("block-device-mapping.volume-type", |i, is| is(&i.root_volume_type)),
        ("creation-date", |i, is| is(&i.created.iso8601())),
        ("description", |i, is| i.description.iter().for_each(|d| is(d))),
        ("ena-support", |_, is| is("true")),
        ("free-tier-eligible", |_, is| is("false")),
        ("hypervisor", |_, is| is(HYPERVISOR)),
        ("image-allowed", |_, is| is("true")),
        ("image-id", |i, is| is(i.id.as_str())),
        ("image-type", |_, is| is("machine")),
        ("is-public", |i, is| is(bool_text(i.public))),
        ("kernel-id", none),
        ("manifest-location", |i, is| is(&location(i))),
        ("name", |i, is| is(&i.name)),
        ("owner-alias", |i, is| alias(i).iter().for_each(|a| is(a))),
        ("owner-id", |i, is| is(i.owner.as_str())),
        ("platform", none),
        ("product-code", none),
        ("product-code.type", none),
        ("ramdisk-id", none),
        ("root-device-name", |i, is| is(&i.root_device_name)),
        ("root-device-type", |_, is| is("ebs")),
        ("source-image-id", |i, is| i.source.iter().for_each(|(id, _)| is(id.as_str()))),
        ("source-image-region", |i, is| i.source.iter().for_each(|(_, region)| is(region.as_str()))),
        ("source-instance-id", none),
        ("sriov-net-support", none),
        ("state", |i, is| is(state(i))),
        ("state-reason-code", none),
        ("state-reason-message", none),
        ("virtualization-type", |_, is| is("hvm")),
    ]
}

fn location(image: &Image) -> String {
    format!("{}/{}", alias(image).unwrap_or(image.owner.as_str()), image.name)
}

/// An image whose files are lost can't be launched.
fn state(image: &Image) -> &'static str {
    if image.lost.is_some() { "error" } else { AVAILABLE }
}

fn show(view: View<'_>, image: &Image) -> shapes::Image {
    let root = shapes::BlockDeviceMapping {
        device_name: text(&image.root_device_name),
        ebs: Some(shapes::EbsBlockDevice {
            delete_on_termination: Some(true),
            encrypted: Some(false),
            snapshot_id: text(&image.snapshot_id),
            volume_size: number(image.size_gib),
            volume_type: text(&image.root_volume_type),
            ..Default::default()
        }),
        ..Default::default()
    };
    shapes::Image {
        image_id: text(&image.id),
        name: text(&image.name),
        description: image.description.clone(),
        image_location: Some(location(image)),
        image_owner_alias: alias(image).and_then(fixed),
        owner_id: text(&image.owner),
        public: Some(image.public),
        state: fixed(state(image)),
        image_type: fixed("machine"),
        architecture: text(&image.architecture),
        platform_details: fixed("Linux/UNIX"),
        usage_operation: fixed("RunInstances"),
        hypervisor: fixed(HYPERVISOR),
        virtualization_type: fixed("hvm"),
        boot_mode: text(&image.boot_mode),
        imds_support: image.imds_v2.then(|| super::IMDS_V2.into()),
        ena_support: Some(true),
        root_device_name: text(&image.root_device_name),
        root_device_type: fixed("ebs"),
        block_device_mappings: Some(vec![root]),
        creation_date: Some(image.created.iso8601()),
        deregistration_protection: fixed("disabled"),
        source_image_id: image.source.as_ref().map(|(id, _)| id.to_string()),
        source_image_region: image.source.as_ref().map(|(_, region)| region.to_string()),
        tags: view.image_tags(image).and_then(tag_list_if_any),
        ..Default::default()
    }
}

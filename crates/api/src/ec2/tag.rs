//! CreateTags, DeleteTags, DescribeTags.

use super::common::{Paging, filters, invalid_value, missing, tags_from, tags_limit};
use super::kind;
use super::shown::text;
use crate::action::{Call, Read, Write, actions};
use model::filter::Field;
use model::ids::{ImageId, SecurityGroupRuleId};
use model::image::{Image, ImageTags};
use model::instance::Instance;
use model::key_pair::KeyPair;
use model::network_interface::NetworkInterface;
use model::security_group::{Rule, SecurityGroup};
use model::subnet::Subnet;
use model::tag::{Tags, metadata_key_ok, metadata_key_refusal};
use model::volume::Volume;
use model::vpc::Vpc;
use std::str::FromStr;
use store::{AccountTx, Noun, View};
use wire::ApiError;
use wire::shapes::ec2 as shapes;

actions![write CreateTags, write DeleteTags, read DescribeTags,];

const PAGE_LEAST: i32 = 5;
const PAGE_MOST: i32 = 1000;
/// Most resources of one call.
const RESOURCES_MAX: usize = 1000;

pub(super) struct CreateTags;

impl Write for CreateTags {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "CreateTags";
    type Input = shapes::CreateTagsRequest;
    type Output = wire::Empty;

    fn run(_: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let resources = resources(input.resources)?;
        let added = tags_from(input.tags.as_deref().unwrap_or_default())?;
        if added.0.is_empty() {
            return Err(missing("Tag"));
        }
        for resource in &resources {
            change(tx, resource, &mut |tags| {
                tags.0.extend(added.0.clone());
                tags_limit(tags)
            })?;
        }
        Ok(wire::Empty)
    }
}

pub(super) struct DeleteTags;

impl Write for DeleteTags {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DeleteTags";
    type Input = shapes::DeleteTagsRequest;
    type Output = wire::Empty;

    /// A tag without a value goes whatever its value; with one (an empty one, too) only if that is its value; without any tag named,
    /// all go.
    fn run(_: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let resources = resources(input.resources)?;
        let named = input.tags.unwrap_or_default();
        let goes = |key: &str, value: &str| {
            let same = |tag: &shapes::Tag| tag.key.as_deref() == Some(key) && tag.value.as_deref().is_none_or(|v| v == value);
            named.is_empty() || named.iter().any(same)
        };
        for tag in &named {
            let key = tag.key.as_deref().unwrap_or_default();
            if key.is_empty() {
                return Err(invalid_value("Tag key cannot be null or empty."));
            }
            if key.to_ascii_lowercase().starts_with("aws:") {
                return Err(invalid_value("Tag keys starting with 'aws:' are reserved for internal use"));
            }
        }
        for resource in &resources {
            change(tx, resource, &mut |tags| {
                tags.0.retain(|key, value| !goes(key, value));
                Ok(())
            })?;
        }
        Ok(wire::Empty)
    }
}

fn resources(given: Option<Vec<String>>) -> Result<Vec<String>, ApiError> {
    let resources = given.filter(|r| !r.is_empty()).ok_or_else(|| missing("resourceIdSet"))?;
    if resources.len() > RESOURCES_MAX {
        return Err(invalid_value(format!("The number of resources must not exceed {RESOURCES_MAX}")));
    }
    Ok(resources)
}

/// Changes the tags of one resource.
type Change<'a> = &'a mut dyn FnMut(&mut Tags) -> Result<(), ApiError>;

/// Changes the tags of the resource with this id, of whatever kind.
///
/// # Errors
/// `InvalidID` for a malformed id or one of no kind that has tags here, else as its kind says; and what the change says.
fn change(tx: &mut AccountTx<'_>, id: &str, change: Change<'_>) -> Result<(), ApiError> {
    match id.rsplit_once('-').map(|(prefix, _)| prefix) {
        Some("i") => change_noun(tx, &kind::INSTANCE, id, |i: &mut Instance| {
            change(&mut i.tags)?;
            let refused = i.tags.0.keys().find(|key| i.metadata_options.tags && !metadata_key_ok(key));
            refused.map_or(Ok(()), |key| Err(invalid_value(metadata_key_refusal(key))))
        }),
        Some("ami") => change_image(tx, id, change),
        Some("key") => change_noun(tx, &kind::KEY_PAIR, id, |k: &mut KeyPair| change(&mut k.tags)),
        Some("vol") => change_noun(tx, &kind::VOLUME, id, |v: &mut Volume| change(&mut v.tags)),
        Some("vpc") => change_noun(tx, &kind::VPC, id, |v: &mut Vpc| change(&mut v.tags)),
        Some("subnet") => change_noun(tx, &kind::SUBNET, id, |s: &mut Subnet| change(&mut s.tags)),
        Some("sg") => change_noun(tx, &kind::GROUP, id, |g: &mut SecurityGroup| change(&mut g.tags)),
        Some("sgr") => change_rule(tx, id, change),
        Some("eni") => change_noun(tx, &kind::INTERFACE, id, |n: &mut NetworkInterface| change(&mut n.tags)),
        Some(_) | None => Err(invalid_id(id)),
    }
}

/// Reads an id. Of whatever kind a malformed one seems to be, these calls answer the same.
///
/// # Errors
/// `InvalidID`.
fn parse<T: FromStr>(id: &str) -> Result<T, ApiError> {
    id.parse().map_err(|_| invalid_id(id))
}

fn invalid_id(id: &str) -> ApiError {
    ApiError::new("InvalidID", format!("The ID '{id}' is not valid"))
}

fn change_noun<N: Noun>(
    tx: &mut AccountTx<'_>,
    kind: &kind::Kind,
    id: &str,
    change: impl FnOnce(&mut N) -> Result<(), ApiError>,
) -> Result<(), ApiError>
where
    N::Id: FromStr,
{
    let id: N::Id = parse(id)?;
    let Some(document) = tx.get::<N>(&id) else { return Err(kind.not_found(&[id])) };
    let mut document = (**document).clone();
    change(&mut document)?;
    tx.put(document);
    Ok(())
}

/// The tags that the caller gave an image. Those on another account's image are the caller's own, and only the caller sees them.
fn change_image(tx: &mut AccountTx<'_>, id: &str, change: Change<'_>) -> Result<(), ApiError> {
    let id: ImageId = parse(id)?;
    let Some(image) = tx.view().image(&id) else { return Err(kind::IMAGE.not_found(&[id])) };
    let image = (**image).clone();
    let mut tags = tx.view().image_tags(&image).cloned().unwrap_or_default();
    change(&mut tags)?;
    if image.owner == tx.scope().account {
        tx.put(Image { tags, ..image });
    } else if tags.0.is_empty() {
        tx.remove::<ImageTags>(&image.id);
    } else {
        tx.put(ImageTags { id: image.id, tags });
    }
    Ok(())
}

/// A rule is a part of its group's document.
fn change_rule(tx: &mut AccountTx<'_>, id: &str, change: Change<'_>) -> Result<(), ApiError> {
    let id: SecurityGroupRuleId = parse(id)?;
    let is_it = |rule: &Rule| rule.id == id;
    let holds_it = |group: &SecurityGroup| group.ingress.iter().chain(&group.egress).any(is_it);
    let Some(group) = tx.list::<SecurityGroup>().find(|g| holds_it(g)) else { return Err(kind::RULE.not_found(&[id])) };
    let mut group = (**group).clone();
    if let Some(rule) = group.ingress.iter_mut().chain(&mut group.egress).find(|r| is_it(r)) {
        change(&mut rule.tags)?;
    }
    tx.put(group);
    Ok(())
}

pub(super) struct DescribeTags;

impl Read for DescribeTags {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeTags";
    type Input = shapes::DescribeTagsRequest;
    type Output = shapes::DescribeTagsResult;

    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let paging = Paging::new(call, input.max_results, input.next_token.as_deref(), PAGE_LEAST, PAGE_MOST)?;
        let filters = filters(input.filters.as_ref(), fields(), true)?;
        let mut rows = all(view);
        rows.retain(|row| filters.matches(row, &Tags([(row.key.to_owned(), row.value.to_owned())].into())));
        rows.sort_by(|a, b| (&a.id, a.key).cmp(&(&b.id, b.key)));
        let (page, next_token) = paging.cut(rows, |r| format!("{}/{}", r.id, r.key));
        Ok(shapes::DescribeTagsResult { next_token, tags: Some(page.iter().map(Row::show).collect()) })
    }
}

/// One tag of one resource.
struct Row<'a> {
    kind: &'static str,
    id: String,
    key: &'a str,
    value: &'a str,
}

fn fields<'a>() -> &'a [Field<Row<'a>>] {
    &[("key", |r, is| is(r.key)), ("resource-id", |r, is| is(&r.id)), ("resource-type", |r, is| is(r.kind)), ("value", |r, is| is(r.value))]
}

impl Row<'_> {
    fn show(&self) -> shapes::TagDescription {
        shapes::TagDescription {
            resource_id: text(&self.id),
            resource_type: text(&self.kind),
            key: text(&self.key),
            value: text(&self.value),
        }
    }
}

/// Every tag of the caller's resources.
fn all(view: View<'_>) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for image in view.images() {
        view.image_tags(image).into_iter().for_each(|tags| push("image", image.id.as_str(), tags, &mut rows));
    }
    of::<Instance>(view, "instance", |n| &n.tags, &mut rows);
    of::<KeyPair>(view, "key-pair", |n| &n.tags, &mut rows);
    of::<NetworkInterface>(view, "network-interface", |n| &n.tags, &mut rows);
    of::<SecurityGroup>(view, "security-group", |n| &n.tags, &mut rows);
    of::<Subnet>(view, "subnet", |n| &n.tags, &mut rows);
    of::<Volume>(view, "volume", |n| &n.tags, &mut rows);
    of::<Vpc>(view, "vpc", |n| &n.tags, &mut rows);
    for rule in view.list::<SecurityGroup>().flat_map(|g| g.ingress.iter().chain(&g.egress)) {
        push("security-group-rule", rule.id.as_str(), &rule.tags, &mut rows);
    }
    rows
}

fn of<'a, N: Noun>(view: View<'a>, kind: &'static str, tags: fn(&N) -> &Tags, rows: &mut Vec<Row<'a>>) {
    for document in view.list::<N>() {
        push(kind, &document.id().to_string(), tags(document), rows);
    }
}

fn push<'a>(kind: &'static str, id: &str, tags: &'a Tags, rows: &mut Vec<Row<'a>>) {
    rows.extend(tags.0.iter().map(|(key, value)| Row { kind, id: id.to_owned(), key, value }));
}

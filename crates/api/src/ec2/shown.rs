//! Small pieces of replies and filters that several nouns have in common.

use model::ids::SecurityGroupId;
use model::security_group::SecurityGroup;
use model::time::Timestamp;
use store::View;
use wire::shapes::ec2 as shapes;

/// A value as a member of a reply.
pub(super) fn text(value: &impl ToString) -> Option<String> {
    Some(value.to_string())
}

/// A fixed text as a member of a reply.
pub(super) fn fixed(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// A number as a member of a reply: AWS's are signed.
pub(super) fn number(value: u32) -> Option<i32> {
    i32::try_from(value).ok()
}

/// A time as a member of a reply.
pub(super) fn time(time: Timestamp) -> Option<wire::Timestamp> {
    Some(wire::Timestamp(time.0))
}

/// A truth value as filters compare it.
pub(super) fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// A filter whose field no item here has: it is known, and matches nothing.
pub(super) fn none<T>(_: &T, _: &mut dyn FnMut(&str)) {}

/// Who manages a resource: nobody but its owner.
pub(super) fn operator() -> Option<shapes::OperatorResponse> {
    Some(shapes::OperatorResponse { managed: Some(false), ..Default::default() })
}

/// Groups as members of a reply, by their ids.
pub(super) fn group_identifiers(view: View<'_>, groups: &[SecurityGroupId]) -> Vec<shapes::GroupIdentifier> {
    let identifier = |id: &SecurityGroupId| shapes::GroupIdentifier {
        group_id: text(id),
        group_name: view.get::<SecurityGroup>(id).map(|g| g.name.clone()),
    };
    groups.iter().map(identifier).collect()
}

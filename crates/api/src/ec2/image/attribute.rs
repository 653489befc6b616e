//! DescribeImageAttribute, ModifyImageAttribute, ResetImageAttribute.

use super::{IMDS_V2, own};
use crate::action::{Call, Read, Write};
use crate::ec2::common::{invalid_combination, invalid_value, missing, unsupported};
use crate::ec2::shown::{fixed, text};
use crate::operator::description_check;
use model::image::Image;
use model::scope::AccountId;
use std::collections::BTreeSet;
use store::{AccountTx, View};
use wire::ApiError;
use wire::shapes::ec2 as shapes;

/// The group that stands for every account.
const EVERYBODY: &str = "all";

pub(super) struct DescribeImageAttribute;

impl Read for DescribeImageAttribute {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeImageAttribute";
    type Input = shapes::DescribeImageAttributeRequest;
    type Output = shapes::ImageAttribute;

    fn run(_: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let image = own(view, input.image_id.as_deref())?;
        let name = input.attribute.as_deref().ok_or_else(|| missing("Attribute"))?;
        let value = |value: Option<String>| Some(shapes::AttributeValue { value });
        let mut shown = shapes::ImageAttribute { image_id: text(&image.id), ..Default::default() };
        match name {
            // "Using this attribute returns the Client.AuthFailure error" (DescribeImageAttribute).
            "blockDeviceMapping" => {
                return Err(ApiError::new("AuthFailure", "Unauthorized attempt to access restricted resource"));
            }
            "bootMode" => shown.boot_mode = value(text(&image.boot_mode)),
            "deregistrationProtection" => shown.deregistration_protection = value(fixed("disabled")),
            "description" => shown.description = value(image.description.clone()),
            "imdsSupport" => shown.imds_support = value(image.imds_v2.then(|| IMDS_V2.into())),
            "kernel" => shown.kernel_id = value(None),
            "lastLaunchedTime" => shown.last_launched_time = value(None),
            "launchPermission" => shown.launch_permissions = Some(permissions(image)),
            "productCodes" => shown.product_codes = Some(Vec::new()),
            "ramdisk" => shown.ramdisk_id = value(None),
            "sriovNetSupport" => shown.sriov_net_support = value(None),
            "tpmSupport" => shown.tpm_support = value(None),
            "uefiData" => shown.uefi_data = value(None),
            other => return Err(unknown_attribute(other)),
        }
        Ok(shown)
    }
}

fn permissions(image: &Image) -> Vec<shapes::LaunchPermission> {
    let group = image.public.then(|| shapes::LaunchPermission { group: fixed(EVERYBODY), ..Default::default() });
    let users = image.launch_permissions.iter().map(|id| shapes::LaunchPermission { user_id: text(id), ..Default::default() });
    group.into_iter().chain(users).collect()
}

fn unknown_attribute(name: &str) -> ApiError {
    invalid_value(format!("Value ({name}) for parameter attribute is invalid. Unknown attribute."))
}

pub(super) struct ModifyImageAttribute;

impl Write for ModifyImageAttribute {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "ModifyImageAttribute";
    type Input = shapes::ModifyImageAttributeRequest;
    type Output = wire::Empty;

    fn run(_: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let mut image = (**own(tx.view(), input.image_id.as_deref())?).clone();
        match wanted(input)? {
            Change::Description(description) => {
                description_check(Some(&description)).map_err(|error| invalid_value(error.to_string()))?;
                image.description = Some(description).filter(|d| !d.is_empty());
            }
            Change::ImdsV2 => image.imds_v2 = true,
            Change::LaunchPermission { add, remove } => {
                image.public = (image.public || add.everybody) && !remove.everybody;
                image.launch_permissions.extend(add.accounts);
                image.launch_permissions.retain(|account| !remove.accounts.contains(account));
            }
        }
        tx.put(image);
        Ok(wire::Empty)
    }
}

/// The one attribute of a call, in whichever of its forms it came.
enum Change {
    Description(String),
    ImdsV2,
    LaunchPermission { add: Holders, remove: Holders },
}

/// Who has a permission.
#[derive(Default)]
struct Holders {
    everybody: bool,
    accounts: BTreeSet<AccountId>,
}

/// Reads the attribute to change: its own parameter, `Attribute` and `Value`, or `Attribute`, `OperationType` and whom it is about.
fn wanted(input: shapes::ModifyImageAttributeRequest) -> Result<Change, ApiError> {
    if input.product_codes.is_some_and(|codes| !codes.is_empty()) {
        return Err(unsupported("product codes of an image"));
    }
    let organizations = [&input.organization_arns, &input.organizational_unit_arns];
    if organizations.iter().any(|arns| arns.as_ref().is_some_and(|arns| !arns.is_empty())) {
        return Err(no_organizations());
    }
    let mut all = Vec::new();
    all.extend(input.description.map(|d| Change::Description(d.value.unwrap_or_default())));
    all.extend(input.imds_support.map(|v| imds(v.value.as_deref())).transpose()?);
    if let Some(changes) = input.launch_permission {
        all.push(Change::LaunchPermission { add: listed(changes.add)?, remove: listed(changes.remove)? });
    }
    let (users, groups) = (input.user_ids.unwrap_or_default(), input.user_groups.unwrap_or_default());
    if !users.is_empty() || !groups.is_empty() {
        if input.attribute.as_deref().is_some_and(|name| name != "launchPermission") {
            return Err(invalid_combination("UserId and UserGroup can be used only when the Attribute parameter is launchPermission."));
        }
        let holders = holders(users, groups)?;
        all.push(match input.operation_type.as_deref() {
            Some("add") => Change::LaunchPermission { add: holders, remove: Holders::default() },
            Some("remove") => Change::LaunchPermission { add: Holders::default(), remove: holders },
            _ => return Err(missing("OperationType")),
        });
    }
    match (input.attribute.as_deref(), input.value) {
        (Some("description"), Some(text)) => all.push(Change::Description(text)),
        (Some("imdsSupport"), value @ Some(_)) => all.push(imds(value.as_deref())?),
        // `Attribute` may also just name the parameter that is there.
        (Some("description" | "imdsSupport"), None) if all.is_empty() => return Err(missing("Value")),
        (Some("description" | "imdsSupport" | "launchPermission"), None) | (None, _) => {}
        (Some("launchPermission"), Some(_)) => return Err(invalid_combination("Value can't be used with the attribute launchPermission.")),
        (Some(other), _) => return Err(unknown_attribute(other)),
    }
    let one = all.pop().ok_or_else(|| invalid_combination("No attributes specified."))?;
    if all.is_empty() { Ok(one) } else { Err(invalid_combination("Fields for multiple attribute types specified")) }
}

fn imds(value: Option<&str>) -> Result<Change, ApiError> {
    match value {
        Some(IMDS_V2) => Ok(Change::ImdsV2),
        other => Err(invalid_value(format!("Value ({}) for parameter imdsSupport is invalid. Unknown value.", other.unwrap_or_default()))),
    }
}

/// The form `LaunchPermission.Add.1.UserId`.
fn listed(permissions: Option<Vec<shapes::LaunchPermission>>) -> Result<Holders, ApiError> {
    let permissions = permissions.unwrap_or_default();
    if permissions.iter().any(|p| p.organization_arn.is_some() || p.organizational_unit_arn.is_some()) {
        return Err(no_organizations());
    }
    let (users, groups) = permissions.into_iter().map(|p| (p.user_id, p.group)).unzip::<_, _, Vec<_>, Vec<_>>();
    holders(users.into_iter().flatten().collect(), groups.into_iter().flatten().collect())
}

fn holders(users: Vec<String>, groups: Vec<String>) -> Result<Holders, ApiError> {
    let bad = |value: &str, kind: &str| {
        ApiError::new("InvalidAMIAttributeItemValue", format!("Invalid attribute item value \"{value}\" for {kind} item type."))
    };
    if let Some(other) = groups.iter().find(|g| *g != EVERYBODY) {
        return Err(bad(other, "userGroup"));
    }
    let accounts = users.iter().map(|id| id.parse().map_err(|_| bad(id, "userId"))).collect::<Result<_, _>>()?;
    Ok(Holders { everybody: !groups.is_empty(), accounts })
}

fn no_organizations() -> ApiError {
    unsupported("launch permissions of organizations")
}

pub(super) struct ResetImageAttribute;

impl Write for ResetImageAttribute {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "ResetImageAttribute";
    type Input = shapes::ResetImageAttributeRequest;
    type Output = wire::Empty;

    /// "currently you can only reset the launch permission attribute".
    fn run(_: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let image = own(tx.view(), input.image_id.as_deref())?;
        let reset = Image { public: false, launch_permissions: BTreeSet::new(), ..(**image).clone() };
        match input.attribute.as_deref() {
            Some("launchPermission") => tx.put(reset),
            Some(other) => return Err(unknown_attribute(other)),
            None => return Err(missing("Attribute")),
        }
        Ok(wire::Empty)
    }
}

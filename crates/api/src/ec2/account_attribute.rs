//! DescribeAccountAttributes.

use super::common::invalid_value;
use super::instance::GROUPS_MAX;
use super::shown::{fixed, text};
use crate::action::{Call, Read, actions};
use crate::bootstrap;
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

actions![read DescribeAccountAttributes,];

pub(super) struct DescribeAccountAttributes;

impl Read for DescribeAccountAttributes {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeAccountAttributes";
    const NEEDS_DEFAULT_VPC: bool = true;
    type Input = shapes::DescribeAccountAttributesRequest;
    type Output = shapes::DescribeAccountAttributesResult;

    /// Beside the default VPC, AWS's quotas of a new account. `max-instances` says nothing of what fits, on AWS neither.
    fn run(_: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let named = input.attribute_names.unwrap_or_default();
        let default_vpc = bootstrap::default_vpc(view).map_or_else(|| "none".to_owned(), |vpc| vpc.id.to_string());
        let groups_max = GROUPS_MAX.to_string();
        let all = [
            ("supported-platforms", "VPC"),
            ("vpc-max-security-groups-per-interface", groups_max.as_str()),
            ("max-elastic-ips", "5"),
            ("max-instances", "20"),
            ("vpc-max-elastic-ips", "5"),
            ("default-vpc", default_vpc.as_str()),
        ];
        if let Some(unknown) = named.iter().find(|n| !all.iter().any(|(name, _)| n == name)) {
            return Err(invalid_value(format!("Value ({unknown}) for parameter attributeName is invalid. Unknown attribute.")));
        }
        let chosen = all.iter().filter(|(name, _)| named.is_empty() || named.iter().any(|n| n == name));
        let attributes = chosen.map(|(name, value)| shapes::AccountAttribute {
            attribute_name: fixed(name),
            attribute_values: Some(vec![shapes::AccountAttributeValue { attribute_value: text(value) }]),
        });
        Ok(shapes::DescribeAccountAttributesResult { account_attributes: Some(attributes.collect()) })
    }
}

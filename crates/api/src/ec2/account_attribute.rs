//! DescribeAccountAttributes.

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

    /// Only the two attributes that can be asked for by name. AWS also shows quotas; what fits here is decided by the host alone.
    fn run(_: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let named = input.attribute_names.unwrap_or_default();
        let default_vpc = bootstrap::default_vpc(view).map_or_else(|| "none".to_owned(), |vpc| vpc.id.to_string());
        let all = [("supported-platforms", "VPC"), ("default-vpc", default_vpc.as_str())];
        let chosen = all.iter().filter(|(name, _)| named.is_empty() || named.iter().any(|n| n == name));
        let attributes = chosen.map(|(name, value)| shapes::AccountAttribute {
            attribute_name: fixed(name),
            attribute_values: Some(vec![shapes::AccountAttributeValue { attribute_value: text(value) }]),
        });
        Ok(shapes::DescribeAccountAttributesResult { account_attributes: Some(attributes.collect()) })
    }
}

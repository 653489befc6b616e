//! Whose resources, and where: the account and region that every document belongs to.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// AWS's accounts that own the public images of Amazon Linux, Ubuntu (Canonical) and Debian. No account here is one of them.
pub const IMAGE_VENDORS: [&str; 3] = [AMAZON, CANONICAL, DEBIAN];
/// The owner of Amazon Linux.
pub const AMAZON: &str = "137112412989";
/// The owner of Ubuntu.
pub const CANONICAL: &str = "099720109477";
/// The owner of Debian.
pub const DEBIAN: &str = "136693071363";

/// Twelve decimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// The account that owns what the cloud itself provides, such as the public image of a simulated cloud.
    #[must_use]
    pub fn cloud() -> Self {
        Self("000000000000".into())
    }

    /// Whether it is one of [`IMAGE_VENDORS`].
    #[must_use]
    pub fn is_image_vendor(&self) -> bool {
        IMAGE_VENDORS.contains(&self.as_str())
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = crate::ids::Malformed;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(crate::ids::Malformed(text.into()))
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A region's code, such as `us-east-1`. Only names that AWS has are regions (see [`REGIONS`]).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Region(Arc<str>);

/// The region of a request that names none.
pub const DEFAULT_REGION: &str = "us-east-1";

/// AWS's regions that need no opting in: these names a request may be signed for. Each has its own resources.
pub const REGIONS: &[&str] = &[
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// AWS's regions that an account has to opt in to, which none can here: they are listed, and no request may be signed for them.
pub const OPT_IN_REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-south-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-west-1",
    "eu-central-2",
    "eu-south-1",
    "eu-south-2",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
];

/// The letters of the zones that every region has.
pub const ZONES: [char; 3] = ['a', 'b', 'c'];

impl Region {
    /// The region's code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The zones' names, `us-east-1a` and so on.
    pub fn zones(&self) -> impl Iterator<Item = String> + '_ {
        ZONES.iter().map(move |z| format!("{}{z}", self.0))
    }

    /// The domain of private host names: `ec2.internal` in us-east-1, `<region>.compute.internal` elsewhere.
    #[must_use]
    pub fn internal_domain(&self) -> String {
        if self.as_str() == DEFAULT_REGION { "ec2.internal".into() } else { format!("{}.compute.internal", self.0) }
    }

    /// The domain of public host names: `compute-1.amazonaws.com` in us-east-1, `<region>.compute.amazonaws.com` elsewhere.
    #[must_use]
    pub fn public_domain(&self) -> String {
        if self.as_str() == DEFAULT_REGION { "compute-1.amazonaws.com".into() } else { format!("{}.compute.amazonaws.com", self.0) }
    }

    /// The private host name of an address: `ip-172-31-0-10.ec2.internal`.
    #[must_use]
    pub fn private_name(&self, address: std::net::Ipv4Addr) -> String {
        format!("ip-{}.{}", address.to_string().replace('.', "-"), self.internal_domain())
    }

    /// The public host name of an address: `ec2-198-18-0-1.compute-1.amazonaws.com`.
    #[must_use]
    pub fn public_name(&self, address: std::net::Ipv4Addr) -> String {
        format!("ec2-{}.{}", address.to_string().replace('.', "-"), self.public_domain())
    }

    /// A zone's id, such as `use1-az1` of `us-east-1a` ("Availability Zone IDs"). AWS deals the ids out to the names anew for each
    /// account; here `a` is always 1. `None` if the region has no such zone.
    #[must_use]
    pub fn zone_id(&self, zone: &str) -> Option<String> {
        let number = self.zones().position(|z| z == zone)? + 1;
        let mut parts = self.0.split('-');
        let (continent, direction, place) = (parts.next()?, parts.next()?, parts.next()?);
        let direction = match direction {
            "northeast" => "ne",
            "southeast" => "se",
            one => one.get(..1)?,
        };
        Some(format!("{continent}{direction}{place}-az{number}"))
    }
}

/// The address in the first label of a private host name, `ip-172-31-0-10`.
#[must_use]
pub fn address_of_name(label: &str) -> Option<std::net::Ipv4Addr> {
    label.strip_prefix("ip-")?.replace('-', ".").parse().ok()
}

impl FromStr for Region {
    type Err = crate::ids::Malformed;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if REGIONS.contains(&text) { Ok(Self(text.into())) } else { Err(crate::ids::Malformed(text.into())) }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An account in a region: the key of everything a tenant owns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The owner.
    pub account: AccountId,
    /// Where it is.
    pub region: Region,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn zone_ids_are_as_aws_abbreviates_them() {
        for (region, zone, id) in [
            ("us-east-1", "us-east-1a", "use1-az1"),
            ("us-west-2", "us-west-2c", "usw2-az3"),
            ("ap-northeast-1", "ap-northeast-1b", "apne1-az2"),
            ("ap-south-1", "ap-south-1a", "aps1-az1"),
            ("ap-southeast-2", "ap-southeast-2a", "apse2-az1"),
            ("ca-central-1", "ca-central-1a", "cac1-az1"),
            ("eu-north-1", "eu-north-1a", "eun1-az1"),
        ] {
            assert_eq!(region.parse::<Region>().unwrap().zone_id(zone).as_deref(), Some(id));
        }
        assert_eq!("us-east-1".parse::<Region>().unwrap().zone_id("us-east-1d"), None);
    }

    #[test]
    fn host_names() {
        let address = "172.31.0.10".parse().unwrap();
        let (virginia, oregon) = ("us-east-1".parse::<Region>().unwrap(), "us-west-2".parse::<Region>().unwrap());
        assert_eq!(virginia.private_name(address), "ip-172-31-0-10.ec2.internal");
        assert_eq!(oregon.private_name(address), "ip-172-31-0-10.us-west-2.compute.internal");
        assert_eq!(virginia.public_name(address), "ec2-172-31-0-10.compute-1.amazonaws.com");
        assert_eq!(oregon.public_name(address), "ec2-172-31-0-10.us-west-2.compute.amazonaws.com");
        assert_eq!("eu-west-1".parse::<Region>().unwrap().private_name(address), "ip-172-31-0-10.eu-west-1.compute.internal");
        assert_eq!(address_of_name("ip-172-31-0-10"), Some(address));
        assert_eq!(address_of_name("ip-1-2-3"), None);
        assert_eq!(address_of_name("www"), None);
    }
}

//! Identifiers: one type per kind, so that a subnet's id can't stand where a VPC's is wanted.
//!
//! An id is a prefix and 8 or 17 lower-case hexadecimal digits ("Resource IDs", Amazon EC2 User Guide). We make 17 and accept both.

use rand::{Rng, RngExt as _};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The text isn't an id of the wanted kind: AWS answers `Invalid<Kind>ID.Malformed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed id {:?}", self.0)
    }
}

impl std::error::Error for Malformed {}

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|hex| matches!(hex.len(), 8 | 17) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// What stands before the dash.
            pub const PREFIX: &'static str = $prefix;

            /// Draws a new id.
            pub fn generate(rng: &mut dyn Rng) -> Self {
                let n: u128 = rng.random::<u128>() >> 60;
                Self(format!("{}-{:017x}", $prefix, n).into())
            }

            /// The id as AWS writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                if is_id(text, $prefix) { Ok(Self(text.into())) } else { Err(Malformed(text.into())) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Malformed;
            fn try_from(text: String) -> Result<Self, Malformed> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// A virtual machine.
    InstanceId = "i";
    /// The instances of one RunInstances call.
    ReservationId = "r";
    /// A machine image (AMI).
    ImageId = "ami";
    /// A snapshot of a volume.
    SnapshotId = "snap";
    /// A block device of a zone.
    VolumeId = "vol";
    /// A virtual network.
    VpcId = "vpc";
    /// A part of a VPC's addresses, in one zone.
    SubnetId = "subnet";
    /// A set of rules of what may reach, and leave, an interface.
    SecurityGroupId = "sg";
    /// One rule of a security group.
    SecurityGroupRuleId = "sgr";
    /// A network interface.
    NetworkInterfaceId = "eni";
    /// An interface's attachment to an instance.
    AttachmentId = "eni-attach";
    /// A key pair.
    KeyPairId = "key";
    /// DHCP options of a VPC.
    DhcpOptionsId = "dopt";
    /// An internet gateway.
    InternetGatewayId = "igw";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_ids_parse() {
        assert!("i-0123456789abcdef0".parse::<InstanceId>().is_ok());
        assert!("i-01234567".parse::<InstanceId>().is_ok());
        for bad in ["i-", "i-0123", "i-0123456789ABCDEF0", "ami-01234567", "i0123456789abcdef01", "", "i-0123456789abcdef00"] {
            assert!(bad.parse::<InstanceId>().is_err(), "{bad}");
        }
        assert!("eni-attach-01234567".parse::<AttachmentId>().is_ok());
        assert!("eni-attach-01234567".parse::<NetworkInterfaceId>().is_err());
    }

    #[test]
    fn generated_ids_parse() {
        let mut rng = rand::rng();
        for _ in 0..100 {
            let id = VpcId::generate(&mut rng);
            assert_eq!(id.as_str().parse::<VpcId>(), Ok(id));
        }
    }
}

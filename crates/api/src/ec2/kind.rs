//! The kinds of ids that Describe calls take, and what EC2 says of one that is malformed or of nothing. ("Error codes for the Amazon EC2
//! API": the two codes of a kind are often spelled differently.)

use std::fmt::Display;
use std::str::FromStr;
use wire::ApiError;

/// A kind of id.
pub(crate) struct Kind {
    /// What stands before the dash.
    prefix: &'static str,
    /// The code for a text that is no id.
    malformed: &'static str,
    /// The code for an id of nothing.
    not_found: &'static str,
    /// What is said of it, around the ids.
    says: (&'static str, &'static str),
    /// The same for more than one.
    says_many: (&'static str, &'static str),
}

pub(crate) const IMAGE: Kind = Kind {
    prefix: "ami",
    malformed: "InvalidAMIID.Malformed",
    not_found: "InvalidAMIID.NotFound",
    says: ("The image id '[", "]' does not exist"),
    says_many: ("The image ids '[", "]' do not exist"),
};
pub(crate) const INSTANCE: Kind = Kind {
    prefix: "i",
    malformed: "InvalidInstanceID.Malformed",
    not_found: "InvalidInstanceID.NotFound",
    says: ("The instance ID '", "' does not exist"),
    says_many: ("The instance IDs '", "' do not exist"),
};
pub(crate) const VOLUME: Kind = Kind {
    prefix: "vol",
    malformed: "InvalidVolumeID.Malformed",
    not_found: "InvalidVolume.NotFound",
    says: ("The volume '", "' does not exist."),
    says_many: ("The volumes '", "' do not exist."),
};
pub(crate) const VPC: Kind = Kind {
    prefix: "vpc",
    malformed: "InvalidVpcID.Malformed",
    not_found: "InvalidVpcID.NotFound",
    says: ("The vpc ID '", "' does not exist"),
    says_many: ("The vpc IDs '", "' do not exist"),
};
pub(crate) const SUBNET: Kind = Kind {
    prefix: "subnet",
    malformed: "InvalidSubnetID.Malformed",
    not_found: "InvalidSubnetID.NotFound",
    says: ("The subnet ID '", "' does not exist"),
    says_many: ("The subnet IDs '", "' do not exist"),
};
pub(crate) const INTERNET_GATEWAY: Kind = Kind {
    prefix: "igw",
    malformed: "InvalidInternetGatewayId.Malformed",
    not_found: "InvalidInternetGatewayID.NotFound",
    says: ("The internetGateway ID '", "' does not exist"),
    says_many: ("The internetGateway IDs '", "' do not exist"),
};
pub(crate) const GROUP: Kind = Kind {
    prefix: "sg",
    malformed: "InvalidGroupId.Malformed",
    not_found: "InvalidGroup.NotFound",
    says: ("The security group '", "' does not exist"),
    says_many: ("The security groups '", "' do not exist"),
};
pub(crate) const RULE: Kind = Kind {
    prefix: "sgr",
    malformed: "InvalidSecurityGroupRuleId.Malformed",
    not_found: "InvalidSecurityGroupRuleId.NotFound",
    says: ("The security group rule ID '", "' does not exist"),
    says_many: ("The security group rule IDs '", "' do not exist"),
};
pub(crate) const INTERFACE: Kind = Kind {
    prefix: "eni",
    malformed: "InvalidNetworkInterfaceId.Malformed",
    not_found: "InvalidNetworkInterfaceID.NotFound",
    says: ("The networkInterface ID '", "' does not exist"),
    says_many: ("The networkInterface IDs '", "' do not exist"),
};
pub(crate) const KEY_PAIR: Kind = Kind {
    prefix: "key",
    malformed: "InvalidParameterValue",
    not_found: "InvalidKeyPair.NotFound",
    says: ("The key pair ID '", "' does not exist"),
    says_many: ("The key pair IDs '", "' do not exist"),
};

impl Kind {
    /// Reads an id.
    ///
    /// # Errors
    /// The code for a text that is none.
    pub(crate) fn parse<T: FromStr>(&self, id: &str) -> Result<T, ApiError> {
        id.parse().map_err(|_| {
            let has_prefix = id.strip_prefix(self.prefix).is_some_and(|rest| rest.starts_with('-'));
            let expecting = if has_prefix { String::new() } else { format!(" (expecting \"{}-...\")", self.prefix) };
            ApiError::new(self.malformed, format!("Invalid id: \"{id}\"{expecting}"))
        })
    }

    /// What is answered for ids of nothing; there is at least one.
    pub(crate) fn not_found<T: Display>(&self, missing: &[T]) -> ApiError {
        let (before, after) = if missing.len() == 1 { self.says } else { self.says_many };
        let ids: Vec<String> = missing.iter().map(ToString::to_string).collect();
        ApiError::new(self.not_found, format!("{before}{}{after}", ids.join(", ")))
    }

    /// Finds each id, in the order given, once.
    ///
    /// # Errors
    /// For the first that is malformed, else for all that are of nothing.
    pub(crate) fn find_all<T, D>(&self, ids: &[String], find: impl Fn(&T) -> Option<D>) -> Result<Vec<D>, ApiError>
    where
        T: FromStr + Display + PartialEq,
    {
        let mut unique: Vec<T> = Vec::with_capacity(ids.len());
        for id in ids {
            let id = self.parse(id)?;
            if !unique.contains(&id) {
                unique.push(id);
            }
        }
        let (mut found, mut missing) = (Vec::with_capacity(unique.len()), Vec::new());
        for id in &unique {
            match find(id) {
                Some(document) => found.push(document),
                None => missing.push(id),
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(self.not_found(&missing)) }
    }
}

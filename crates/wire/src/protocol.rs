//! The protocols that AWS's services speak.

/// How a service's requests and replies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// EC2's own form of the query protocol.
    Ec2,
    /// Form parameters in, XML out.
    Query,
    /// JSON, the operation in `X-Amz-Target`.
    Json10,
    /// The same with its other version number.
    Json11,
    /// JSON, the operation in the path.
    RestJson,
    /// XML, the operation in the path.
    RestXml,
    /// CBOR, the operation in the path.
    RpcV2Cbor,
}

impl Protocol {
    /// The protocol that a model names.
    #[must_use]
    pub fn of_model(name: &str, json_version: &str) -> Option<Self> {
        Some(match name {
            "ec2" => Self::Ec2,
            "query" => Self::Query,
            "json" if json_version == "1.0" => Self::Json10,
            "json" => Self::Json11,
            "rest-json" => Self::RestJson,
            "rest-xml" => Self::RestXml,
            "smithy-rpc-v2-cbor" => Self::RpcV2Cbor,
            _ => return None,
        })
    }

    /// Whether its requests are form parameters.
    #[must_use]
    pub fn is_form(self) -> bool {
        matches!(self, Self::Ec2 | Self::Query)
    }
}

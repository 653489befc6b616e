//! What goes back: an operation's output or an error, in the words and the envelope of the request's protocol.

use crate::xml::Xml;
use crate::{ApiError, Encode, Protocol};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use std::borrow::Cow;

/// Room to begin a reply with, in bytes: most fit.
const REPLY_BYTES: usize = 4096;

/// An operation's output, encoded.
#[derive(Debug)]
pub struct Reply {
    action: &'static str,
    members: String,
    empty: bool,
}

impl Reply {
    /// Encodes the output of an operation.
    pub fn new<T: Encode>(action: &'static str, output: &T) -> Self {
        let mut xml = Xml::with_capacity(REPLY_BYTES);
        output.encode(&mut xml);
        Self { action, members: xml.into_string(), empty: T::EMPTY }
    }

    /// The answer for the client.
    ///
    /// Of the protocols only [`Protocol::Ec2`] and [`Protocol::Query`] have operations that are built; the others' clients get XML, too,
    /// which no one can reach before an operation of theirs is built.
    #[must_use]
    pub fn into_response(self, envelope: &Envelope<'_>) -> Response<Bytes> {
        let Self { action, mut members, empty } = self;
        let root = format!("{action}Response");
        let mut head = Xml::document(256);
        let mut tail = Xml::default();
        head.open_in(&root, &envelope.namespace);
        if envelope.protocol == Protocol::Ec2 {
            head.text("requestId", envelope.request_id);
            if empty {
                head.raw("<return>true</return>");
            }
        } else {
            if !empty {
                let result = format!("{action}Result");
                head.open(&result);
                tail.close(&result);
            }
            tail.open("ResponseMetadata");
            tail.text("RequestId", envelope.request_id);
            tail.close("ResponseMetadata");
        }
        tail.close(&root);
        // Around the members where they are: a long reply is not copied into a second buffer.
        members.insert_str(0, &head.into_string());
        members.push_str(&tail.into_string());
        envelope.respond(StatusCode::OK, members.into())
    }
}

/// What a reply is wrapped in.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// The request's protocol.
    pub protocol: Protocol,
    /// The namespace of XML replies.
    pub namespace: Cow<'a, str>,
    /// Goes into the body and a header.
    pub request_id: &'a str,
}

impl Envelope<'_> {
    /// An error, as this protocol's clients expect it. Bodies are from "Error response" of each protocol in Smithy's documentation, and for
    /// EC2 from "Error codes for the Amazon EC2 API".
    #[must_use]
    pub fn error(&self, error: &ApiError) -> Response<Bytes> {
        let body = match self.protocol {
            Protocol::Ec2 => Bytes::from(self.ec2_error(error)),
            Protocol::Query | Protocol::RestXml => Bytes::from(self.query_error(error)),
            Protocol::Json10 | Protocol::Json11 => {
                Bytes::from(serde_json::json!({ "__type": error.code, "message": error.message }).to_string())
            }
            Protocol::RestJson => Bytes::from(serde_json::json!({ "message": error.message }).to_string()),
            Protocol::RpcV2Cbor => Bytes::from(cbor_error(error)),
        };
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = self.respond(status, body);
        if self.protocol == Protocol::RestJson
            && let Ok(code) = HeaderValue::from_str(&error.code)
        {
            response.headers_mut().insert(HeaderName::from_static("x-amzn-errortype"), code);
        }
        response
    }

    fn ec2_error(&self, error: &ApiError) -> String {
        let mut xml = Xml::document(512);
        for name in ["Response", "Errors", "Error"] {
            xml.open(name);
        }
        xml.text("Code", &error.code);
        xml.text("Message", &error.message);
        xml.close("Error");
        xml.close("Errors");
        // Upper-case here, lower-case in EC2's good replies: both are AWS's.
        xml.text("RequestID", self.request_id);
        xml.close("Response");
        xml.into_string()
    }

    fn query_error(&self, error: &ApiError) -> String {
        let mut xml = Xml::document(512);
        xml.open_in("ErrorResponse", &self.namespace);
        xml.open("Error");
        xml.text("Type", if error.is_client() { "Sender" } else { "Receiver" });
        xml.text("Code", &error.code);
        xml.text("Message", &error.message);
        xml.close("Error");
        xml.text("RequestId", self.request_id);
        xml.close("ErrorResponse");
        xml.into_string()
    }

    fn respond(&self, status: StatusCode, body: Bytes) -> Response<Bytes> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let content_type = match self.protocol {
            Protocol::Ec2 => "text/xml;charset=UTF-8",
            Protocol::Query => "text/xml",
            Protocol::Json10 => "application/x-amz-json-1.0",
            Protocol::Json11 => "application/x-amz-json-1.1",
            Protocol::RestJson => "application/json",
            Protocol::RestXml => "application/xml",
            Protocol::RpcV2Cbor => "application/cbor",
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        // An id that can't be a header would be our own bug: the body still has it.
        if let Ok(id) = HeaderValue::from_str(self.request_id) {
            let name = if self.protocol == Protocol::RestXml { "x-amz-request-id" } else { "x-amzn-requestid" };
            headers.insert(HeaderName::from_static(name), id);
        }
        if self.protocol == Protocol::RpcV2Cbor {
            headers.insert(HeaderName::from_static("smithy-protocol"), HeaderValue::from_static("rpc-v2-cbor"));
        }
        response
    }
}

/// A map of two texts in CBOR (RFC 8949).
fn cbor_error(error: &ApiError) -> Vec<u8> {
    let mut out = vec![0xa2];
    for text in ["__type", &error.code, "message", &error.message] {
        cbor_text(text, &mut out);
    }
    out
}

fn cbor_text(text: &str, out: &mut Vec<u8>) {
    const TEXT: u8 = 3 << 5;
    match u64::try_from(text.len()).unwrap_or(u64::MAX) {
        length @ 0..24 => out.push(TEXT | u8::try_from(length).unwrap_or_default()),
        length => {
            out.push(TEXT | 27);
            out.extend(length.to_be_bytes());
        }
    }
    out.extend(text.as_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Empty;
    use crate::shapes::{ec2, sts};

    fn envelope(protocol: Protocol) -> Envelope<'static> {
        let namespace = if protocol == Protocol::Ec2 { ec2::XML_NAMESPACE } else { sts::XML_NAMESPACE };
        Envelope { protocol, namespace: namespace.into(), request_id: "r-1" }
    }

    fn body(response: &Response<Bytes>) -> &str {
        std::str::from_utf8(response.body()).unwrap()
    }

    #[test]
    fn ec2_replies() {
        let output =
            ec2::DescribeRegionsResult { regions: Some(vec![ec2::Region { region_name: Some("a&b".into()), ..Default::default() }]) };
        let response = Reply::new("DescribeRegions", &output).into_response(&envelope(Protocol::Ec2));
        assert_eq!(
            body(&response),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeRegionsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
             <requestId>r-1</requestId><regionInfo><item><regionName>a&amp;b</regionName></item></regionInfo></DescribeRegionsResponse>"
        );
        assert_eq!(response.headers()["x-amzn-requestid"], "r-1");
        assert_eq!(response.headers()["content-type"], "text/xml;charset=UTF-8");
        let response = Reply::new("RebootInstances", &Empty).into_response(&envelope(Protocol::Ec2));
        assert!(body(&response).ends_with("<requestId>r-1</requestId><return>true</return></RebootInstancesResponse>"));
        let response = Reply::new("DescribeRegions", &ec2::DescribeRegionsResult::default()).into_response(&envelope(Protocol::Ec2));
        assert!(body(&response).ends_with("<requestId>r-1</requestId></DescribeRegionsResponse>"), "no <return> where there is an output");
    }

    #[test]
    fn query_replies() {
        let output = sts::GetCallerIdentityResponse { account: Some("1".into()), ..Default::default() };
        let response = Reply::new("GetCallerIdentity", &output).into_response(&envelope(Protocol::Query));
        assert_eq!(
            body(&response).lines().nth(1).unwrap(),
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult><Account>1</Account>\
             </GetCallerIdentityResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
        );
        let response = Reply::new("DeleteUser", &Empty).into_response(&envelope(Protocol::Query));
        assert!(body(&response).contains("/\"><ResponseMetadata>"));
    }

    #[test]
    fn errors_in_each_protocol() {
        let error = ApiError::new("InvalidAction", "No <x>.");
        let one = |protocol| envelope(protocol).error(&error);
        let response = one(Protocol::Ec2);
        assert_eq!(response.status(), 400);
        assert_eq!(
            body(&response).lines().nth(1).unwrap(),
            "<Response><Errors><Error><Code>InvalidAction</Code><Message>No &lt;x&gt;.</Message></Error></Errors><RequestID>r-1</RequestID></Response>"
        );
        assert_eq!(
            body(&one(Protocol::Query)).lines().nth(1).unwrap(),
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>InvalidAction</Code>\
             <Message>No &lt;x&gt;.</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
        );
        assert!(body(&envelope(Protocol::Query).error(&ApiError::internal())).contains("<Type>Receiver</Type>"));
        assert_eq!(body(&one(Protocol::Json11)), r#"{"__type":"InvalidAction","message":"No <x>."}"#);
        let response = one(Protocol::RestJson);
        assert_eq!(body(&response), r#"{"message":"No <x>."}"#);
        assert_eq!(response.headers()["x-amzn-errortype"], "InvalidAction");
        let response = one(Protocol::RpcV2Cbor);
        assert_eq!(response.body().as_ref(), b"\xa2\x66__type\x6dInvalidAction\x67message\x67No <x>.");
        assert_eq!(response.headers()["smithy-protocol"], "rpc-v2-cbor");
        assert_eq!(one(Protocol::RestXml).headers()["x-amz-request-id"], "r-1");
    }

    #[test]
    fn long_texts_in_cbor() {
        let mut out = Vec::new();
        cbor_text(&"x".repeat(300), &mut out);
        assert_eq!(out[..9], [0x7b, 0, 0, 0, 0, 0, 0, 1, 44]);
        assert_eq!(out.len(), 309);
    }
}

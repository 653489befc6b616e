//! A client as simple as can be: signed requests of the query protocol (Signature Version 4, "Create a signed AWS API request"), handed
//! to the gate without a socket. Written here anew, so that a mistake in the cloud's own code isn't made twice.

use crate::faults::SimFaults;
use crate::users::User;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Request, Response};
use model::time::Clock;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;

/// The gate, as a function.
pub(crate) type Gate = Arc<dyn Fn(Request<Bytes>) -> Pin<Box<dyn Future<Output = Response<Bytes>> + Send>> + Send + Sync>;

/// What a call came to.
pub(crate) enum Answer {
    /// It was done.
    Xml(String),
    /// It was not.
    Refused {
        /// AWS's error code.
        code: String,
        /// The text with it.
        message: String,
    },
}

/// Calls one life of the cloud.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) gate: Gate,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: Arc<SimFaults>,
}

impl Client {
    /// Calls an action of EC2. If the process dies before it has answered, this never returns.
    ///
    /// # Panics
    /// If the cloud fails by itself.
    pub(crate) async fn call(&self, user: &User, action: &str, parameters: &[(String, String)]) -> Answer {
        let mut body = format!("Action={action}&Version=2016-11-15");
        for (name, value) in parameters {
            write!(body, "&{}={}", escape(name), escape(value)).expect("a string can be written to");
        }
        let response = (self.gate)(self.sign(user, body)).await;
        let (status, xml) = (response.status(), String::from_utf8_lossy(response.body()).into_owned());
        if status.is_success() {
            return Answer::Xml(xml);
        }
        let part = |name| crate::users::text_of(&xml, name).next().unwrap_or_default().to_owned();
        let (code, message) = (part("Code"), part("Message"));
        if code == "InternalError" && self.faults.is_dead() {
            std::future::pending::<()>().await;
        }
        let ours = ["InternalError", "InternalFailure", "Unavailable", "ServiceUnavailable", ""];
        assert!(!ours.contains(&code.as_str()), "{action} {parameters:?} failed: {status} {xml}");
        Answer::Refused { code, message }
    }

    fn sign(&self, user: &User, body: String) -> Request<Bytes> {
        let time: String = self.clock.now().iso8601().split('.').next().unwrap_or_default().replace(['-', ':'], "") + "Z";
        let day = &time[..8];
        let region = user.scope.region.as_str();
        let host = format!("ec2.{region}.amazonaws.com");
        let (form, names) = ("application/x-www-form-urlencoded; charset=utf-8", "content-type;host;x-amz-date");
        let hash = hex(&Sha256::digest(body.as_bytes()));
        let canonical = format!("POST\n/\n\ncontent-type:{form}\nhost:{host}\nx-amz-date:{time}\n\n{names}\n{hash}");
        let scope = format!("{day}/{region}/ec2/aws4_request");
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let (id, secret) = &user.access_key;
        let key = [day, region, "ec2", "aws4_request"].iter().fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part));
        let signature = hex(&hmac(&key, &to_sign));
        let request = Request::post("/")
            .header("host", host)
            .header("content-type", form)
            .header("x-amz-date", time)
            .header("authorization", format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"))
            .body(body.into());
        request.expect("these headers are well formed")
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |escaped, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped + char::from(byte).encode_utf8(&mut [0; 4]),
        _ => escaped + &format!("%{byte:02X}"),
    })
}

//! A line of an access log ("Amazon S3 server access log format").

use model::time::Timestamp;
use std::fmt::Write as _;
use std::time::Duration;

/// What a line says. What isn't known is `None` or empty, and written as `-`.
#[derive(Clone)]
pub(crate) struct Request<'a> {
    /// When it came.
    pub(crate) at: Timestamp,
    pub(crate) address: String,
    /// The canonical user id.
    pub(crate) requester: Option<String>,
    pub(crate) id: &'a str,
    pub(crate) operation: String,
    /// Not encoded.
    pub(crate) key: Option<&'a str>,
    /// `GET /bucket/key?x=y HTTP/1.1`.
    pub(crate) uri: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
    /// Bytes of the answer's body.
    pub(crate) sent: Option<u64>,
    /// Bytes of the object.
    pub(crate) size: Option<u64>,
    pub(crate) took: Option<Duration>,
    pub(crate) referer: Option<&'a str>,
    pub(crate) agent: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
    /// `AuthHeader` or `QueryString`, if it is signed.
    pub(crate) signed: Option<&'static str>,
    pub(crate) host: &'a str,
    /// Whether a list of grants let it through.
    pub(crate) acl_required: bool,
}

impl Request<'_> {
    pub(super) fn line(&self, owner: &str, bucket: &str) -> String {
        let number = |n: Option<u64>| n.filter(|n| *n > 0).map_or_else(|| "-".to_owned(), |n| n.to_string());
        let millis = self.took.map_or_else(|| "-".to_owned(), |took| took.as_millis().to_string());
        let mut line = String::with_capacity(512);
        _ = writeln!(
            line,
            "{owner} {bucket} [{time}] {address} {requester} {id} {operation} {key} {uri} {status} {error} {sent} {size} {millis} {millis} \
             {referer} {agent} {version} {id} {signature} - {signed} {host} - - {acl}",
            time = self.at.log_date(),
            address = or_dash(&self.address),
            requester = self.requester.as_deref().unwrap_or("-"),
            id = self.id,
            operation = self.operation,
            key = self.key.map_or_else(|| "-".to_owned(), encoded),
            uri = quoted(self.uri.as_deref()),
            status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
            error = self.error.as_deref().unwrap_or("-"),
            sent = number(self.sent),
            size = number(self.size),
            referer = quoted(self.referer),
            agent = quoted(self.agent),
            version = self.version.unwrap_or("-"),
            signature = if self.signed.is_some() { "SigV4" } else { "-" },
            signed = self.signed.unwrap_or("-"),
            host = or_dash(&encoded(self.host)),
            acl = if self.acl_required { "Yes" } else { "-" },
        );
        line
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// In quotes, which it can't get out of, unless there is nothing to say at all.
fn quoted(text: Option<&str>) -> String {
    text.map_or_else(|| "-".into(), |text| format!("\"{}\"", or_dash(&unquoted(text))))
}

fn unquoted(text: &str) -> String {
    let safe = |c: char| if c == '"' || c.is_control() { format!("%{:02X}", u32::from(c)) } else { c.to_string() };
    text.chars().map(safe).collect()
}

/// A field without quotes, which has no spaces.
fn encoded(text: &str) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const SPECIAL: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%').add(b'+');
    utf8_percent_encode(text, SPECIAL).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients choose most of it: nothing of theirs makes a second field or line.
    #[test]
    fn a_line_has_its_26_fields() {
        let request = Request {
            at: Timestamp(1_549_411_238_000),
            address: "192.0.2.3".into(),
            requester: None,
            id: "3E57427F3EXAMPLE",
            operation: "REST.GET.OBJECT".into(),
            key: Some("a b\"c\nd"),
            uri: Some("GET /b/a?x=\"y HTTP/1.1".into()),
            status: Some(404),
            error: Some("NoSuchKey".into()),
            sent: Some(113),
            size: None,
            took: Some(Duration::from_millis(7)),
            referer: Some(""),
            agent: Some("S3\"Console/0.4\n"),
            version: None,
            signed: Some("AuthHeader"),
            host: "b.s3.localhost:4566",
            acl_required: true,
        };
        assert_eq!(
            request.line("79a5", "b"),
            "79a5 b [06/Feb/2019:00:00:38 +0000] 192.0.2.3 - 3E57427F3EXAMPLE REST.GET.OBJECT a%20b%22c%0Ad \"GET /b/a?x=%22y HTTP/1.1\" 404 \
             NoSuchKey 113 - 7 7 \"-\" \"S3%22Console/0.4%0A\" - 3E57427F3EXAMPLE SigV4 - AuthHeader b.s3.localhost:4566 - - Yes\n"
        );
    }
}

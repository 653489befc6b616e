//! Documents that arrive: held within a budget, and judged as a whole before s3s reads them, which compares nothing with the checksums of
//! the headers ("Checking object integrity"). The bodies of objects are looked at in [`crate::intake`].

use crate::budget::Held;
use crate::checksum::{self, Algorithm, Expected, Pair};
use crate::error::{self, Result};
use crate::precheck::{self, ANONYMOUS_XML_BYTES_MAX, XML_BYTES_MAX};
use crate::{intake, markup, target};
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use s3s::{S3Error, s3_error};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How long a document may take from its first byte to its last: 4 MiB come at 70 KB a second then.
const ARRIVAL_TIME: Duration = Duration::from_secs(60);

/// Parts of a bucket or an object that are documents with checksums of their own: a name in the query of a request that writes one.
const COMPARED: [&str; 21] = [
    "accelerate",
    "acl",
    "cors",
    "delete",
    "encryption",
    "legal-hold",
    "lifecycle",
    "logging",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "tagging",
    "versioning",
    "website",
];

/// Why a document was not taken, once that is known.
#[derive(Clone, Default)]
pub(crate) struct Refusal(Arc<Mutex<Option<S3Error>>>);

impl Refusal {
    /// The refusal, if there is one; the next time there is none.
    pub(crate) fn take(&self) -> Option<S3Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, error: S3Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// A document is refused; [`Refusal`] says why.
#[derive(Debug, thiserror::Error)]
#[error("a document is refused")]
struct Refused;

/// A document on its way in.
struct Gathering {
    text: BytesMut,
    /// What the client says that its checksum is.
    expected: Option<Expected>,
    /// The hash of the body that was signed, in hexadecimal digits.
    signed: Option<String>,
    held: Held,
    refusal: Refusal,
    /// Runs from the first byte on: what is held is not held for ever.
    time: Option<Pin<Box<Sleep>>>,
}

impl Gathering {
    fn new(head: &Parts, held: Held) -> Result<Self> {
        let expected = if is_compared(head) { Some(Expected::read(&head.headers, None)?) } else { None };
        let hash = |value: &HeaderValue| Some(value.to_str().ok()?.to_owned());
        let signed = head.headers.get("x-amz-content-sha256").and_then(hash).filter(|hash| hash.len() == 64 && precheck::is_signed(head));
        Ok(Self { text: BytesMut::new(), expected: expected.filter(Expected::any), signed, held, refusal: Refusal::default(), time: None })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let max = if self.held.is_verified() { XML_BYTES_MAX } else { ANONYMOUS_XML_BYTES_MAX };
        if self.text.len() + bytes.len() > max {
            return Err(s3_error!(MaxMessageLengthExceeded, "Your request was too big."));
        }
        self.held.take(bytes.len())?;
        self.text.extend_from_slice(bytes);
        if !bytes.is_empty() {
            self.time.get_or_insert_with(|| Box::pin(tokio::time::sleep(ARRIVAL_TIME)));
        }
        Ok(())
    }

    /// Whether its time is over.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.time.as_mut().is_some_and(|time| time.as_mut().poll(cx).is_ready())
    }

    /// Judges the whole.
    fn judge(&self) -> Result<()> {
        if let Some(signed) = &self.signed
            && !checksum::hex(&checksum::digest(Algorithm::Sha256, &self.text)).eq_ignore_ascii_case(signed)
        {
            return Err(intake::wrong_hash());
        }
        if let Some(expected) = &self.expected {
            self.compare(expected)?;
        }
        // Policies are no XML.
        if self.text.trim_ascii_start().starts_with(b"<") && !markup::is_taken(&self.text) {
            return Err(error::malformed_xml());
        }
        Ok(())
    }

    fn compare(&self, expected: &Expected) -> Result<()> {
        let mut pair = Pair::new(expected.algorithm(), None);
        pair.update(&self.text);
        expected.check(&pair.finish())
    }
}

/// A body that, if it is a document's, comes in one piece once it is judged, and fails if it is refused.
pub(crate) struct Document<B> {
    body: B,
    gathering: Option<Gathering>,
    /// Nothing more comes.
    ended: bool,
}

impl<B> Document<B> {
    /// The body, and where the refusal will be. `bucket_in_host`: the path is a key.
    ///
    /// # Errors
    /// As [`Expected::read`].
    pub(crate) fn new(head: &Parts, bucket_in_host: bool, body: B, held: Held) -> Result<(Self, Refusal)> {
        let gathering = if precheck::is_document(head, bucket_in_host) { Some(Gathering::new(head, held)?) } else { None };
        let refusal = gathering.as_ref().map(|gathering| gathering.refusal.clone()).unwrap_or_default();
        Ok((Self { body, gathering, ended: false }, refusal))
    }
}

/// Whether a document's bytes are its body's, and a checksum in the headers is theirs. One behind the body is none of those that are looked at.
fn is_compared(head: &Parts) -> bool {
    target::parameters(head).any(|(name, _)| COMPARED.contains(&name)) && !head.headers.contains_key("x-amz-decoded-content-length")
}

impl<B> Body for Document<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            let Some(gathering) = &mut this.gathering else { return Pin::new(&mut this.body).poll_frame(cx).map_err(Into::into) };
            let (refused, ended) = match Pin::new(&mut this.body).poll_frame(cx).map_err(Into::into)? {
                // Who sends byte after byte is late too.
                Poll::Pending | Poll::Ready(Some(_)) if gathering.is_late(cx) => (Err(intake::stalled()), false),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(frame)) => (frame.data_ref().map_or(Ok(()), |bytes| gathering.take(bytes)), false),
                Poll::Ready(None) => (gathering.judge(), true),
            };
            this.ended = ended || refused.is_err();
            if let Err(error) = refused {
                gathering.refusal.set(error);
                this.gathering = None;
                return Poll::Ready(Some(Err(Refused.into())));
            }
            if ended {
                let text = std::mem::take(&mut gathering.text).freeze();
                return Poll::Ready((!text.is_empty()).then(|| Ok(Frame::data(text))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.gathering.as_ref().is_none_or(|gathering| gathering.text.is_empty()) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.ended { SizeHint::with_exact(0) } else { self.body.size_hint() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::budget::{Budget, PEER_BYTES_MAX};
    use crate::caller::Verified;
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use std::net::{IpAddr, Ipv4Addr};

    const TEXT: &[u8] = b"123456789";
    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn account() -> Verified {
        let account = Verified::default();
        account.set(&"111111111111".parse().unwrap());
        account
    }

    async fn read(uri: &str, name: &str, value: &str) -> (bool, Option<String>) {
        let method = if uri.contains('?') { "POST" } else { "PUT" };
        let request = http::Request::builder().method(method).uri(uri).header(name, value).header("authorization", "AWS4-HMAC-SHA256 x");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let held = Budget::default().held(Verified::default(), PEER);
        let (body, refusal) = Document::new(&head, false, Full::new(Bytes::from_static(TEXT)), held).unwrap();
        let whole = body.collect().await.is_ok_and(|body| body.to_bytes() == TEXT);
        (whole, refusal.take().map(|error| error.code().as_str().to_owned()))
    }

    #[tokio::test]
    async fn documents_are_compared_and_objects_are_not() {
        let (right, wrong) = ("JfnnlDI7RTiF9RgfG2JNCw==", "AAAAAAAAAAAAAAAAAAAAAA==");
        for uri in ["/bucket?delete", "/bucket/key?tagging=&versionId=1", "/bucket?x-id=DeleteObjects&delete"] {
            assert_eq!(read(uri, "content-md5", right).await, (true, None), "{uri}");
            assert_eq!(read(uri, "content-md5", wrong).await, (false, Some("BadDigest".into())), "{uri}");
        }
        assert_eq!(read("/bucket/key", "content-md5", wrong).await, (true, None));
        // What that says is true of the object.
        assert_eq!(read("/bucket/key?uploadId=u", "x-amz-checksum-crc32", "AAAAAA==").await, (true, None));
    }

    #[tokio::test]
    async fn documents_have_no_type_of_their_own() {
        let (head, ()) = http::Request::post("/bucket?delete").body(()).unwrap().into_parts();
        let read = async |text: &'static str| {
            let held = Budget::default().held(Verified::default(), PEER);
            let (body, refusal) = Document::new(&head, false, Full::new(Bytes::from(text)), held).unwrap();
            (body.collect().await.is_ok(), refusal.take().map(|error| error.code().as_str().to_owned()))
        };
        assert_eq!(read(" <!DOCTYPE Delete><Delete/>").await, (false, Some("MalformedXML".into())));
        assert_eq!(read("<Delete/>").await, (true, None));
        assert_eq!(read("{\"a\": \"<!DOCTYPE\"}").await, (true, None));
    }

    #[tokio::test]
    async fn documents_are_what_was_signed() {
        let right = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225";
        for (hash, refused) in [(right.to_owned(), None), ("0".repeat(64), Some("XAmzContentSHA256Mismatch".to_owned()))] {
            assert_eq!(read("/bucket?delete", "x-amz-content-sha256", &hash).await, (refused.is_none(), refused));
        }
        assert_eq!(read("/bucket?delete", "x-amz-content-sha256", "UNSIGNED-PAYLOAD").await, (true, None));
    }

    #[tokio::test]
    async fn documents_are_held_within_the_budget() {
        let budget = Budget::default();
        let read = async |verified: Verified| {
            let (head, ()) = http::Request::post("/bucket?delete").body(()).unwrap().into_parts();
            let (body, refusal) = Document::new(&head, false, Full::new(Bytes::from_static(TEXT)), budget.held(verified, PEER)).unwrap();
            (body.collect().await.is_ok(), refusal.take().map(|error| error.code().as_str().to_owned()))
        };
        let all = budget.held(Verified::default(), PEER);
        all.take(PEER_BYTES_MAX - TEXT.len() + 1).unwrap();
        assert_eq!(read(Verified::default()).await, (false, Some("SlowDown".into())));
        assert_eq!(read(account()).await, (true, None));
        drop(all);
        assert_eq!(read(Verified::default()).await, (true, None));
    }

    #[tokio::test]
    async fn documents_have_an_end() {
        let (head, ()) = http::Request::post("/bucket?delete").body(()).unwrap().into_parts();
        for (verified, max) in [(account(), XML_BYTES_MAX), (Verified::default(), ANONYMOUS_XML_BYTES_MAX)] {
            for (length, whole) in [(max, true), (max + 1, false)] {
                let body = Full::new(Bytes::from(vec![b' '; length]));
                let (body, refusal) = Document::new(&head, false, body, Budget::default().held(verified.clone(), PEER)).unwrap();
                assert_eq!(body.collect().await.is_ok(), whole);
                let code = refusal.take().map(|error| error.code().as_str().to_owned());
                assert_eq!(code.as_deref(), (!whole).then_some("MaxMessageLengthExceeded"));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn documents_come_in_time() {
        let (head, ()) = http::Request::post("/bucket?delete").body(()).unwrap().into_parts();
        // A byte each so many seconds, after a first wait.
        for (wait, seconds, bytes, whole) in [(40, 5, 12, true), (0, 5, 14, false), (0, 90, 2, false)] {
            let stream = futures_util::stream::unfold(0, move |sent| async move {
                tokio::time::sleep(Duration::from_secs(if sent == 0 { wait } else { seconds })).await;
                (sent < bytes).then(|| (Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b" "))), sent + 1))
            });
            let begun = tokio::time::Instant::now();
            let held = Budget::default().held(account(), PEER);
            let (body, refusal) = Document::new(&head, false, StreamBody::new(Box::pin(stream)), held).unwrap();
            assert_eq!(body.collect().await.is_ok(), whole, "{bytes}");
            let code = refusal.take().map(|error| error.code().as_str().to_owned());
            assert_eq!(code.as_deref(), (!whole).then_some("RequestTimeout"));
            assert!(begun.elapsed() <= Duration::from_secs(wait) + ARRIVAL_TIME);
        }
    }
}

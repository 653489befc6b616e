//! Documents that arrive with a checksum ("Checking object integrity"): s3s reads them, and compares nothing. The bodies of objects are
//! looked at in [`crate::intake`].

use crate::checksum::{Expected, Pair};
use crate::error::Result;
use crate::target;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use s3s::S3Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// Parts of a bucket or an object that are documents: a name in the query of a request that writes one.
const DOCUMENTS: [&str; 21] = [
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

/// The document is not what its checksum says.
#[derive(Debug, thiserror::Error)]
#[error("a document is not what its checksum says")]
struct Mismatch;

/// What a document is compared with.
struct Comparison {
    expected: Expected,
    pair: Pair,
    /// Bytes that are still to come.
    left: u64,
    refusal: Refusal,
}

/// A body that fails at its end if it is a document, and not what its checksum says.
pub(crate) struct Compared<B> {
    body: B,
    comparison: Option<Comparison>,
}

impl<B> Compared<B> {
    /// The body, and where the refusal will be.
    ///
    /// # Errors
    /// As [`Expected::read`].
    pub(crate) fn new(head: &Parts, body: B) -> Result<(Self, Refusal)> {
        let refusal = Refusal::default();
        if !is_document(head) {
            return Ok((Self { body, comparison: None }, refusal));
        }
        let expected = Expected::read(&head.headers, None)?;
        let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
        let comparison = length.filter(|_| expected.any()).map(|left| {
            let pair = Pair::new(expected.algorithm(), None);
            Comparison { expected, pair, left, refusal: refusal.clone() }
        });
        Ok((Self { body, comparison }, refusal))
    }
}

/// Whether a request writes a document whose bytes are its body's. A checksum behind the body is none of those that are looked at.
fn is_document(head: &Parts) -> bool {
    target::parameters(head).any(|(name, _)| DOCUMENTS.contains(&name)) && !head.headers.contains_key("x-amz-decoded-content-length")
}

impl Comparison {
    /// Whether all is well so far.
    fn take(mut self, bytes: &[u8]) -> Result<Option<Self>, Mismatch> {
        self.pair.update(bytes);
        self.left = self.left.saturating_sub(bytes.len() as u64);
        if self.left > 0 {
            return Ok(Some(self));
        }
        match self.expected.check(&self.pair.finish()) {
            Ok(()) => Ok(None),
            Err(refusal) => {
                self.refusal.set(refusal);
                Err(Mismatch)
            }
        }
    }
}

impl<B> Body for Compared<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { return Poll::Pending };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        if let Some(comparison) = self.comparison.take()
            && let Some(bytes) = frame.data_ref()
        {
            self.comparison = comparison.take(bytes)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full};

    async fn read(uri: &str, md5: &str) -> (bool, Option<String>) {
        let request = http::Request::post(uri).header("content-length", "9").header("content-md5", md5).body(()).unwrap();
        let (head, ()) = request.into_parts();
        let (body, refusal) = Compared::new(&head, Full::new(Bytes::from_static(b"123456789"))).unwrap();
        let whole = body.collect().await.is_ok();
        (whole, refusal.take().map(|error| error.code().as_str().to_owned()))
    }

    #[tokio::test]
    async fn documents_are_compared_and_objects_are_not() {
        let (right, wrong) = ("JfnnlDI7RTiF9RgfG2JNCw==", "AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(read("/bucket?delete", right).await, (true, None));
        assert_eq!(read("/bucket?delete", wrong).await, (false, Some("BadDigest".into())));
        assert_eq!(read("/bucket/key?tagging=&versionId=1", wrong).await, (false, Some("BadDigest".into())));
        assert_eq!(read("/bucket?x-id=DeleteObjects&delete", wrong).await, (false, Some("BadDigest".into())));
        assert_eq!(read("/bucket/key?x-id=PutObject", wrong).await, (true, None));
    }
}

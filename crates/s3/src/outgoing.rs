//! Bodies on their way out.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use objects::{Error, Reader};
use s3s::StdError;
use s3s::stream::{ByteStream, RemainingLength};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body on its way out. An error cuts the connection: the client sees that it is not whole. Its items' errors are [`Error`].
pub(crate) struct Outgoing {
    reader: Reader,
    /// What was read before anybody asked for it.
    first: Option<Bytes>,
}

impl Outgoing {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader, first: None }
    }

    /// Reads the first piece, so that a body of which nothing can be read is refused and not broken off.
    ///
    /// # Errors
    /// As the reader's.
    pub(crate) async fn begin(&mut self) -> objects::Result<()> {
        self.first = self.reader.next().await.transpose()?;
        Ok(())
    }
}

impl Stream for Outgoing {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let failed = |error: Error| {
            // The body of WrongKey is as it should be: only the client's key isn't.
            if let Error::Io(cause) = &error {
                tracing::error!(error = format!("{cause:#}"), "a body can't be read");
            }
            StdError::from(error)
        };
        Pin::new(&mut self.reader).poll_next(cx).map(|item| item.map(|bytes| bytes.map_err(failed)))
    }
}

impl ByteStream for Outgoing {
    fn remaining_length(&self) -> RemainingLength {
        let left = self.reader.left() + self.first.as_ref().map_or(0, Bytes::len) as u64;
        usize::try_from(left).map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}

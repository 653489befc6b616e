//! Bodies on their way out.

use bytes::Bytes;
use futures_util::Stream;
use objects::{Error, Reader};
use s3s::StdError;
use s3s::stream::{ByteStream, RemainingLength};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body on its way out. An error cuts the connection: the client sees that it is not whole. Its items' errors are [`Error`].
pub(crate) struct Outgoing(pub(crate) Reader);

impl Stream for Outgoing {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let failed = |error: Error| {
            // The body of WrongKey is as it should be: only the client's key isn't.
            if let Error::Io(cause) = &error {
                tracing::error!(error = format!("{cause:#}"), "a body can't be read");
            }
            StdError::from(error)
        };
        Pin::new(&mut self.0).poll_next(cx).map(|item| item.map(|bytes| bytes.map_err(failed)))
    }
}

impl ByteStream for Outgoing {
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.0.left()).map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}

//! Bodies on their way out.

use crate::error::{Error, Result};
use bytes::Bytes;
use futures_util::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The bytes of a range of a body, in pieces.
#[derive(Debug)]
pub struct Reader {
    pub(crate) left: u64,
}

impl Reader {
    /// Bytes that are still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl Stream for Reader {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(Err(Error::Io(anyhow::anyhow!("not built yet")))))
    }
}

//! Bodies that arrive: they must keep arriving.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How long a client may send nothing of a body it announced.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// The client sent nothing for [`IDLE_TIME`].
#[derive(Debug, thiserror::Error)]
#[error("the request's body did not arrive in time")]
pub(crate) struct Stalled;

/// A body that fails once nothing of it has come for [`IDLE_TIME`].
pub(crate) struct Patient<B> {
    body: B,
    /// Runs while the next piece is awaited.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<B> Patient<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body, patience: None }
    }
}

impl<B> Body for Patient<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.patience = None;
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(IDLE_TIME)));
        patience.as_mut().poll(cx).map(|()| Some(Err(Stalled.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

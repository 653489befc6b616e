//! Since when a call waits for its client.

use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::time::Instant;

/// Since when a call waits until its client sends more of the request, or reads more of the answer.
#[derive(Debug, Default)]
pub(crate) struct Wait(Mutex<Option<Instant>>);

impl Wait {
    /// `None`: it doesn't wait for its client.
    pub(crate) fn since(&self) -> Option<Instant> {
        *self.locked()
    }

    /// It waits, unless it does already.
    pub(crate) fn begin(&self) {
        self.locked().get_or_insert_with(Instant::now);
    }

    /// It waits no more.
    pub(crate) fn end(&self) {
        *self.locked() = None;
    }

    fn locked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a request, which tells when it is waited for. It holds no place: it may outlive its connection for a moment.
pub(crate) struct Awaited<B> {
    body: B,
    wait: Arc<Wait>,
}

impl<B> Awaited<B> {
    pub(crate) fn new(body: B, wait: Arc<Wait>) -> Self {
        Self { body, wait }
    }
}

impl<B: Body + Unpin> Body for Awaited<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            self.wait.end();
        } else {
            self.wait.begin();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Awaited<B> {
    fn drop(&mut self) {
        self.wait.end();
    }
}

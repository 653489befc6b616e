//! Bodies that arrive: they must keep arriving.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How long a client may send nothing of a body it announced.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// The client sent nothing for [`IDLE_TIME`].
#[derive(Debug, thiserror::Error)]
#[error("the request's body did not arrive in time")]
pub(crate) struct Stalled;

/// Most bytes of a refused body that are read all the same.
const DRAIN_BYTES_MAX: u64 = 64 << 20;
/// How long a refused body is read.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// A body whose rest is read and thrown away when it is refused before its end. A client that still writes when its connection is closed
/// never reads the answer, and S3's clients then send it all again.
pub(crate) struct Drained<B: Body<Data = Bytes> + Send + Unpin + 'static> {
    /// `None` only while it is dropped.
    body: Option<B>,
    /// Whether the rest is worth reading.
    wanted: bool,
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Drained<B> {
    /// With `waits`, the client has not sent it yet and waits to be told to: there is no rest to read.
    pub(crate) fn new(body: B, waits: bool) -> Self {
        let wanted = !waits && body.size_hint().upper().is_none_or(|length| length <= DRAIN_BYTES_MAX);
        Self { body: Some(body), wanted }
    }
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Drop for Drained<B> {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| self.wanted && !body.is_end_stream()) else { return };
        let rest = async move {
            let mut left = DRAIN_BYTES_MAX;
            while let Some(Ok(frame)) = body.frame().await {
                let Some(less) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len) as u64) else { return };
                left = less;
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(DRAIN_TIME, rest));
        }
    }
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Body for Drained<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        // What has ended or failed has no rest.
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.wanted = false;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// How a body broke off, once it has. `s3s` reads documents itself, and takes what their senders did for our own fault.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Arc<OnceLock<Broken>>);

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It closed the connection, or broke its protocol.
    Off,
    /// It sent nothing for [`IDLE_TIME`].
    Stalled,
}

impl Trouble {
    pub(crate) fn get(&self) -> Option<Broken> {
        self.0.get().copied()
    }

    fn set(&self, broken: Broken) {
        // The first one counts.
        _ = self.0.set(broken);
    }
}

/// A body that fails once nothing of it has come for [`IDLE_TIME`].
pub(crate) struct Patient<B> {
    body: B,
    trouble: Trouble,
    /// Runs while the next piece is awaited.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<B> Patient<B> {
    pub(crate) fn new(body: B, trouble: Trouble) -> Self {
        Self { body, trouble, patience: None }
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
            if matches!(frame, Some(Err(_))) {
                self.trouble.set(Broken::Off);
            }
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(IDLE_TIME)));
        patience.as_mut().poll(cx).map(|()| {
            self.trouble.set(Broken::Stalled);
            Some(Err(Stalled.into()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

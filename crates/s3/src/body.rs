//! Bodies that arrive: they must keep arriving.

use crate::pace::Pace;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

/// The client sent nothing for too long, or too little: see [`Pace`].
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
    /// It was late: see [`Pace`].
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

/// A body that fails once it is late: see [`Pace`].
pub(crate) struct Patient<B> {
    body: B,
    trouble: Trouble,
    pace: Pace,
}

impl<B> Patient<B> {
    pub(crate) fn new(body: B, trouble: Trouble) -> Self {
        Self { body, trouble, pace: Pace::default() }
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
            match &frame {
                Some(Ok(frame)) => self.pace.moved(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(_)) => self.trouble.set(Broken::Off),
                None => {}
            }
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        self.pace.poll_late(cx).map(|()| {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::StreamBody;
    use std::convert::Infallible;
    use tokio::time::Instant;

    /// What comes of a body that sends so many bytes each second for so many seconds, and after how many.
    async fn read(bytes: usize, seconds: u32) -> (Option<Broken>, u64) {
        let (begun, trouble) = (Instant::now(), Trouble::default());
        let pieces = futures_util::stream::unfold(seconds, move |left| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let piece = Frame::data(Bytes::from(vec![0; bytes]));
            Some((Ok::<_, Infallible>(piece), left.checked_sub(1)?))
        });
        let mut body = Patient::new(StreamBody::new(Box::pin(pieces)), trouble.clone());
        while let Some(frame) = body.frame().await {
            if let Err(error) = frame {
                assert!(error.is::<Stalled>());
                break;
            }
        }
        (trouble.get(), begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_stalled_and_a_slow_one_is_not() {
        assert_eq!(read(1, 1000).await, (Some(Broken::Stalled), 60));
        assert_eq!(read(2048, 1000).await, (None, 1001));
        // A short one may take its time.
        assert_eq!(read(1, 50).await, (None, 51));
    }
}

//! The API's port: HTTP with limits, one task a connection.

use anyhow::Result;
use api::{BODY_BYTES_MAX, Gate};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// Connections at one time; a further one waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;
/// How long to wait after a connection could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A request's headers: their number, and the bytes of all.
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 64 << 10;
/// How long a client may take to send its headers, or its body.
const HEADER_TIME: Duration = Duration::from_secs(15);
const BODY_TIME: Duration = Duration::from_secs(30);
/// How long a client may leave an answer unread.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// How long connections may finish what they are at when the server stops.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Answers until `stop` turns true, then lets the open calls finish.
pub(crate) async fn serve(listener: TcpListener, gate: Arc<Gate>, mut stop: watch::Receiver<bool>) -> Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut open = JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = room.clone().acquire_owned() => permit?,
            () = stopped(&mut stop) => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (gate, stop) = (gate.clone(), stop.clone());
        open.spawn(async move {
            connection(stream, gate, stop).await;
            drop(permit);
        });
        while open.try_join_next().is_some() {}
    }
    let all = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIME, all).await.is_err() {
        tracing::warn!("connections were still open after {DRAIN_TIME:?}; they are cut");
    }
    Ok(())
}

/// Bears that a connection could not be taken: out of file descriptors, or a client that was gone at once; neither ends the cloud.
pub(crate) async fn accept_failed(error: &std::io::Error) {
    tracing::warn!(%error, "can't accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Waits until `stop` turns true, or nobody can turn it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Dropped at once: what this gives is a lock, which must not be held over another await.
    drop(stop.wait_for(|s| *s).await);
}

async fn connection(stream: TcpStream, gate: Arc<Gate>, mut stop: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let gate = gate.clone();
        async move { Ok::<_, Infallible>(answer(&gate, request).await.map(Full::new)) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_headers(HEADERS_MAX).max_buf_size(HEADER_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(Impatient::new(stream)), service);
    tokio::pin!(connection);
    let done = tokio::select! {
        done = &mut connection => Some(done),
        () = stopped(&mut stop) => None,
    };
    let done = match done {
        Some(done) => done,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A stream that fails once its peer has taken nothing of what is written for [`WRITE_TIME`]: who asks and never reads holds no place.
struct Impatient {
    stream: TcpStream,
    /// Runs while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream) -> Self {
        Self { stream, patience: None }
    }

    /// Passes on what a write gave, unless it has waited too long.
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIME)));
        patience.as_mut().poll(cx).map(|()| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        // Never waits, and so says nothing of the peer's.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

async fn answer(gate: &Gate, request: http::Request<Incoming>) -> http::Response<Bytes> {
    let (head, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    match read {
        Ok(Ok(body)) => gate.handle(http::Request::from_parts(head, body.to_bytes())).await,
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            gate.refuse(http::StatusCode::PAYLOAD_TOO_LARGE, "The request body is too large")
        }
        Ok(Err(_)) => gate.refuse(http::StatusCode::BAD_REQUEST, "The request body could not be read"),
        Err(_) => gate.refuse(http::StatusCode::REQUEST_TIMEOUT, "The request body did not arrive in time"),
    }
}

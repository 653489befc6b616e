//! A connection's stream: it loses patience with who doesn't read, and has the kernel send what is a file.

use crate::places::Place;
use nix::sys::sendfile::sendfile;
use std::fs::File;
use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How long a client may leave an answer unread.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// A stream that fails once its peer has taken nothing of what is written for [`WRITE_TIME`]: who asks and never reads holds no place.
pub(crate) struct Impatient {
    stream: TcpStream,
    place: Arc<Place>,
    /// Runs while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    pub(crate) fn new(stream: TcpStream, place: Arc<Place>) -> Self {
        Self { stream, place, patience: None }
    }

    /// Passes on what a write gave, unless it has waited too long.
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIME)));
        patience.as_mut().poll(cx).map(|()| Err(ErrorKind::TimedOut.into()))
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
        // Comes after all writes. Never waits, and so says nothing of the peer's.
        self.place.written();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        let mut files = parts.iter().map(|part| Some((objects::origin(part)?, part.len())));
        let written = match files.next().flatten() {
            Some(((file, at), count)) => poll_send(&self.stream, cx, &file, at, count),
            // Up to the first file.
            None => {
                let count = 1 + files.take_while(Option::is_none).count();
                Pin::new(&mut self.stream).poll_write_vectored(cx, &parts[..count.min(parts.len())])
            }
        };
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Has the kernel send up to `count` bytes of a file, from the page cache.
fn poll_send(stream: &TcpStream, cx: &mut Context<'_>, file: &File, at: u64, count: usize) -> Poll<std::io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        let mut offset = i64::try_from(at).map_err(std::io::Error::other)?;
        let sent = stream.try_io(Interest::WRITABLE, || Ok(sendfile(stream, file, Some(&mut offset), count)?));
        match sent {
            // The file is shorter than what was mapped.
            Ok(0) => return Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            sent => return Poll::Ready(sent),
        }
    }
}

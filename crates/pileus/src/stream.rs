//! A connection's stream: it loses patience with who doesn't read, and has the kernel send what is a file.

use crate::places::Place;
use crate::wait::Wait;
use nix::sys::sendfile::sendfile;
use s3::Pace;
use std::fs::File;
use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A stream that fails once its peer is late to take what is written, as [`Pace`] judges: who asks and hardly reads holds no place.
pub(crate) struct Impatient {
    stream: TcpStream,
    place: Arc<Place>,
    pace: Pace,
    /// The wait of the call whose answer the client is to read.
    wait: Option<Arc<Wait>>,
}

impl Impatient {
    pub(crate) fn new(stream: TcpStream, place: Arc<Place>) -> Self {
        Self { stream, place, pace: Pace::default(), wait: None }
    }

    /// Passes on what a write gave, unless it has waited too long.
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        if let Poll::Ready(result) = written {
            self.pace.moved(*result.as_ref().unwrap_or(&0));
            if let Some(wait) = self.wait.take() {
                wait.end();
            }
            return Poll::Ready(result);
        }
        if self.wait.is_none() {
            self.wait = self.place.wait().inspect(|wait| wait.begin());
        }
        self.pace.poll_late(cx).map(|()| Err(ErrorKind::TimedOut.into()))
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

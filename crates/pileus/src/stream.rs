//! A connection's stream: it loses patience with who doesn't read, and has the kernel send what is a file.

use crate::places::Place;
use crate::wait::Wait;
use nix::sys::sendfile::sendfile;
use s3::Pace;
use std::fs::File;
use std::io::{ErrorKind, IoSlice};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A stream that fails once its peer is late to take what is written, as [`Pace`] judges: who asks and hardly reads holds no place.
pub(crate) struct Impatient {
    stream: TcpStream,
    /// Whether files are sent by the kernel: to other hosts. To this one nothing is saved, since whoever reads copies, and sendfile(2) wakes the
    /// reader for each 64 KiB: docs/decisions/0010-sendfile.md.
    sends_files: bool,
    place: Arc<Place>,
    pace: Pace,
    /// The wait of the call whose answer the client is to read, while a write waits.
    wait: Option<Arc<Wait>>,
    /// Bytes that the kernel took, and how many of them the peer's had taken when that was last looked at.
    written: u64,
    taken: u64,
}

impl Impatient {
    pub(crate) fn new(stream: TcpStream, place: Arc<Place>) -> Self {
        let sends_files = stream.peer_addr().is_ok_and(|peer| !peer.ip().to_canonical().is_loopback());
        Self { stream, sends_files, place, pace: Pace::default(), wait: None, written: 0, taken: 0 }
    }

    /// Passes on what a write gave, unless it has waited too long.
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        if let Poll::Ready(result) = written {
            self.written += *result.as_ref().unwrap_or(&0) as u64;
            if let Some(wait) = self.wait.take() {
                wait.end();
                let taken = self.newly_taken();
                self.pace.moved(taken);
            }
            return Poll::Ready(result);
        }
        let wait = self.wait.get_or_insert_with(|| self.place.wait().unwrap_or_default()).clone();
        wait.begin();
        loop {
            ready!(self.pace.poll_late(cx));
            // A slow client may take minutes to make room for a write: the kernel asks for more only when a third of what it keeps is gone.
            let taken = self.newly_taken();
            if taken == 0 {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            self.pace.moved(taken);
            wait.end();
            wait.begin();
        }
    }

    /// Bytes that the peer has taken since this was last asked.
    fn newly_taken(&mut self) -> usize {
        let queued = queued(&self.stream).unwrap_or_else(|error| {
            tracing::debug!(%error, "can't tell what a client has taken");
            0
        });
        let before = std::mem::replace(&mut self.taken, self.written.saturating_sub(queued));
        usize::try_from(self.taken.saturating_sub(before)).unwrap_or(usize::MAX)
    }
}

/// Bytes that were written and that the peer has not taken ("tcp(7)": `SIOCOUTQ`, which is `TIOCOUTQ`).
fn queued(stream: &TcpStream) -> std::io::Result<u64> {
    let mut bytes = 0;
    // SAFETY: the descriptor is open, and the kernel writes one int.
    #[allow(unsafe_code)]
    let done = unsafe { nix::libc::ioctl(stream.as_raw_fd(), nix::libc::TIOCOUTQ, &raw mut bytes) };
    nix::errno::Errno::result(done)?;
    let bytes: nix::libc::c_int = bytes;
    Ok(u64::try_from(bytes).unwrap_or(0))
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
        if !self.sends_files {
            let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
            return self.judge(cx, written);
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_file_is_sent_by_the_kernel_and_to_this_host_it_is_not() {
        let file = tempfile::tempfile().unwrap();
        let body: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        std::os::unix::fs::FileExt::write_all_at(&file, &body, 0).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = listener.accept().await.unwrap().0;
        let send = async {
            let mut at = 1;
            while at < body.len() {
                at += std::future::poll_fn(|cx| poll_send(&server, cx, &file, at as u64, body.len() - at)).await.unwrap();
            }
        };
        let mut got = vec![0; body.len() - 1];
        let (_, read) = tokio::join!(send, client.read_exact(&mut got));
        read.unwrap();
        assert!(got == body[1..]);
        assert!(!Impatient::new(server, crate::places::Places::new(1).take().await).sends_files);
    }

    #[tokio::test]
    async fn what_a_client_takes_is_known_before_there_is_room_to_write() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut client = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let mut stream = Impatient::new(listener.accept().await.unwrap().0, crate::places::Places::new(1).take().await);
        let all = vec![0; 64 << 20];
        let mut write = std::pin::pin!(stream.write_all(&all));
        assert!(tokio::time::timeout(std::time::Duration::from_millis(500), &mut write).await.is_err());
        let before = stream.newly_taken();
        assert_eq!(stream.newly_taken(), 0);
        client.read_exact(&mut vec![0; 100_000]).await.unwrap();
        let after = stream.newly_taken();
        assert!(before > 0 && (50_000..1_000_000).contains(&after), "{before} {after}");
    }
}

//! Bodies that come in chunks of AWS's ("Signature calculations: Transferring payload in multiple chunks"). s3s keeps a chunk in memory until
//! it has all of it, and some clients send a whole part as one: what isn't signed is split here, what is signed has a limit.

use bytes::Bytes;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes of the chunks that an unsigned one is split into.
const PIECE_BYTES: u64 = 1 << 20;
/// Most bytes of a signed chunk.
const SIGNED_BYTES_MAX: u64 = 16 << 20;
/// Most bytes of the line before a chunk; s3s has the same limit.
const LINE_BYTES_MAX: usize = 1024;

/// A chunk can't be taken. The text is what [`crate::intake`] knows it by.
#[derive(Debug, thiserror::Error)]
#[error("ChunkTooLarge")]
pub(crate) struct TooLarge;

/// A body ends before its last chunk, which is empty: somebody on the way could have cut it off there.
#[derive(Debug, thiserror::Error)]
#[error("a body in chunks ends before its last one")]
pub(crate) struct Truncated;

enum State {
    /// The line before a chunk, as far as it has come.
    Line(Vec<u8>),
    /// Bytes of the chunk that are still to come, and of the piece of it.
    Data { left: u64, piece: u64 },
    /// Bytes of the line's end behind a chunk that are still to come.
    End(usize),
    /// Nothing is looked at: the trailers, or what s3s will refuse.
    Rest,
}

/// Splits a body's chunks if they may be split.
struct Splitter {
    state: State,
    signed: bool,
    out: VecDeque<Bytes>,
}

/// A body, its chunks split if it has any.
pub(crate) struct Split<B> {
    body: B,
    splitter: Option<Splitter>,
}

impl<B> Split<B> {
    pub(crate) fn new(head: &Parts, body: B) -> Self {
        let kind = head.headers.get("x-amz-content-sha256").and_then(|v| v.to_str().ok()).filter(|v| v.starts_with("STREAMING-"));
        let splitter = kind.map(|kind| Splitter::new(!kind.starts_with("STREAMING-UNSIGNED-")));
        Self { body, splitter }
    }
}

impl Splitter {
    fn new(signed: bool) -> Self {
        Self { state: State::Line(Vec::new()), signed, out: VecDeque::new() }
    }

    fn take(&mut self, mut bytes: Bytes) -> Result<(), TooLarge> {
        while !bytes.is_empty() {
            self.state = match std::mem::replace(&mut self.state, State::Rest) {
                State::Line(line) => self.line(line, &mut bytes)?,
                State::Data { left, piece } => self.data(left, piece, &mut bytes),
                State::End(left) => {
                    let end = bytes.split_to(left.min(bytes.len()));
                    let left = left - end.len();
                    self.out.push_back(end);
                    if left == 0 { State::Line(Vec::new()) } else { State::End(left) }
                }
                State::Rest => {
                    self.out.push_back(std::mem::take(&mut bytes));
                    State::Rest
                }
            };
        }
        Ok(())
    }

    fn line(&mut self, mut line: Vec<u8>, bytes: &mut Bytes) -> Result<State, TooLarge> {
        let end = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
        line.extend_from_slice(&bytes.split_to(end));
        if line.len() > LINE_BYTES_MAX {
            return Err(TooLarge);
        }
        if line.last() != Some(&b'\n') {
            return Ok(State::Line(line));
        }
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&line[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
        let state = match size {
            None | Some(0) => State::Rest,
            Some(size) if self.signed && size > SIGNED_BYTES_MAX => return Err(TooLarge),
            Some(size) if !self.signed && size > PIECE_BYTES => return Ok(State::Data { left: size, piece: 0 }),
            Some(size) => State::Data { left: size, piece: size },
        };
        self.out.push_back(line.into());
        Ok(state)
    }

    fn data(&mut self, left: u64, mut piece: u64, bytes: &mut Bytes) -> State {
        if piece == 0 {
            piece = left.min(PIECE_BYTES);
            self.out.push_back(format!("{piece:x}\r\n").into());
        }
        let taken = bytes.split_to(usize::try_from(piece).unwrap_or(usize::MAX).min(bytes.len()));
        let (left, piece) = (left - taken.len() as u64, piece - taken.len() as u64);
        self.out.push_back(taken);
        if left == 0 {
            return State::End(2);
        }
        if piece == 0 {
            self.out.push_back(Bytes::from_static(b"\r\n"));
        }
        State::Data { left, piece }
    }
}

/// What becomes of a body that comes in steps of so many bytes; nothing if a chunk can't be taken.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn split_in_steps(signed: bool, body: &[u8], step: usize) -> Option<Vec<u8>> {
    let mut splitter = Splitter::new(signed);
    for bytes in body.chunks(step) {
        splitter.take(Bytes::copy_from_slice(bytes)).ok()?;
    }
    Some(splitter.out.iter().flatten().copied().collect())
}

impl<B> Body for Split<B>
where
    B: Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.splitter.as_mut().and_then(|splitter| splitter.out.pop_front()) {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else { return Poll::Pending };
            let Some(splitter) = &mut this.splitter else { return Poll::Ready(frame) };
            let Some(frame) = frame.transpose()? else {
                let whole = matches!(splitter.state, State::Rest);
                splitter.state = State::Rest;
                return Poll::Ready((!whole).then(|| Err(Truncated.into())));
            };
            match frame.into_data() {
                Ok(bytes) => splitter.take(bytes)?,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.splitter.as_ref().is_none_or(|splitter| splitter.out.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        if self.splitter.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chunks(sizes: &[u64], trailer: &str) -> Vec<u8> {
        let mut body = Vec::new();
        for size in sizes {
            body.extend(format!("{size:x}\r\n").bytes());
            body.extend((0..*size).map(|i| (i % 251) as u8));
            body.extend(b"\r\n");
        }
        body.extend(format!("0\r\n{trailer}").bytes());
        body
    }

    /// The sizes of chunks, and the bytes in them, up to the one of size 0.
    fn read(mut body: &[u8]) -> (Vec<usize>, Vec<u8>) {
        let (mut sizes, mut data) = (Vec::new(), Vec::new());
        loop {
            let end = body.iter().position(|b| *b == b'\n').unwrap();
            let size = usize::from_str_radix(std::str::from_utf8(&body[..end - 1]).unwrap(), 16).unwrap();
            if size == 0 {
                return (sizes, data);
            }
            sizes.push(size);
            data.extend_from_slice(&body[end + 1..][..size]);
            assert_eq!(&body[end + 1 + size..][..2], b"\r\n");
            body = &body[end + 3 + size..];
        }
    }

    #[test]
    fn unsigned_chunks_are_split_and_nothing_is_lost() {
        let trailer = "x-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        let whole = chunks(&[3 * PIECE_BYTES + 5, 7, PIECE_BYTES], trailer);
        for step in [1000, 65_536, whole.len()] {
            let found = split_in_steps(false, &whole, step).unwrap();
            let (sizes, data) = read(&found);
            assert_eq!(sizes, [1 << 20, 1 << 20, 1 << 20, 5, 7, 1 << 20]);
            assert_eq!(data, read(&whole).1);
            assert!(found.ends_with(trailer.as_bytes()));
        }
        let small = chunks(&[5, 1], trailer);
        assert_eq!(split_in_steps(false, &small, 1).unwrap(), small);
    }

    #[test]
    fn signed_chunks_pass_as_they_are_or_not_at_all() {
        let signed = b"5;chunk-signature=abc\r\nhello\r\n0;chunk-signature=def\r\n\r\n";
        assert_eq!(split_in_steps(true, signed, 3).unwrap(), signed);
        assert_eq!(split_in_steps(true, format!("{:x};chunk-signature=abc\r\n", SIGNED_BYTES_MAX + 1).as_bytes(), 7), None);
        assert_eq!(split_in_steps(true, &[b'1'; LINE_BYTES_MAX + 1], 100), None);
    }

    #[tokio::test]
    async fn the_last_chunk_is_wanted() {
        use http_body_util::BodyExt as _;
        let read = async |body: &'static str| {
            let frames = futures_util::stream::iter([Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Frame::data(Bytes::from(body)))]);
            let request = http::Request::put("/b/k").header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
            let (head, ()) = request.body(()).unwrap().into_parts();
            Split::new(&head, http_body_util::StreamBody::new(frames)).collect().await.map(|body| body.to_bytes())
        };
        let whole = "5;chunk-signature=abc\r\nhello\r\n0;chunk-signature=def\r\n\r\n";
        assert_eq!(read(whole).await.unwrap(), whole);
        for cut in ["", "5;chunk-signature=abc\r\nhello\r\n", "5;chunk-signature=abc\r\nhel", "5;chunk"] {
            assert!(read(cut).await.is_err(), "{cut}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_left_to_s3s() {
        for odd in [&b"no chunk\r\nat all"[..], b"\r\n\r\n", b"ffffffffffffffffff\r\n"] {
            assert_eq!(split_in_steps(false, odd, 2).unwrap(), odd);
        }
    }
}

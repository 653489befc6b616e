//! The file of a form: what stands between its head and the next boundary. Nothing behind it counts.

use super::broken;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use s3s::{Body, S3Error, s3_error};
use std::ops::RangeInclusive;

/// Most bytes behind the file that are read before the connection is given up.
const EPILOGUE_BYTES_MAX: usize = 64 * 1024;

/// A file that is being read.
struct File {
    body: Body,
    /// What came and was not passed on.
    buffer: BytesMut,
    /// What ends the file.
    delimiter: Vec<u8>,
    /// Bytes that were passed on.
    passed: u64,
    /// How long it may be.
    lengths: RangeInclusive<u64>,
    ended: bool,
}

/// The file's content; fails with what S3 answers.
pub(super) fn read(
    buffer: BytesMut,
    body: Body,
    boundary: &str,
    lengths: RangeInclusive<u64>,
) -> impl Stream<Item = Result<Bytes, S3Error>> + use<> {
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let file = File { body, buffer, delimiter, passed: 0, lengths, ended: false };
    stream::try_unfold(file, |mut file| async move { Ok(file.next().await?.map(|bytes| (bytes, file))) })
}

impl File {
    /// The next piece; nothing at the file's end.
    async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        while !self.ended {
            let (length, found) = self.known();
            if found {
                let piece = self.buffer.split_to(length).freeze();
                self.count(piece.len())?;
                self.end().await?;
                return Ok((!piece.is_empty()).then_some(piece));
            }
            if length > 0 {
                let piece = self.buffer.split_to(length).freeze();
                self.count(piece.len())?;
                return Ok(Some(piece));
            }
            let more = self.body.next().await.ok_or_else(|| broken(None))?;
            self.buffer.extend_from_slice(&more.map_err(|error| broken(Some(&error)))?);
        }
        Ok(None)
    }

    /// How much of the buffer is the file's for sure, and whether the file ends there.
    fn known(&self) -> (usize, bool) {
        let mut from = 0;
        while let Some(at) = self.buffer[from..].iter().position(|byte| *byte == b'\r') {
            let rest = &self.buffer[from + at..];
            if rest.starts_with(&self.delimiter) {
                return (from + at, true);
            }
            if self.delimiter.starts_with(rest) {
                return (from + at, false);
            }
            from += at + 1;
        }
        (self.buffer.len(), false)
    }

    fn count(&mut self, bytes: usize) -> Result<(), S3Error> {
        self.passed += bytes as u64;
        if self.passed > *self.lengths.end() {
            return Err(s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size"));
        }
        Ok(())
    }

    /// The file is whole: judges its length, and reads what is left so that the connection can go on.
    async fn end(&mut self) -> Result<(), S3Error> {
        self.ended = true;
        if self.passed < *self.lengths.start() {
            return Err(s3_error!(EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size"));
        }
        let mut behind = self.buffer.len();
        while behind <= EPILOGUE_BYTES_MAX
            && let Some(Ok(bytes)) = self.body.next().await
        {
            behind += bytes.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body::Frame;
    use http_body_util::StreamBody;

    /// Reads a body that comes in these pieces.
    async fn file(pieces: Vec<Vec<u8>>, lengths: RangeInclusive<u64>) -> Result<Vec<u8>, String> {
        let frames = stream::iter(pieces.into_iter().map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(piece)))));
        let body = Body::http_body_unsync(StreamBody::new(frames));
        let mut pieces = std::pin::pin!(read(BytesMut::new(), body, "b", lengths));
        let mut all = Vec::new();
        while let Some(piece) = pieces.next().await {
            all.extend_from_slice(&piece.map_err(|e| e.code().as_str().to_owned())?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn a_file_ends_at_its_boundary_however_it_comes() {
        let content = b"\r\n--\r\n--a\r\r\n-\r\nend\r".to_vec();
        let text = [content.as_slice(), b"\r\n--b--\r\nmore"].concat();
        for size in 1..=text.len() {
            let pieces = text.chunks(size).map(<[u8]>::to_vec).collect();
            assert_eq!(file(pieces, 0..=100).await, Ok(content.clone()), "{size}");
        }
        assert_eq!(file(vec![b"\r\n--b--".to_vec()], 0..=0).await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn lengths_are_judged_and_ends_awaited() {
        let refused = |code: &str| Err(code.to_owned());
        let text = || vec![b"1234\r\n--b--".to_vec()];
        assert_eq!(file(text(), 4..=4).await, Ok(b"1234".to_vec()));
        assert_eq!(file(text(), 5..=9).await, refused("EntityTooSmall"));
        assert_eq!(file(text(), 0..=3).await, refused("EntityTooLarge"));
        assert_eq!(file(vec![b"1234\r\n--".to_vec()], 0..=9).await, refused("IncompleteBody"));
    }
}

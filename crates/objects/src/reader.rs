//! Bodies on their way out: read in pieces of 512 KiB by blocking threads, one piece ahead of whoever takes them.

use crate::body::{Piece, Place};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::noun::Version;
use crate::pins;
use crate::seal::{Cipher, PIECE, TAG};
use anyhow::anyhow;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use futures_util::Stream;
use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::task::JoinHandle;

/// Plain bytes that are read at once: whole sealed pieces.
const READ: u64 = 8 * PIECE as u64;

/// The bytes of a range of a body, in pieces. Ends after the first error.
pub struct Reader {
    left: u64,
    state: State,
}

enum State {
    Idle(Box<Source>),
    Busy(JoinHandle<(Box<Source>, Result<Bytes>)>),
    Failed(Option<Error>),
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(core: Arc<Core>, version: &Version, range: Range<u64>, customer: Option<[u8; 32]>) -> Self {
        let range = range.start.min(version.size)..range.end.min(version.size);
        let left = range.end.saturating_sub(range.start);
        let pieces = &version.body.pieces;
        if pieces.iter().map(|piece| piece.size).sum::<u64>() != version.size {
            let error = Error::Io(anyhow!("a version from a listing has no body"));
            return Self { left, state: State::Failed(Some(error)) };
        }
        let mut spans = VecDeque::new();
        let mut at = 0;
        for piece in pieces {
            let (from, to) = (range.start.max(at), range.end.min(at + piece.size));
            if from < to {
                spans.push_back(Span { piece: piece.clone(), range: from - at..to - at });
            }
            at += piece.size;
        }
        let pin = version.body.pin.clone();
        Self { left, state: State::Idle(Box::new(Source { core, customer, spans, open: None, _pin: pin })) }
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Counts what is given out, and reads on before it is wanted.
    fn given(&mut self, source: Box<Source>, bytes: Result<Bytes>) -> Poll<Option<Result<Bytes>>> {
        self.state = match &bytes {
            Ok(bytes) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                if self.left > 0 && source.waits_for_disk() { busy(source) } else { State::Idle(source) }
            }
            Err(_) => State::Failed(None),
        };
        Poll::Ready(Some(bytes))
    }
}

fn busy(mut source: Box<Source>) -> State {
    State::Busy(tokio::task::spawn_blocking(move || {
        let bytes = source.read();
        (source, bytes)
    }))
}

impl Stream for Reader {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::mem::replace(&mut self.state, State::Failed(None)) {
                State::Failed(error) => return Poll::Ready(error.map(Err)),
                State::Idle(source) if self.left == 0 => {
                    self.state = State::Idle(source);
                    return Poll::Ready(None);
                }
                State::Idle(source) if source.waits_for_disk() => self.state = busy(source),
                State::Idle(mut source) => {
                    let bytes = source.read();
                    return self.given(source, bytes);
                }
                State::Busy(mut task) => {
                    let Poll::Ready(done) = Pin::new(&mut task).poll(context) else {
                        self.state = State::Busy(task);
                        return Poll::Pending;
                    };
                    return match done {
                        Ok((source, bytes)) => self.given(source, bytes),
                        Err(error) => Poll::Ready(Some(Err(Error::Io(error.into())))),
                    };
                }
            }
        }
    }
}

/// What is to be read of a piece, in plain bytes.
struct Span {
    piece: Piece,
    range: Range<u64>,
}

/// Everything that is still to be read.
struct Source {
    core: Arc<Core>,
    customer: Option<[u8; 32]>,
    spans: VecDeque<Span>,
    open: Option<Open>,
    _pin: Option<Arc<pins::Pin>>,
}

impl Source {
    fn waits_for_disk(&self) -> bool {
        self.open.is_some() || self.spans.front().is_some_and(|span| span.piece.file().is_some())
    }

    /// The next bytes; there must be some.
    fn read(&mut self) -> Result<Bytes> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let span = self.spans.pop_front().ok_or_else(|| Error::Io(anyhow!("a body is shorter than its index says")))?;
                Open::new(&self.core, span, self.customer.as_ref())?
            }
        };
        let bytes = open.read()?;
        if !open.range.is_empty() {
            self.open = Some(open);
        }
        Ok(bytes)
    }
}

/// A piece that is being read.
struct Open {
    stored: Stored,
    cipher: Option<Cipher>,
    size: u64,
    crc: u32,
    /// Of what has been read, if all of it will be.
    digest: Option<Digest>,
    range: Range<u64>,
}

enum Stored {
    Inline(Bytes),
    File(File),
}

impl Open {
    fn new(core: &Core, span: Span, customer: Option<&[u8; 32]>) -> Result<Self> {
        let Span { piece, range } = span;
        let cipher = piece.key.as_ref().map(|key| key.open(&core.master, customer)).transpose()?;
        let whole = range == (0..piece.size);
        let digest = whole.then(|| Digest::new(CrcAlgorithm::Crc32Iscsi));
        let stored = match piece.place {
            Place::Inline { bytes, .. } => Stored::Inline(bytes),
            Place::File(file) => Stored::File(core.files.read(&file)?),
        };
        Ok(Self { stored, cipher, size: piece.size, crc: piece.crc, digest, range })
    }

    /// The next bytes of the range. The last ones come only if the whole is what was written.
    fn read(&mut self) -> Result<Bytes> {
        let Range { start, end } = self.range;
        // Reads end where pieces do.
        let stop = end.min((start / READ + 1) * READ);
        self.range.start = stop;
        let Some(cipher) = &self.cipher else {
            let bytes = self.stored.take(start..stop)?;
            check(&mut self.digest, &bytes, stop == end, self.crc)?;
            return Ok(bytes);
        };
        let (piece, sealed) = (PIECE as u64, (PIECE + TAG) as u64);
        let (first, behind) = (start / piece, stop.div_ceil(piece));
        let until = if behind * piece >= self.size { crate::seal::sealed_size(self.size) } else { behind * sealed };
        let bytes = self.stored.take(first * sealed..until)?;
        check(&mut self.digest, &bytes, stop == end, self.crc)?;
        let mut bytes = Vec::from(bytes);
        cipher.open(first, &mut bytes)?;
        let (from, to) = ((start - first * piece) as usize, (stop - first * piece) as usize);
        if bytes.len() < to { Err(damaged()) } else { Ok(Bytes::from(bytes).slice(from..to)) }
    }
}

impl Stored {
    fn take(&self, range: Range<u64>) -> Result<Bytes> {
        match self {
            Self::Inline(bytes) if range.end > bytes.len() as u64 => Err(damaged()),
            Self::Inline(bytes) => Ok(bytes.slice(range.start as usize..range.end as usize)),
            Self::File(file) => {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                file.read_exact_at(&mut bytes, range.start)?;
                Ok(bytes.into())
            }
        }
    }
}

fn check(digest: &mut Option<Digest>, bytes: &[u8], last: bool, crc: u32) -> Result<()> {
    let Some(digest) = digest else { return Ok(()) };
    digest.update(bytes);
    if last && digest.finalize() as u32 != crc { Err(damaged()) } else { Ok(()) }
}

fn damaged() -> Error {
    Error::Io(anyhow!("a body is not what was written"))
}

//! Bodies on their way out: read in pieces of 512 KiB by blocking threads, one piece ahead of whoever takes them.
//!
//! What the kernel sends by itself ([`Way::Send`]) is read here, too: to check it, and so that it is in the page cache when it is sent.

use crate::body::{Piece, Place};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::mapped::{self, Map};
use crate::noun::Version;
use crate::pins;
use crate::seal::{Cipher, PIECE, TAG};
use crate::table::{self, BLOCK, Table};
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

/// Plain bytes that are read at once: whole sealed pieces, and whole blocks.
const READ: u64 = 8 * PIECE as u64;

/// Bytes of a mapped file that are checked at once. They take no memory, and each hop to another thread costs as much as checking half of them.
const LOOK: u64 = 4 * READ;

/// A file's bytes from which on mapping it costs less than copying it.
const MAPPED_MIN: u64 = 1 << 20;

/// Who takes the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// One who looks at them.
    Read,
    /// One who only passes them on to a client: those of large files that aren't sealed are mapped.
    Send,
}

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
    pub(crate) fn new(core: Arc<Core>, version: &Version, range: Range<u64>, customer: Option<[u8; 32]>, way: Way) -> Self {
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
        Self { left, state: State::Idle(Box::new(Source { core, customer, way, spans, open: None, _pin: pin })) }
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
    way: Way,
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
                Open::new(&self.core, span, self.customer.as_ref(), self.way)?
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
    check: Check,
    cipher: Option<Cipher>,
    size: u64,
    range: Range<u64>,
}

enum Stored {
    Inline(Bytes),
    File(File),
    Mapped(Map),
}

/// How what is read is compared with what was written.
enum Check {
    /// Block by block.
    Blocks { table: Table, stored: u64 },
    /// All of it at its end.
    Whole { digest: Box<Digest>, crc: u32 },
    /// It is a range of what is sealed, or was written before there were tables.
    Nothing,
}

impl Open {
    fn new(core: &Core, span: Span, customer: Option<&[u8; 32]>, way: Way) -> Result<Self> {
        let Span { piece, range } = span;
        let cipher = piece.key.as_ref().map(|key| key.open(&core.master, customer)).transpose()?;
        let (stored, table) = match &piece.place {
            Place::Inline { bytes, .. } => (Stored::Inline(bytes.clone()), None),
            Place::File(file) => {
                let file = core.files.read(file)?;
                let table = Table::read(&file, &piece)?;
                let maps = way == Way::Send && cipher.is_none() && piece.size >= MAPPED_MIN && *mapped::SUPPORTED;
                (if maps { Stored::mapped(file, &piece)? } else { Stored::File(file) }, table)
            }
        };
        Ok(Self { stored, check: Check::new(&piece, &range, table), cipher, size: piece.size, range })
    }

    /// The next bytes of the range, if they are what was written. Without a table of blocks that is known when all is read.
    fn read(&mut self) -> Result<Bytes> {
        let Range { start, end } = self.range;
        // Reads end where pieces do.
        let read = if matches!(self.stored, Stored::Mapped(_)) { LOOK } else { READ };
        let stop = end.min((start / read + 1) * read);
        self.range.start = stop;
        let last = stop == end;
        let Some(cipher) = &self.cipher else { return self.stored.take(start..stop, &mut self.check, last) };
        let (piece, sealed) = (PIECE as u64, (PIECE + TAG) as u64);
        let (first, behind) = (start / piece, stop.div_ceil(piece));
        let until = if behind * piece >= self.size { crate::seal::sealed_size(self.size) } else { behind * sealed };
        let mut bytes = Vec::from(self.stored.take(first * sealed..until, &mut self.check, last)?);
        cipher.open(first, &mut bytes)?;
        let (from, to) = ((start - first * piece) as usize, (stop - first * piece) as usize);
        if bytes.len() < to { Err(damaged()) } else { Ok(Bytes::from(bytes).slice(from..to)) }
    }
}

impl Check {
    fn new(piece: &Piece, range: &Range<u64>, table: Option<Table>) -> Self {
        let stored = piece.stored();
        match table {
            Some(table) => Self::Blocks { table, stored },
            None if piece.key.is_none() && stored <= BLOCK as u64 => Self::Blocks { table: Table::of_one(piece.crc), stored },
            None if *range == (0..piece.size) => Self::Whole { digest: Box::new(Digest::new(CrcAlgorithm::Crc32Iscsi)), crc: piece.crc },
            None => Self::Nothing,
        }
    }

    /// What must be read so that these stored bytes can be compared.
    fn reach(&self, bytes: &Range<u64>) -> Range<u64> {
        let block = BLOCK as u64;
        match self {
            Self::Blocks { stored, .. } => bytes.start / block * block..bytes.end.next_multiple_of(block).min(*stored),
            Self::Whole { .. } | Self::Nothing => bytes.clone(),
        }
    }

    /// Compares stored bytes from this place on.
    fn compare(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Blocks { table, .. } if !table.has(at, bytes) => return Err(damaged()),
            Self::Whole { digest, .. } => digest.update(bytes),
            Self::Blocks { .. } | Self::Nothing => {}
        }
        Ok(())
    }

    /// Compares what can only be compared when all was read.
    fn end(&self) -> Result<()> {
        match self {
            Self::Whole { digest, crc } if digest.finalize() as u32 != *crc => Err(damaged()),
            Self::Blocks { .. } | Self::Whole { .. } | Self::Nothing => Ok(()),
        }
    }
}

impl Stored {
    fn mapped(file: File, piece: &Piece) -> Result<Self> {
        let map = Map::new(&Arc::new(file))?;
        if map.bytes().len() as u64 != piece.stored() + table::size(piece) {
            return Err(damaged());
        }
        Ok(Self::Mapped(map))
    }

    /// These stored bytes, compared; the last ones are compared as a whole, too.
    fn take(&mut self, range: Range<u64>, check: &mut Check, last: bool) -> Result<Bytes> {
        let reach = check.reach(&range);
        let (start, end) = (reach.start as usize, reach.end as usize);
        let wanted = (range.start - reach.start) as usize..(range.end - reach.start) as usize;
        let bytes = match self {
            Self::Inline(bytes) if end > bytes.len() => return Err(damaged()),
            Self::Inline(bytes) => {
                let bytes = bytes.slice(start..end);
                check.compare(reach.start, &bytes)?;
                bytes
            }
            Self::File(file) => {
                let mut bytes = vec![0; end - start];
                file.read_exact_at(&mut bytes, reach.start)?;
                check.compare(reach.start, &bytes)?;
                bytes.into()
            }
            Self::Mapped(map) => {
                map.look(start..end, |bytes| check.compare(reach.start, bytes))??;
                map.bytes().slice(start..end)
            }
        };
        if last {
            check.end()?;
        }
        Ok(if wanted.len() == bytes.len() { bytes } else { bytes.slice(wanted) })
    }
}

fn damaged() -> Error {
    Error::Io(anyhow!("a body is not what was written"))
}

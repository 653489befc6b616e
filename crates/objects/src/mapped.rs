//! Bodies that the kernel sends by itself, from the page cache to the network: what stands for their bytes are mapped files.
//!
//! HTTP's libraries pass on memory. A mapped file is memory that nobody has to read: whoever writes it to a connection looks up by
//! [`origin`] which file it is, and has the kernel send that (sendfile(2)). Whoever doesn't know of it writes or reads it as any memory.

use bytes::Bytes;
use memmap2::{Advice, Mmap, UncheckedAdvice};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// What is mapped now, by the address where it starts: where it ends, and the file, from its first byte.
static MAPPED: RwLock<BTreeMap<usize, (usize, Arc<File>)>> = RwLock::new(BTreeMap::new());

/// Whether this kernel can be asked for what [`Map::look`] needs: since 5.14.
pub(crate) static SUPPORTED: LazyLock<bool> = LazyLock::new(|| Advice::PopulateRead.is_supported());

/// The owner of the bytes that are given out.
struct Mapped(Arc<Mmap>);

impl Mapped {
    fn start(&self) -> usize {
        self.0.as_ptr().addr()
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Before its addresses are free for another.
        MAPPED.write().unwrap_or_else(PoisonError::into_inner).remove(&self.start());
    }
}

/// A file of a body, as memory.
///
/// Memory that can't be read from the disk ends the process that touches it (SIGBUS), but is an error to the kernel when it sends it:
/// the bytes are for those alone who pass them on. Who must read them does so by [`Map::look`].
pub(crate) struct Map {
    memory: Arc<Mmap>,
    bytes: Bytes,
    /// What was looked at last, and before that.
    looked: [Range<usize>; 2],
}

impl Map {
    /// Maps a file of at least one byte.
    pub(crate) fn new(file: &Arc<File>) -> io::Result<Self> {
        // SAFETY: the files of bodies are written once, before their names are in the index, and are never cut or written again.
        #[allow(unsafe_code)]
        let memory = Arc::new(unsafe { Mmap::map(&**file)? });
        let mapped = Mapped(memory.clone());
        let (start, end) = (mapped.start(), mapped.start() + memory.len());
        MAPPED.write().unwrap_or_else(PoisonError::into_inner).insert(start, (end, file.clone()));
        Ok(Self { memory, bytes: Bytes::from_owner(mapped), looked: [0..0, 0..0] })
    }

    /// All bytes, for who passes them on.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Has some bytes looked at where they are. They are brought into memory first: a disk that can't be read, or a file that was cut, is an
    /// error then. They and those before them, which are on their way, count as this process's memory; what is before these no longer, though
    /// it stays in the page cache.
    pub(crate) fn look<T>(&mut self, range: Range<usize>, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        let [last, before] = std::mem::replace(&mut self.looked, [range.clone(), 0..0]);
        self.looked[1] = last;
        if !before.is_empty() {
            // SAFETY: of a shared mapping that nobody writes to, what is dropped is read again as it was.
            #[allow(unsafe_code)]
            unsafe {
                self.memory.unchecked_advise_range(UncheckedAdvice::DontNeed, before.start, before.len())?;
            }
        }
        self.memory.advise_range(Advice::PopulateRead, range.start, range.len())?;
        Ok(look(&self.memory[range]))
    }
}

/// The file that these bytes are mapped from, and where in it they start. Nothing for other memory.
#[must_use]
pub fn origin(bytes: &[u8]) -> Option<(Arc<File>, u64)> {
    let at = bytes.as_ptr().addr();
    let mapped = MAPPED.read().unwrap_or_else(PoisonError::into_inner);
    let (start, (end, file)) = mapped.range(..=at).next_back()?;
    (at + bytes.len() <= *end && !bytes.is_empty()).then(|| (file.clone(), (at - start) as u64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn slices_of_a_mapped_file_know_where_they_are_from() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("body");
        std::fs::write(&path, b"some bytes of a body").unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let mut map = Map::new(&file).unwrap();
        let bytes = map.bytes().clone();
        let middle = bytes.slice(5..10);
        let (from, at) = origin(&middle).unwrap();
        let mut read = [0; 5];
        from.read_exact_at(&mut read, at).unwrap();
        assert_eq!((&read, &*middle, at), (b"bytes", b"bytes".as_slice(), 5));
        assert!(origin(&bytes.slice(20..)).is_none());
        assert!(origin(b"bytes").is_none());

        assert_eq!(map.look(5..10, <[u8]>::to_vec).unwrap(), b"bytes");

        // The last slice keeps it.
        drop((bytes, map));
        assert_eq!(origin(&middle).unwrap().1, 5);
        let address = middle.as_ptr().addr();
        drop(middle);
        assert!(!MAPPED.read().unwrap().contains_key(&(address - 5)));
    }

    #[test]
    fn a_file_that_is_cut_is_an_error_and_no_signal() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let file = Arc::new(file);
        let mut map = Map::new(&file).unwrap();
        assert_eq!(map.look(0..1 << 20, <[u8]>::len).unwrap(), 1 << 20);
        file.set_len(512 << 10).unwrap();
        assert!(map.look(512 << 10..1 << 20, <[u8]>::len).is_err());
        assert_eq!(map.look(0..512 << 10, <[u8]>::len).unwrap(), 512 << 10);
    }
}

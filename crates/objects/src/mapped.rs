//! Bodies that the kernel sends by itself, from the page cache to the network: what stands for their bytes are mapped files.
//!
//! HTTP's libraries pass on memory. A mapped file is memory that nobody has to read: whoever writes it to a connection looks up by
//! [`origin`] which file it is, and has the kernel send that (sendfile(2)). Whoever doesn't know of it writes or reads it as any memory.

use bytes::Bytes;
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

/// What is mapped now, by the address where it starts: where it ends, and the file, from its first byte.
static MAPPED: RwLock<BTreeMap<usize, (usize, Arc<File>)>> = RwLock::new(BTreeMap::new());

struct Mapped(Mmap);

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

/// A file of a body, as memory; at least one byte.
///
/// Memory that can't be read from the disk ends the process that touches it (SIGBUS), but is an error to the kernel when it sends it:
/// the bytes are for those alone who pass them on.
pub(crate) fn map(file: &Arc<File>) -> io::Result<Bytes> {
    // SAFETY: the files of bodies are written once, before their names are in the index, and are never cut or written again.
    #[allow(unsafe_code)]
    let mapped = Mapped(unsafe { Mmap::map(&**file)? });
    let (start, end) = (mapped.start(), mapped.start() + mapped.0.len());
    MAPPED.write().unwrap_or_else(PoisonError::into_inner).insert(start, (end, file.clone()));
    Ok(Bytes::from_owner(mapped))
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
        let bytes = map(&file).unwrap();
        let middle = bytes.slice(5..10);
        let (from, at) = origin(&middle).unwrap();
        let mut read = [0; 5];
        from.read_exact_at(&mut read, at).unwrap();
        assert_eq!((&read, &*middle, at), (b"bytes", b"bytes".as_slice(), 5));
        assert!(origin(&bytes.slice(20..)).is_none());
        assert!(origin(b"bytes").is_none());

        // The last slice keeps it.
        drop(bytes);
        assert_eq!(origin(&middle).unwrap().1, 5);
        let address = middle.as_ptr().addr();
        drop(middle);
        assert!(!MAPPED.read().unwrap().contains_key(&(address - 5)));
    }
}

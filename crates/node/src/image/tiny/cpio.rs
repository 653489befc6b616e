//! An initramfs: a cpio archive of the kind "newc" ("initramfs buffer format", the kernel's documentation), not compressed. Under
//! TCG no compression boots measurably faster than none, and what is not compressed is simplest.

use std::io::{self, Write};

/// Writes an archive. Everything in it belongs to root.
pub(super) struct Archive<W> {
    out: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    /// Adds a directory, after the one it is in.
    pub(super) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, 0o040_755, (0, 0), &[])
    }

    /// Adds a file.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, 0o100_000 | mode, (0, 0), content)
    }

    /// Adds a character device.
    pub(super) fn device(&mut self, path: &str, mode: u32, number: (u32, u32)) -> io::Result<()> {
        self.entry(path, 0o020_000 | mode, number, &[])
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len()).map_err(|_| io::Error::other(format!("{path} is too large for a cpio archive")))?;
        let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
        let name_size = path.len() as u32 + 1;
        // Magic, inode, mode, uid, gid, links, mtime, size, device of the file (major, minor), device it is, name size, checksum.
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(path.as_bytes())?;
        self.padded(header.len() + path.len(), &[0])?;
        self.padded(0, content)
    }

    /// Writes what follows `before` bytes, and zeros up to a multiple of 4 of them together.
    fn padded(&mut self, before: usize, bytes: &[u8]) -> io::Result<()> {
        let length = before + bytes.len();
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; 3][..length.next_multiple_of(4) - length])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_reads_what_is_written() {
        let mut archive = Archive::new(Vec::new());
        archive.directory("dev").unwrap();
        archive.device("dev/console", 0o600, (5, 1)).unwrap();
        archive.file("init", 0o755, b"hello").unwrap();
        archive.file("empty", 0o644, b"").unwrap();
        let bytes = archive.finish().unwrap();
        let mut busybox = Command::new("busybox");
        let mut child = busybox.args(["cpio", "-tv"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let listing = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let lines: Vec<Vec<&str>> = listing.lines().map(|line| line.split_whitespace().collect()).collect();
        let found: Vec<(&str, &str)> = lines.iter().map(|words| (words[0], *words.last().unwrap())).collect();
        let wanted = [("drwxr-xr-x", "dev"), ("crw-------", "dev/console"), ("-rwxr-xr-x", "init"), ("-rw-r--r--", "empty")];
        assert_eq!(found, wanted, "{listing}");
    }
}

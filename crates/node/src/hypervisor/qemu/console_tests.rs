//! The ring and the helper, without QEMU.
#![allow(clippy::unwrap_used)]

use super::*;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

struct Rig {
    directory: tempfile::TempDir,
    guest: UnixStream,
    messages: File,
    helper: JoinHandle<io::Result<()>>,
}

fn file(path: &Path) -> OwnedFd {
    File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap().into()
}

impl Rig {
    fn new(directory: tempfile::TempDir) -> Self {
        let at = |name: &str| directory.path().join(name);
        let (guest, serial) = UnixStream::pair().unwrap();
        let (messages_read, messages) = io::pipe().unwrap();
        let _ = std::fs::remove_file(at("socket"));
        let files = HelperFiles {
            ring: file(&at("ring")),
            serial: serial.into(),
            listen: UnixListener::bind(at("socket")).unwrap().into(),
            messages: Some(messages_read.into()),
            log: file(&at("log")),
        };
        let mut helper = Helper::new(files).unwrap();
        let helper = std::thread::spawn(move || helper.run());
        Self { guest, messages: File::from(OwnedFd::from(messages)), helper, directory }
    }

    fn finish(self) -> tempfile::TempDir {
        drop((self.guest, self.messages));
        self.helper.join().unwrap().unwrap();
        self.directory
    }
}

fn ring_of(rig: &Rig) -> Option<Console> {
    read(&rig.directory.path().join("ring")).unwrap()
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn more_than_the_bound_keeps_the_end_and_never_stalls() {
    let mut rig = Rig::new(tempfile::tempdir().unwrap());
    assert_eq!(ring_of(&rig), None);
    let before = now();
    let line = |n: u32| format!("line {n:07} {}\r\n", "x".repeat(80));
    for n in 0..40_000 {
        rig.guest.write_all(line(n).as_bytes()).unwrap();
    }
    let last = line(39_999);
    eventually("the last line", || ring_of(&rig).is_some_and(|console| console.bytes.ends_with(last.as_bytes())));
    let console = ring_of(&rig).unwrap();
    assert_eq!(console.bytes.len(), CONSOLE_BYTES_MAX);
    assert!(console.written >= before && console.written <= now());
    let text = String::from_utf8(console.bytes).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').skip(1).collect();
    assert!(lines.iter().rev().zip((0..40_000).rev()).all(|(have, n)| **have == line(n)), "a gap in the ring");
    let directory = rig.finish();
    assert_eq!(directory.path().join("ring").metadata().unwrap().len(), HEADER_BYTES + RING_BYTES);
}

#[test]
fn a_second_helper_goes_on_where_the_first_ended() {
    let mut rig = Rig::new(tempfile::tempdir().unwrap());
    rig.guest.write_all(b"first ").unwrap();
    let mut rig = Rig::new(rig.finish());
    rig.guest.write_all(b"second").unwrap();
    let directory = rig.finish();
    assert_eq!(read(&directory.path().join("ring")).unwrap().unwrap().bytes, b"first second");
}

#[test]
fn users_see_what_comes_and_type() {
    let mut rig = Rig::new(tempfile::tempdir().unwrap());
    let mut user = UnixStream::connect(rig.directory.path().join("socket")).unwrap();
    user.write_all(b"ls\r").unwrap();
    let mut typed = [0; 3];
    rig.guest.read_exact(&mut typed).unwrap();
    assert_eq!(&typed, b"ls\r");
    rig.guest.write_all(b"bin  etc").unwrap();
    let mut seen = [0; 8];
    user.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"bin  etc");
    rig.finish();
    assert_eq!(user.read(&mut seen).unwrap(), 0, "the user sees the end");
}

#[test]
fn a_user_who_does_not_read_is_let_go() {
    let mut rig = Rig::new(tempfile::tempdir().unwrap());
    let mut user = UnixStream::connect(rig.directory.path().join("socket")).unwrap();
    user.write_all(b"x").unwrap();
    rig.guest.read_exact(&mut [0]).unwrap();
    rig.guest.write_all(&vec![b'y'; 2 << 20]).unwrap();
    rig.guest.write_all(b"end").unwrap();
    eventually("all is kept", || ring_of(&rig).is_some_and(|console| console.bytes.ends_with(b"end")));
    let mut seen = Vec::new();
    user.read_to_end(&mut seen).unwrap();
    assert!(seen.len() < 2 << 20);
    rig.finish();
}

#[test]
fn messages_are_bounded_and_the_last_words_kept() {
    let mut rig = Rig::new(tempfile::tempdir().unwrap());
    rig.messages.write_all(b"qemu: ").unwrap();
    rig.guest.shutdown(std::net::Shutdown::Both).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    rig.messages.write_all(b"terminating\n").unwrap();
    let directory = rig.finish();
    assert_eq!(std::fs::read(directory.path().join("log")).unwrap(), b"qemu: terminating\n");

    let mut rig = Rig::new(tempfile::tempdir().unwrap());
    for _ in 0..100 {
        rig.messages.write_all(&[b'm'; 4096]).unwrap();
    }
    let directory = rig.finish();
    assert_eq!(directory.path().join("log").metadata().unwrap().len(), LOG_BYTES_MAX as u64);
}

#[test]
fn a_file_that_is_no_ring_becomes_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    std::fs::write(&path, b"something else, and longer than a header is").unwrap();
    assert_eq!(read(&path).unwrap(), None);
    let mut ring = Ring::open(File::from(file(&path))).unwrap();
    ring.append(b"hello", Timestamp(7)).unwrap();
    assert_eq!(read(&path).unwrap(), Some(Console { bytes: b"hello".to_vec(), written: Timestamp(7) }));
}

#[test]
fn nonsense_arguments_are_refused() {
    for arguments in [vec![], vec!["0", "1", "2", "2", "none"], vec!["999", "998", "997", "996", "none"], vec!["a", "b", "c", "d", "e"]] {
        let arguments: Vec<String> = arguments.into_iter().map(String::from).collect();
        assert!(HelperFiles::from_arguments(&arguments).is_err());
    }
}

//! Serial consoles: a file of bounded size for each instance, and the small process that fills it.
//!
//! Nothing that QEMU 7.2 has does it alone: its log files grow without bound, its memory ring is lost with the process and has no way in for
//! an interactive user. And a reader inside the server would lose what is written while the server is down. So each machine has a
//! *console helper*: this same program, started anew under the machine's own unprivileged user ([`helper_main`]). It copies what the guest
//! writes into a ring of [`RING_BYTES`], serves interactive users on a socket, keeps the first bytes of QEMU's own messages, and ends with its
//! QEMU. It always reads on, so a guest never waits for a full pipe. If it dies, QEMU drops output until the server has started another.

use super::process::inherited;
use super::sys;
use crate::Result;
use crate::hypervisor::{CONSOLE_BYTES_MAX, Console};
use anyhow::{Context as _, bail};
use model::time::Timestamp;
use nix::libc;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// How much of a console is kept, in bytes.
pub(crate) const RING_BYTES: u64 = 1 << 20;
/// How much of QEMU's own messages is kept, in bytes: the first ones tell why it didn't start.
pub(crate) const LOG_BYTES_MAX: usize = 16 * 1024;
/// How many interactive users a console has at a time.
const USERS_MAX: usize = 8;
/// How much may wait for a slow interactive user before they are let go, in bytes.
const USER_BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// How much input may wait for the guest, in bytes; what is typed beyond that is lost, as on a real line.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// How long QEMU's messages are waited for once its console is closed, in milliseconds.
const LOG_WAIT_MILLIS: i32 = 1000;

const MAGIC: &[u8; 8] = b"PILEUSC1";
const HEADER_BYTES: u64 = 4096;

/// A console's file: a header with the number of bytes ever written and the time of the last, then a ring of the newest.
struct Ring {
    file: File,
    total: u64,
}

impl Ring {
    /// A file that isn't a ring becomes an empty one.
    fn open(file: File) -> io::Result<Self> {
        let total = match header_read(&file)? {
            Some((total, _)) => total,
            None => {
                file.set_len(0)?;
                0
            }
        };
        Ok(Self { file, total })
    }

    /// The bytes first, then the header: what dies between the two loses the last write, and nothing else.
    fn append(&mut self, mut bytes: &[u8], now: Timestamp) -> io::Result<()> {
        while !bytes.is_empty() {
            let at = self.total % RING_BYTES;
            let room = usize::try_from(RING_BYTES - at).unwrap_or(usize::MAX);
            let (now_written, rest) = bytes.split_at(bytes.len().min(room));
            self.file.write_all_at(now_written, HEADER_BYTES + at)?;
            self.total += now_written.len() as u64;
            bytes = rest;
        }
        let mut header = [0; 24];
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&self.total.to_le_bytes());
        header[16..].copy_from_slice(&now.0.to_le_bytes());
        self.file.write_all_at(&header, 0)
    }
}

fn header_read(file: &File) -> io::Result<Option<(u64, Timestamp)>> {
    let mut header = [0; 24];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let (magic, numbers) = header.split_at(8);
    let (total, written) = numbers.split_at(8);
    let number = |bytes: &[u8]| <[u8; 8]>::try_from(bytes).unwrap_or_default();
    Ok((magic == MAGIC).then(|| (u64::from_le_bytes(number(total)), Timestamp(i64::from_le_bytes(number(written))))))
}

/// The end of a console. `None` if nothing was ever written.
///
/// # Errors
/// If the file is there but can't be read.
pub(crate) fn read(path: &Path) -> Result<Option<Console>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    let read = || -> io::Result<Option<Console>> {
        let Some((total, written)) = header_read(&file)? else { return Ok(None) };
        // The rest of the ring is the margin for what is written meanwhile.
        let length = total.min(CONSOLE_BYTES_MAX as u64);
        let at = (total - length) % RING_BYTES;
        let first = length.min(RING_BYTES - at);
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let (head, tail) = bytes.split_at_mut(usize::try_from(first).map_err(io::Error::other)?);
        file.read_exact_at(head, HEADER_BYTES + at)?;
        file.read_exact_at(tail, HEADER_BYTES)?;
        Ok((length > 0).then_some(Console { bytes, written }))
    };
    read().with_context(|| format!("read {}", path.display()))
}

/// What a helper is given.
pub(crate) struct HelperFiles {
    /// The console's ring.
    pub(crate) ring: OwnedFd,
    /// The connection to the guest's serial port.
    pub(crate) serial: OwnedFd,
    /// The listening socket for interactive users.
    pub(crate) listen: OwnedFd,
    /// The reading end of QEMU's messages. Only of the helper that is started with it.
    pub(crate) messages: Option<OwnedFd>,
    /// The file for them.
    pub(crate) log: OwnedFd,
}

impl HelperFiles {
    /// The helper's arguments: the numbers of its files.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let number = |fd: &OwnedFd| fd.as_raw_fd().to_string();
        let messages = self.messages.as_ref().map_or("none".into(), number);
        vec![number(&self.ring), number(&self.serial), number(&self.listen), number(&self.log), messages]
    }

    /// The files, for the helper to inherit.
    pub(crate) fn into_fds(self) -> Vec<OwnedFd> {
        let Self { ring, serial, listen, messages, log } = self;
        [ring, serial, listen, log].into_iter().chain(messages).collect()
    }

    fn from_arguments(arguments: &[String]) -> Result<Self> {
        let [ring, serial, listen, log, messages] = arguments else { bail!("the console helper is started by the server only") };
        let messages = if messages == "none" { None } else { Some(inherited(messages)?) };
        Ok(Self { ring: inherited(ring)?, serial: inherited(serial)?, listen: inherited(listen)?, log: inherited(log)?, messages })
    }
}

/// The main function of a console helper: `pileus __console …`, with what stands after that word. It must run before any thread is started.
///
/// Nobody calls it by hand, and it has nobody to tell of an error but its exit code.
#[must_use]
pub fn helper_main(arguments: &[String]) -> ExitCode {
    match HelperFiles::from_arguments(arguments).and_then(|files| Ok(Helper::new(files)?.run()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

struct User {
    stream: UnixStream,
    backlog: Vec<u8>,
}

struct Helper {
    ring: Ring,
    serial: UnixStream,
    listen: UnixListener,
    messages: Option<File>,
    log: File,
    log_bytes: usize,
    users: Vec<User>,
    input: Vec<u8>,
}

impl Helper {
    fn new(files: HelperFiles) -> io::Result<Self> {
        let HelperFiles { ring, serial, listen, messages, log } = files;
        for fd in [&serial, &listen].into_iter().chain(&messages) {
            sys::fd_nonblocking(fd.as_fd())?;
        }
        Ok(Self {
            ring: Ring::open(ring.into())?,
            serial: serial.into(),
            listen: listen.into(),
            messages: messages.map(File::from),
            log: log.into(),
            log_bytes: 0,
            users: Vec::new(),
            input: Vec::new(),
        })
    }

    /// Copies until QEMU is gone.
    fn run(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let ready = self.wait()?;
            if ready.messages {
                self.messages_take(&mut buffer);
            }
            if ready.connection {
                self.user_add();
            }
            self.users_serve(&mut buffer);
            if !self.input.is_empty() {
                self.input_give()?;
            }
            if ready.serial && !self.serial_take(&mut buffer)? {
                break;
            }
        }
        self.log_finish(&mut buffer)
    }

    /// Waits until there is something to do.
    fn wait(&self) -> io::Result<Ready> {
        let poll = |fd: i32, events: i16| libc::pollfd { fd, events, revents: 0 };
        let out = |wanted: bool| if wanted { libc::POLLOUT } else { 0 };
        // A negative number is skipped.
        let messages = self.messages.as_ref().map_or(-1, |file| file.as_raw_fd());
        let mut fds = vec![
            poll(self.serial.as_raw_fd(), libc::POLLIN | out(!self.input.is_empty())),
            poll(messages, libc::POLLIN),
            poll(if self.users.len() < USERS_MAX { self.listen.as_raw_fd() } else { -1 }, libc::POLLIN),
        ];
        fds.extend(self.users.iter().map(|user| poll(user.stream.as_raw_fd(), libc::POLLIN | out(!user.backlog.is_empty()))));
        sys::poll(&mut fds, None)?;
        let any = |at: usize, wanted: i16| fds.get(at).is_some_and(|fd| fd.revents & wanted != 0);
        let readable = libc::POLLIN | libc::POLLHUP | libc::POLLERR;
        Ok(Ready { serial: any(0, readable), messages: any(1, readable), connection: any(2, readable) })
    }

    /// `false` at the end.
    fn serial_take(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let bytes = match self.serial.read(buffer) {
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(error) if would_block(&error) => return Ok(true),
            Err(_) => return Ok(false),
        };
        if bytes.is_empty() {
            return Ok(false);
        }
        // A full disk costs the console, not the guest.
        let _ = self.ring.append(bytes, now());
        for user in &mut self.users {
            user.backlog.extend_from_slice(bytes);
        }
        Ok(true)
    }

    fn messages_take(&mut self, buffer: &mut [u8]) {
        let Some(messages) = &mut self.messages else { return };
        match messages.read(buffer) {
            Ok(0) => self.messages = None,
            Ok(count) => {
                let kept = count.min(LOG_BYTES_MAX - self.log_bytes);
                self.log_bytes += kept;
                let _ = self.log.write_all(buffer.get(..kept).unwrap_or_default());
            }
            Err(error) if would_block(&error) => {}
            Err(_) => self.messages = None,
        }
    }

    fn user_add(&mut self) {
        // A user who left already is none.
        if let Ok((stream, _)) = self.listen.accept()
            && stream.set_nonblocking(true).is_ok()
        {
            self.users.push(User { stream, backlog: Vec::new() });
        }
    }

    fn users_serve(&mut self, buffer: &mut [u8]) {
        let input = &mut self.input;
        self.users.retain_mut(|user| {
            match user.stream.read(buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    let taken = count.min(INPUT_BYTES_MAX - input.len());
                    input.extend_from_slice(buffer.get(..taken).unwrap_or_default());
                }
                Err(error) if would_block(&error) => {}
                Err(_) => return false,
            }
            if !user.backlog.is_empty() {
                match user.stream.write(&user.backlog) {
                    Ok(count) => drop(user.backlog.drain(..count)),
                    Err(error) if would_block(&error) => {}
                    Err(_) => return false,
                }
            }
            user.backlog.len() <= USER_BACKLOG_BYTES_MAX
        });
    }

    fn input_give(&mut self) -> io::Result<()> {
        match self.serial.write(&self.input) {
            Ok(count) => drop(self.input.drain(..count)),
            Err(error) if would_block(&error) => {}
            // The end is seen by reading.
            Err(_) => self.input.clear(),
        }
        Ok(())
    }

    /// QEMU's last words come after its console is closed.
    fn log_finish(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        while let Some(messages) = &self.messages {
            let mut fds = [libc::pollfd { fd: messages.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            sys::poll(&mut fds, Some(LOG_WAIT_MILLIS))?;
            if fds.iter().all(|fd| fd.revents == 0) {
                break;
            }
            self.messages_take(buffer);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct Ready {
    serial: bool,
    messages: bool,
    connection: bool,
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The helper is a process of its own and never part of a simulation, so it reads the system's clock.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;

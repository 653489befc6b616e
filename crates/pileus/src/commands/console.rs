//! `pileus console`: the interactive serial console; with nothing to type, what the console holds.

use crate::admin::Door;
use anyhow::{Context as _, Result};
use model::ids::InstanceId;
use nix::sys::termios::{self, SetArg, Termios};
use node::hypervisor::qemu;
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Ctrl-], as telnet has it.
const LEAVE: u8 = 0x1d;
/// How long input that is no terminal has for its first bytes or its end, before the console is followed.
const FIRST_INPUT: Duration = Duration::from_millis(500);
/// After the end of such input, the answer is over once the console has said nothing for so long.
const QUIET: Duration = Duration::from_secs(1);
/// How long an answer may take in all.
const ANSWER_MAX: Duration = Duration::from_secs(10);

pub(crate) fn run(data_dir: &Path, instance: &str) -> Result<()> {
    let door: Door = super::guest::door(data_dir, instance)?;
    let id: InstanceId = instance.parse()?;
    let is_terminal = std::io::stdin().is_terminal();
    let terminal = if is_terminal { Some(RawTerminal::enter()?) } else { None };
    let typed = typing();
    let first = if is_terminal { None } else { typed.recv_timeout(FIRST_INPUT).ok() };
    if first.as_ref().is_some_and(Vec::is_empty) {
        let kept = qemu::console_kept(data_dir, &id).context("can't read the serial console; are you root?")?;
        return written(std::io::stdout().lock().write_all(&kept.map(|k| k.bytes).unwrap_or_default()));
    }
    anyhow::ensure!(matches!(door.state.as_str(), "running" | "stopping" | "shutting-down"), "{instance} is {}", door.state);
    let stream = qemu::console_connect(data_dir, &id).context("can't open the serial console; are you root?")?;
    if is_terminal {
        write_err(&format!("Attached to the serial console of {instance}. Ctrl-] leaves.\r\n"));
    }
    let left = Arc::new(AtomicBool::new(false));
    let (up, leaving) = (stream.try_clone()?, left.clone());
    std::thread::spawn(move || {
        type_in(up, first, &typed);
        leaving.store(true, Ordering::Release);
    });
    let shown = show(stream, &left);
    drop(terminal);
    shown?;
    if !left.load(Ordering::Acquire) {
        write_err("\nThe console was closed: the machine is gone.\n");
    } else if is_terminal {
        write_err("\n");
    }
    Ok(())
}

/// What is typed, piece by piece; an empty piece is its end.
fn typing() -> Receiver<Vec<u8>> {
    let (pieces, typed) = sync_channel(1);
    std::thread::spawn(move || {
        let mut buffer = [0u8; 1024];
        let mut input = std::io::stdin().lock();
        loop {
            let n = input.read(&mut buffer).unwrap_or(0);
            if pieces.send(buffer[..n].to_vec()).is_err() || n == 0 {
                return;
            }
        }
    });
    typed
}

/// Gives the console what is typed, until its end or [`LEAVE`].
fn type_in(mut up: UnixStream, first: Option<Vec<u8>>, typed: &Receiver<Vec<u8>>) {
    for piece in first.into_iter().chain(typed) {
        let leave = piece.iter().position(|&b| b == LEAVE);
        if leave.is_none() && piece.is_empty() {
            return;
        }
        if up.write_all(&piece[..leave.unwrap_or(piece.len())]).is_err() || leave.is_some() {
            break;
        }
    }
    let _ = up.shutdown(std::net::Shutdown::Both);
}

/// Shows what the console says: until it is closed, or until the answer to the last of what was typed is over.
fn show(mut down: UnixStream, left: &AtomicBool) -> Result<()> {
    down.set_read_timeout(Some(QUIET))?;
    let mut out = std::io::stdout().lock();
    let mut buffer = [0u8; 4096];
    let mut since: Option<Instant> = None;
    loop {
        match down.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                out.write_all(&buffer[..n])?;
                out.flush()?;
            }
            // The end may have come during this wait, so a whole one is begun after it.
            Err(error) if error.kind() == ErrorKind::WouldBlock && since.is_some() => return Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Ok(()),
        }
        if left.load(Ordering::Acquire) && since.get_or_insert_with(Instant::now).elapsed() > ANSWER_MAX {
            return Ok(());
        }
    }
}

/// A closed pipe has read enough.
fn written(result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn write_err(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The terminal without echo, line editing and signals; as it was when dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Result<Self> {
        let input = std::io::stdin();
        let old = termios::tcgetattr(&input)?;
        let mut raw = old.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&input, SetArg::TCSANOW, &raw)?;
        Ok(Self(old))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

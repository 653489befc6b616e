//! Other people's programs, run with a limit on their time and on what is kept of their words.

use crate::Result;
use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The most that is kept of what a program prints, in bytes. The lists of packages that apt prints stay far below.
const OUTPUT_BYTES_MAX: u64 = 4 << 20;
/// The most of a program's complaint that goes into an error, in characters.
const COMPLAINT_CHARS_MAX: usize = 2000;
/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(5);

/// A program that ended, but not well.
#[derive(Debug, thiserror::Error)]
#[error("{program}: {status}: {complaint}")]
pub(super) struct Failed {
    program: String,
    /// How it ended.
    pub(super) status: ExitStatus,
    complaint: String,
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// If it can't be started, takes longer than `limit` (it is killed then), or fails: with what it complained of.
pub(super) fn run(command: &mut Command, limit: Duration) -> Result<String> {
    run_watched(command, limit, |_| {})
}

/// The same; `watch` is given each piece of its output as it comes.
pub(super) fn run_watched(command: &mut Command, limit: Duration, watch: impl FnMut(&[u8]) + Send) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = dies_with_us(command)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name} (is it installed?)"))?;
    let complaint = collect(child.stderr.take());
    let (status, output) = std::thread::scope(|scope| {
        let stdout = child.stdout.take();
        let output = scope.spawn(move || keep(stdout, watch));
        let status = wait(&mut child, limit);
        // A grandchild that holds the pipe was killed with its group, so that this ends.
        (status, output.join().unwrap_or_default())
    });
    let complaint = complaint.join().unwrap_or_default();
    match status.with_context(|| name.clone())? {
        None => bail!("{name} took longer than {} s", limit.as_secs()),
        Some(status) if status.success() => Ok(String::from_utf8_lossy(&output).into_owned()),
        Some(status) => {
            let text = String::from_utf8_lossy(&complaint);
            let text = text.trim();
            let skip = text.chars().count().saturating_sub(COMPLAINT_CHARS_MAX);
            Err(Failed { program: name, status, complaint: text.chars().skip(skip).collect() }.into())
        }
    }
}

/// Waits for the end, or kills at the limit: then there is no status.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL)?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// The program is killed when this process is.
fn dies_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe; nothing is allocated.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?))
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || keep(pipe, |_| {}))
}

/// Reads to the end, and keeps the beginning.
fn keep(pipe: Option<impl Read>, mut watch: impl FnMut(&[u8])) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    let Some(mut pipe) = pipe else { return kept };
    loop {
        match pipe.read(&mut piece) {
            Ok(0) => return kept,
            Ok(n) => {
                watch(&piece[..n]);
                if (kept.len() + n) as u64 <= OUTPUT_BYTES_MAX {
                    kept.extend_from_slice(&piece[..n]);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return kept,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_failure_says_what_the_program_said() {
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("exit status: 3: why"), "{error:#}");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let begin = Instant::now();
        let error = run(Command::new("sh").args(["-c", "sleep 60; true"]), Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("took longer"), "{error:#}");
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn an_absent_program_is_named() {
        let error = run(&mut Command::new("pileus-no-such-program"), Duration::from_secs(1)).unwrap_err();
        assert!(format!("{error:#}").contains("pileus-no-such-program (is it installed?)"), "{error:#}");
    }
}

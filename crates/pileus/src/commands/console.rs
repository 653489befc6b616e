//! `pileus console`: the interactive serial console.

use crate::admin::Door;
use anyhow::{Context as _, Result};
use nix::sys::termios::{self, SetArg, Termios};
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;

/// Ctrl-], as telnet has it.
const LEAVE: u8 = 0x1d;

pub(crate) fn run(data_dir: &Path, instance: &str) -> Result<()> {
    let door: Door = super::ssh::door(data_dir, instance)?;
    anyhow::ensure!(matches!(door.state.as_str(), "running" | "stopping" | "shutting-down"), "{instance} is {}", door.state);
    let stream =
        node::hypervisor::qemu::console_connect(data_dir, &instance.parse()?).context("can't open the serial console; are you root?")?;
    let terminal = RawTerminal::enter()?;
    if terminal.is_some() {
        write_err(&format!("Attached to the serial console of {instance}. Ctrl-] leaves.\r\n"));
    }
    let mut up = stream.try_clone()?;
    let typing = std::thread::spawn(move || {
        let mut buffer = [0u8; 1024];
        let mut input = std::io::stdin().lock();
        while let Ok(n) = input.read(&mut buffer) {
            let typed = &buffer[..n];
            if n == 0 {
                return;
            }
            let leave = typed.iter().position(|&b| b == LEAVE);
            if up.write_all(&typed[..leave.unwrap_or(n)]).is_err() || leave.is_some() {
                break;
            }
        }
        let _ = up.shutdown(std::net::Shutdown::Both);
    });
    let mut down = stream;
    let mut out = std::io::stdout().lock();
    let mut buffer = [0u8; 4096];
    while let Ok(n) = down.read(&mut buffer) {
        if n == 0 {
            break;
        }
        out.write_all(&buffer[..n])?;
        out.flush()?;
    }
    drop(terminal);
    if typing.is_finished() {
        write_err("\n");
    } else {
        write_err("\nThe console was closed: the machine is gone.\n");
    }
    Ok(())
}

fn write_err(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The terminal without echo, line editing and signals; as it was when dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Result<Option<Self>> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Ok(None);
        }
        let old = termios::tcgetattr(&input)?;
        let mut raw = old.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&input, SetArg::TCSANOW, &raw)?;
        Ok(Some(Self(old)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

//! Whether a guest has halted for good: each of its processors executed HLT with interrupts disabled, as Linux does for `halt -f`. QEMU's state is
//! still "running" then, and the guest doesn't react to the power button.

use super::qmp::{Qmp, QmpError};
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// QEMU reads the registers while the processors run, so one answer may mix two moments.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The interrupt flag in (E/R)FLAGS.
const IF: u64 = 1 << 9;

/// Whether the guest has halted for good.
///
/// # Errors
/// If QEMU doesn't answer.
pub(super) async fn has_halted(qmp: &Qmp) -> Result<bool, QmpError> {
    if !looks_halted(qmp).await? {
        return Ok(false);
    }
    sleep(LOOK_AGAIN).await;
    looks_halted(qmp).await
}

async fn looks_halted(qmp: &Qmp) -> Result<bool, QmpError> {
    // No command of QMP itself tells the registers.
    let answer = qmp.execute("human-monitor-command", json!({ "command-line": "info registers -a" }), ANSWER_LIMIT).await?;
    Ok(all_halted(answer.as_str().unwrap_or_default()))
}

/// Whether each processor in the answer to `info registers -a` is halted with interrupts disabled. `false` if the answer isn't understood.
fn all_halted(registers: &str) -> bool {
    let processors = registers.lines().filter(|line| line.starts_with("CPU#")).count();
    let states: Vec<bool> = registers.lines().filter_map(is_halted).collect();
    processors > 0 && states.len() == processors && states.into_iter().all(|halted| halted)
}

/// The state of a processor, if this is the line with its flags.
fn is_halted(line: &str) -> Option<bool> {
    let value = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
    // RFL in 64-bit mode, else EFL.
    let flags = u64::from_str_radix(value("RFL=").or_else(|| value("EFL="))?, 16).ok()?;
    Some(value("HLT=")? == "1" && flags & IF == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// QEMU 7.2 after `reboot(RB_HALT_SYSTEM)` in Linux on two processors; the segment, control and vector registers are left out.
    const HALTED: &str = "\r\nCPU#0\r\nRAX=ffffffff9d46ab00 RBX=0000000000000000 RCX=0000000000000160 RDX=0000000000000003\r\n\
        R12=ffffd09fc0013c38 R13=0000000000000000 R14=ffffffff9ee59420 R15=00000000fee1dead\r\n\
        RIP=ffffffff9d43d023 RFL=00000092 [--S-A--] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n\
        \r\nCPU#1\r\nRAX=ffffffff9d46ab00 RBX=0000000000000001 RCX=00000000c0000080 RDX=0000000000000000\r\n\
        RIP=ffffffff9d43d023 RFL=00000093 [--S-A-C] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n";

    /// QEMU 7.2 before the first instruction: the second processor waits for its start.
    const FIRMWARE: &str = "\r\nCPU#0\r\nEIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n\
        \r\nCPU#1\r\nEIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n";

    #[test]
    fn halted_only_if_every_processor_is_and_interrupts_are_disabled() {
        assert!(all_halted(HALTED));
        assert!(!all_halted(&HALTED.replace("RFL=00000093", "RFL=00000293")), "an idle processor is woken by interrupts");
        assert!(!all_halted(FIRMWARE));
        assert!(all_halted(&FIRMWARE.replace("HLT=0", "HLT=1")), "also in 16-bit mode");
    }

    #[test]
    fn an_answer_that_is_not_understood_is_not_a_halt() {
        assert!(!all_halted(""));
        assert!(!all_halted(&HALTED.replace("RFL=00000093", "RFL=")));
        assert!(!all_halted(&HALTED.replace("RFL=", "FLAGS=")));
        assert!(!all_halted(&HALTED.replace("CPU#", "cpu ")));
    }
}

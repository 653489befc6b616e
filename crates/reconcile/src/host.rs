//! The host itself: whether it was restarted since its machines were last known.

use crate::Reconciler;
use crate::error::Stop;
use crate::table::{BOOT_ID, Next};
use anyhow::{Context as _, Result};

/// What is known of the host itself.
pub trait HostFacts: Send + Sync {
    /// Another text after each start of the host, the same one as long as its processes can live.
    fn boot_id(&self) -> String;

    /// Whether what ran before a restart of the host is started again.
    fn restarts_guests(&self) -> bool {
        true
    }
}

/// A Linux host, or a container on one. Its start is told by three things, since each ends all machines:
///
/// - the kernel's boot id;
/// - the time at which the first process began: another one after the restart of a container;
/// - the life of the cloud's own processes, if somebody killed all of them.
#[derive(Debug, Clone)]
pub struct LinuxHost {
    boot_id: String,
    restarts_guests: bool,
}

impl LinuxHost {
    /// Reads it once: a process doesn't outlive its host. `life` is another number after all of the cloud's processes ended.
    ///
    /// # Errors
    /// If `/proc` can't be read.
    pub fn read(life: u64, restarts_guests: bool) -> Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("read {path}"));
        let kernel = read("/proc/sys/kernel/random/boot_id")?;
        let begun = first_process_start(&read("/proc/1/stat")?).context("read the start of the first process in /proc/1/stat")?;
        Ok(Self { boot_id: format!("{}/{begun}/{life}", kernel.trim()), restarts_guests })
    }
}

/// The 22nd field of `/proc/PID/stat`, in clock ticks since the kernel's start (proc(5)). The second one may hold blanks and parentheses.
fn first_process_start(stat: &str) -> Option<u64> {
    let (_, from_third) = stat.rsplit_once(") ")?;
    from_third.split(' ').nth(22 - 3)?.trim().parse().ok()
}

impl HostFacts for LinuxHost {
    fn boot_id(&self) -> String {
        self.boot_id.clone()
    }

    fn restarts_guests(&self) -> bool {
        self.restarts_guests
    }
}

impl Reconciler {
    /// Records the host's start, once every instance that ran before it has its machine again or has ended: till then, what is absent
    /// went with the host.
    pub(crate) async fn host_work(&self) -> Result<Next, Stop> {
        self.faults.hit("reconcile.host.before_record")?;
        let boot_id = self.host.boot_id();
        let Ok(()) = self
            .store
            .write(move |tx| {
                tx.setting_put(BOOT_ID, &boot_id);
                Ok::<_, std::convert::Infallible>(())
            })
            .await?;
        Ok(Next { steps: 1, ..Next::default() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_process_may_have_any_name() {
        let stat = "1 (a ) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 31 5 6 7";
        assert_eq!(first_process_start(stat), Some(31));
        assert_eq!(first_process_start("1 (init) S 0"), None);
    }

    #[test]
    fn this_host_has_a_boot_id() {
        let host = LinuxHost::read(1, true).unwrap();
        assert_eq!(host.boot_id(), LinuxHost::read(1, true).unwrap().boot_id());
        assert_ne!(host.boot_id(), LinuxHost::read(2, true).unwrap().boot_id(), "all processes were killed meanwhile");
        assert!(host.boot_id().len() > 36, "{}", host.boot_id());
    }
}

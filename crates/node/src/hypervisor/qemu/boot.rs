//! Whether a guest comes up, or resets itself again and again since its disk or kernel doesn't boot. Pure.
//!
//! Nothing tells from outside that a guest has booted. But one that can't resets within seconds: firmware that finds nothing to boot does
//! so (we set `reboot-timeout`), and so does a kernel with `panic=` on its command line. A guest that reboots of its own will comes up in between,
//! or stays up once in a while. So: [`RESETS_MAX`] resets in a row, each within [`BOOT_MILLIS`] of the one before, mean that it doesn't boot; a
//! guest that ran for longer once is never judged again.

/// How many resets in a row: more than a system that sets itself up has a reason for.
const RESETS_MAX: u32 = 4;
/// Resets this close to the last counted one are part of it, in milliseconds: a kernel tries several ways to reset, and QEMU tells of each.
const SAME_MILLIS: i64 = 1000;
/// How long a guest must run to count as having come up, in milliseconds.
const BOOT_MILLIS: i64 = 60_000;

/// A guest's boots so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Boots {
    since: i64,
    resets: u32,
    came_up: bool,
}

impl Boots {
    /// Of a guest that was started, or reset by us, at this time, in milliseconds of any clock.
    pub(crate) fn new(now: i64) -> Self {
        Self { since: now, resets: 0, came_up: false }
    }

    /// Of a guest that is known to have come up.
    pub(crate) fn of_settled() -> Self {
        Self { since: 0, resets: 0, came_up: true }
    }

    /// The guest reset itself. `true` if it doesn't boot.
    pub(crate) fn reset(&mut self, now: i64) -> bool {
        if self.resets > 0 && now - self.since < SAME_MILLIS {
            return false;
        }
        self.came_up |= now - self.since >= BOOT_MILLIS;
        self.since = now;
        self.resets += 1;
        !self.came_up && self.resets >= RESETS_MAX
    }
}

/// What such a guest's owner is told.
pub(crate) const REASON: &str = "The instance reset itself again and again while booting: its disk or kernel does not boot";

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(resets: &[i64]) -> Vec<bool> {
        let mut boots = Boots::new(0);
        resets.iter().map(|at| boots.reset(at * 1000)).collect()
    }

    #[test]
    fn a_loop_is_seen_at_the_fourth_reset() {
        assert_eq!(judge(&[4, 8, 12, 16]), [false, false, false, true]);
    }

    #[test]
    fn a_slow_loop_is_seen_too() {
        assert_eq!(judge(&[59, 118, 177, 236]), [false, false, false, true]);
    }

    #[test]
    fn reboots_of_a_guest_that_came_up_are_its_own() {
        assert_eq!(judge(&[3, 90, 93, 96, 99]), [false; 5]);
    }

    #[test]
    fn some_quick_reboots_are_fine() {
        assert_eq!(judge(&[5, 10, 15]), [false, false, false]);
    }

    #[test]
    fn several_resets_at_once_are_one() {
        let mut boots = Boots::new(0);
        assert!([4000, 4030, 4060, 4090, 8000, 8030, 12_000].iter().all(|at| !boots.reset(*at)));
        assert!(boots.reset(16_000));
    }

    #[test]
    fn a_loop_faster_than_that_is_seen_too() {
        let mut boots = Boots::new(0);
        assert!((1..20).any(|n| boots.reset(n * 700)));
    }
}

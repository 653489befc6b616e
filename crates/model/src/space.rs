//! The space on the disk that volumes are made on, as it was measured last, and what may be promised of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The measurements. Clones share them. Whoever measures sets them; the actions ask, and wait for no disk.
#[derive(Debug, Clone)]
pub struct Space(Arc<Measured>);

#[derive(Debug)]
struct Measured {
    /// Bytes of volumes that may be promised for each free one; `None`: volumes take no space, as in a simulation.
    overcommit: Option<f64>,
    free_bytes: AtomicU64,
    written_bytes: AtomicU64,
    short: AtomicBool,
}

impl PartialEq for Space {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Space {
    /// Of a disk on which `overcommit` bytes of volumes may be promised for each free one. Nothing fits until it is measured.
    #[must_use]
    pub fn overcommitted(overcommit: f64) -> Self {
        Self::new(Some(overcommit))
    }

    /// For volumes that take no space.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(None)
    }

    fn new(overcommit: Option<f64>) -> Self {
        let (free_bytes, written_bytes, short) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Measured { overcommit, free_bytes, written_bytes, short }))
    }

    /// Notes a measurement: the free bytes, and those that the volumes take already.
    pub fn measured(&self, free_bytes: u64, written_bytes: u64) {
        self.0.free_bytes.store(free_bytes, Ordering::Relaxed);
        self.0.written_bytes.store(written_bytes, Ordering::Relaxed);
    }

    /// Notes whether there is too little space for anything but what frees some. `true` if that is news.
    pub fn short_set(&self, short: bool) -> bool {
        self.0.short.swap(short, Ordering::Relaxed) != short
    }

    /// Whether only what frees space may be done.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.short.load(Ordering::Relaxed)
    }

    /// How many machines whose volumes have `each` bytes fit, where the volumes that there are have `promised` bytes. What these have not
    /// written yet takes space sooner or later.
    #[must_use]
    pub fn fits(&self, promised: u64, each: u64) -> u64 {
        let Some(overcommit) = self.0.overcommit else { return u64::MAX };
        if self.is_short() {
            return 0;
        }
        // A float turned to an integer saturates, and a NaN becomes 0: nothing fits then.
        let promisable = (self.0.free_bytes.load(Ordering::Relaxed) as f64 * overcommit) as u64;
        let unwritten = promised.saturating_sub(self.0.written_bytes.load(Ordering::Relaxed));
        promisable.saturating_sub(unwritten).checked_div(each).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_yet_takes_space_too() {
        let space = Space::overcommitted(2.0);
        assert_eq!(space.fits(0, 1), 0, "not measured yet");
        space.measured(100, 0);
        assert_eq!((space.fits(0, 50), space.fits(150, 50), space.fits(151, 50), space.fits(999, 50)), (4, 1, 0, 0));
        space.measured(50, 100);
        assert_eq!((space.fits(150, 50), space.fits(200, 50)), (1, 0));
        assert!(space.short_set(true) && !space.short_set(true));
        assert_eq!(space.clone().fits(0, 1), 0);
        assert_eq!(Space::unlimited().fits(u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(Space::overcommitted(f64::NAN).fits(0, 1), 0);
    }
}

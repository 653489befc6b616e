//! What one guest may ask of the metadata service at a time. AWS throttles each instance as well ("Query throttling").

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Most open connections of one guest.
const GUEST_CONNECTIONS_MAX: u32 = 32;
/// Most open connections of one VPC.
const CONNECTIONS_MAX: u32 = 1_024;
/// Requests that a guest may make at once, having made none for a while.
const BURST_REQUESTS: f64 = 400.0;
/// Requests that a guest may make for long, a second.
const REQUESTS_PER_SECOND: f64 = 100.0;

/// The request is one too many; the guest is to try again later (503).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal;

/// Counts of one VPC, by source address.
pub(super) struct Limits(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    connections: u32,
    guests: HashMap<Ipv4Addr, Use>,
}

struct Use {
    connections: u32,
    /// Requests that may be made at `since`; they grow with time up to [`BURST_REQUESTS`].
    credit: f64,
    since: Instant,
}

/// A connection's place; given back when dropped.
pub(super) struct Place<'a>(&'a Limits, Ipv4Addr);

impl Limits {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// A place for a connection, if there is one.
    pub(super) fn connect(&self, peer: Ipv4Addr, now: Instant) -> Option<Place<'_>> {
        let mut counts = self.counts();
        // Whoever has all his credit needs no memory; so the map holds only the guests of the last seconds.
        counts.guests.retain(|_, guest| {
            guest.refill(now);
            guest.connections > 0 || guest.credit < BURST_REQUESTS
        });
        if counts.connections >= CONNECTIONS_MAX {
            return None;
        }
        let guest = counts.guests.entry(peer).or_insert(Use { connections: 0, credit: BURST_REQUESTS, since: now });
        if guest.connections >= GUEST_CONNECTIONS_MAX {
            return None;
        }
        guest.connections += 1;
        counts.connections += 1;
        Some(Place(self, peer))
    }

    /// Counts a request on an open connection.
    pub(super) fn request(&self, peer: Ipv4Addr, now: Instant) -> Result<(), Refusal> {
        let mut counts = self.counts();
        let guest = counts.guests.get_mut(&peer).ok_or(Refusal)?;
        guest.refill(now);
        if guest.credit < 1.0 {
            return Err(Refusal);
        }
        guest.credit -= 1.0;
        Ok(())
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counts are whole at every step, so a panic elsewhere doesn't spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Use {
    fn refill(&mut self, now: Instant) {
        let earned = now.duration_since(self.since).as_secs_f64() * REQUESTS_PER_SECOND;
        self.credit = (self.credit + earned).min(BURST_REQUESTS);
        self.since = now;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.connections -= 1;
        if let Some(guest) = counts.guests.get_mut(&self.1) {
            guest.connections -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    #[test]
    fn one_guest_takes_nothing_from_another() {
        let (limits, now) = (Limits::new(), Instant::now());
        let places: Vec<_> = (0..GUEST_CONNECTIONS_MAX).map(|_| limits.connect(ONE, now).unwrap()).collect();
        assert!(limits.connect(ONE, now).is_none());
        let _other = limits.connect(OTHER, now).unwrap();
        let mut made = 0;
        while limits.request(ONE, now).is_ok() {
            made += 1;
        }
        assert_eq!(f64::from(made), BURST_REQUESTS);
        assert_eq!(limits.request(OTHER, now), Ok(()));
        let later = now + Duration::from_secs(1);
        for _ in 0..100 {
            assert_eq!(limits.request(ONE, later), Ok(()));
        }
        assert_eq!(limits.request(ONE, later), Err(Refusal));
        drop(places);
        assert!(limits.connect(ONE, later).is_some());
    }

    #[test]
    fn who_left_is_forgotten() {
        let (limits, now) = (Limits::new(), Instant::now());
        drop(limits.connect(ONE, now).unwrap());
        let place = limits.connect(OTHER, now).unwrap();
        limits.request(OTHER, now).unwrap();
        drop(place);
        assert_eq!(limits.counts().guests.keys().copied().collect::<Vec<_>>(), [OTHER]);
        drop(limits.connect(ONE, now + Duration::from_secs(1)).unwrap());
        assert_eq!(limits.counts().guests.keys().copied().collect::<Vec<_>>(), [ONE]);
        assert_eq!(limits.counts().connections, 0);
    }

    #[test]
    fn a_vpc_has_a_limit() {
        let (limits, now) = (Limits::new(), Instant::now());
        let places: Vec<_> = (0..CONNECTIONS_MAX).map(|i| limits.connect(Ipv4Addr::from(i / 16), now).unwrap()).collect();
        assert!(limits.connect(ONE, now).is_none());
        drop(places);
        assert!(limits.connect(ONE, now).is_some());
    }
}

//! Which address a new interface gets.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// A subnet's addresses that nobody may use: the first four (network, router, DNS, future use) and the last ("Subnet CIDR blocks").
pub const SUBNET_RESERVED: u32 = 5;

/// The addresses of a subnet that interfaces may have; `None` if it has none (smaller than /29).
#[must_use]
pub fn subnet_range(subnet: Ipv4Net) -> Option<RangeInclusive<Ipv4Addr>> {
    range(subnet, 4)
}

/// The addresses of the public pool that may be given out: all but the first and the last.
#[must_use]
pub fn pool_range(pool: Ipv4Net) -> Option<RangeInclusive<Ipv4Addr>> {
    range(pool, 1)
}

fn range(net: Ipv4Net, reserved_first: u32) -> Option<RangeInclusive<Ipv4Addr>> {
    let first = u32::from(net.network()).checked_add(reserved_first)?;
    let last = u32::from(net.broadcast()).checked_sub(1)?;
    (first <= last).then(|| Ipv4Addr::from(first)..=Ipv4Addr::from(last))
}

/// How many addresses of a subnet are free when `used` interfaces have one (`AvailableIpAddressCount`).
#[must_use]
pub fn subnet_available(subnet: Ipv4Net, used: usize) -> u32 {
    let size = u64::from(u32::from(subnet.broadcast()) - u32::from(subnet.network())) + 1;
    let free = size.saturating_sub(u64::from(SUBNET_RESERVED)).saturating_sub(used as u64);
    u32::try_from(free).unwrap_or(u32::MAX)
}

/// A free address of a range, or `None` if there is none. The search begins `start` addresses after the first one (taken modulo the
/// range's size), and goes round: a random number makes it random, 0 makes it the lowest. Cheap as long as the range isn't nearly full.
pub fn free(range: &RangeInclusive<Ipv4Addr>, start: u32, is_used: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
    let (first, last) = (u32::from(*range.start()), u32::from(*range.end()));
    if first > last {
        return None;
    }
    let start = u32::try_from(u64::from(first) + u64::from(start) % (u64::from(last - first) + 1)).ok()?;
    (start..=last).chain(first..start).map(Ipv4Addr::from).find(|ip| !is_used(*ip))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn reserved_addresses_are_never_chosen() {
        let subnet: Ipv4Net = "10.0.0.0/28".parse().unwrap();
        let range = subnet_range(subnet).unwrap();
        let mut used = BTreeSet::new();
        for n in 0..11 {
            assert_eq!(subnet_available(subnet, used.len()), 11 - n);
            let ip = free(&range, n * 7919, |ip| used.contains(&ip)).unwrap();
            assert!(used.insert(ip));
        }
        assert_eq!(free(&range, 3, |ip| used.contains(&ip)), None);
        let all: BTreeSet<Ipv4Addr> = (4..15).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect();
        assert_eq!(used, all);
        assert_eq!(subnet_available(subnet, 11), 0);
    }

    #[test]
    fn the_lowest_or_from_a_random_start() {
        let range = subnet_range("172.31.0.0/20".parse().unwrap()).unwrap();
        assert_eq!(free(&range, 0, |_| false), Some("172.31.0.4".parse().unwrap()));
        assert_eq!(free(&range, 100, |_| false), Some("172.31.0.104".parse().unwrap()));
        assert_eq!(free(&range, u32::MAX, |_| false).map(|ip| range.contains(&ip)), Some(true));
        // Round the end.
        let taken: Ipv4Addr = "172.31.15.254".parse().unwrap();
        assert_eq!(free(&range, 4090, |ip| ip == taken), Some("172.31.0.4".parse().unwrap()));
    }

    #[test]
    fn edges() {
        assert_eq!(subnet_range("10.0.0.0/30".parse().unwrap()), None);
        assert_eq!(subnet_range("10.0.0.0/29".parse().unwrap()).unwrap().count(), 3);
        assert_eq!(subnet_available("10.0.0.0/32".parse().unwrap(), 0), 0);
        assert_eq!(pool_range("198.18.0.0/30".parse().unwrap()).unwrap().count(), 2);
        assert_eq!(pool_range("0.0.0.0/0".parse().unwrap()).map(|r| free(&r, 0, |_| false)), Some(Some("0.0.0.1".parse().unwrap())));
    }
}

//! The host names that addresses have ("Amazon EC2 instance hostnames and domains").

use crate::scope::Region;
use std::net::Ipv4Addr;

/// `ip-172-31-1-2.ec2.internal`.
#[must_use]
pub fn private_dns(region: &Region, ip: Ipv4Addr) -> String {
    let [a, b, c, d] = ip.octets();
    format!("ip-{a}-{b}-{c}-{d}.{}", region.internal_domain())
}

/// `ec2-198-18-0-1.compute-1.amazonaws.com`.
#[must_use]
pub fn public_dns(region: &Region, ip: Ipv4Addr) -> String {
    let [a, b, c, d] = ip.octets();
    format!("ec2-{a}-{b}-{c}-{d}.{}", region.public_domain())
}

/// The address in a name's first label, `ip-172-31-1-2`.
#[must_use]
pub fn address_of(label: &str) -> Option<Ipv4Addr> {
    label.strip_prefix("ip-")?.replace('-', ".").parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_back() {
        let (east, west) = ("us-east-1".parse().unwrap(), "eu-west-1".parse().unwrap());
        let ip = Ipv4Addr::new(172, 31, 1, 2);
        assert_eq!(private_dns(&east, ip), "ip-172-31-1-2.ec2.internal");
        assert_eq!(private_dns(&west, ip), "ip-172-31-1-2.eu-west-1.compute.internal");
        assert_eq!(public_dns(&east, ip), "ec2-172-31-1-2.compute-1.amazonaws.com");
        assert_eq!(address_of("ip-172-31-1-2"), Some(ip));
        assert_eq!(address_of("ip-1-2-3"), None);
        assert_eq!(address_of("www"), None);
    }
}

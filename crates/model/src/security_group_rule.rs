//! A security group's rules as EC2's calls write them: protocol, ports and addresses, read and written.

use crate::security_group::{Peer, Traffic};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Most rules of one direction that can let IPv4 in, and as many for IPv6 ("Amazon VPC quotas"). A group as a peer counts for both.
pub const RULES_MAX: usize = 60;
/// Longest description of a rule, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 255;

/// IANA's numbers of the protocols that have names here.
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// In place of a port, type or code: all of them. In place of a protocol: all of them.
const ALL: i32 = -1;

/// Why a protocol with its ports isn't taken. The text is AWS's; the code is `InvalidParameterValue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadTraffic {
    /// No such protocol.
    Protocol(String),
    /// TCP or UDP without both ports.
    PortsMissing,
    /// Ports that are out of range or the wrong way round.
    Ports(i32, i32),
    /// ICMP without both type and code, or out of range.
    Icmp,
    /// ICMPv6 of one type, which this cloud doesn't tell apart (its guests have no IPv6). The code is `Unsupported`.
    Icmpv6Type,
}

impl std::fmt::Display for BadTraffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Protocol(text) => write!(f, "Invalid value '{text}' for IP protocol. Unknown protocol."),
            Self::PortsMissing => f.write_str("Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange."),
            Self::Ports(from, to) => write!(f, "Invalid TCP/UDP port range ({from}:{to})"),
            Self::Icmp => f.write_str("Invalid value for ICMP type or code. Must be between -1 and 255, and the code -1 if the type is."),
            Self::Icmpv6Type => f.write_str("security group rules for one type of ICMPv6"),
        }
    }
}

impl Traffic {
    /// Reads `IpProtocol`, `FromPort` and `ToPort`. With a protocol that has neither ports nor types, the ports say nothing.
    ///
    /// # Errors
    /// [`BadTraffic`].
    pub fn parse(protocol: &str, from: Option<i32>, to: Option<i32>) -> Result<Self, BadTraffic> {
        let number = match protocol.to_ascii_lowercase().as_str() {
            "-1" | "all" => return Ok(Self::All),
            "tcp" => TCP,
            "udp" => UDP,
            "icmp" => ICMP,
            "icmpv6" => ICMPV6,
            text => text.parse::<u8>().map_err(|_| BadTraffic::Protocol(protocol.to_owned()))?,
        };
        match number {
            TCP => ports(from, to).map(|(from, to)| Self::Tcp(from, to)),
            UDP => ports(from, to).map(|(from, to)| Self::Udp(from, to)),
            ICMP => icmp(from, to),
            ICMPV6 if from.unwrap_or(ALL) != ALL || to.unwrap_or(ALL) != ALL => Err(BadTraffic::Icmpv6Type),
            other => Ok(Self::Protocol(other)),
        }
    }

    /// `tcp`, `udp`, `icmp`, `icmpv6`, `-1` for all, or a number.
    #[must_use]
    pub fn protocol(self) -> String {
        match self {
            Self::All => "-1".into(),
            Self::Tcp(..) => "tcp".into(),
            Self::Udp(..) => "udp".into(),
            Self::Icmp(..) => "icmp".into(),
            Self::Protocol(ICMPV6) => "icmpv6".into(),
            Self::Protocol(number) => number.to_string(),
        }
    }

    /// `FromPort` and `ToPort`, if the protocol has ports or types: -1 stands for all types or codes.
    #[must_use]
    pub fn ports(self) -> Option<(i32, i32)> {
        let icmp = |field: Option<u8>| field.map_or(ALL, i32::from);
        match self {
            Self::Tcp(from, to) | Self::Udp(from, to) => Some((from.into(), to.into())),
            Self::Icmp(kind, code) => Some((icmp(kind), icmp(code))),
            Self::Protocol(ICMPV6) => Some((ALL, ALL)),
            Self::All | Self::Protocol(_) => None,
        }
    }

    /// As errors speak of it: `TCP, from port: 22, to port: 22`.
    #[must_use]
    pub fn describe(self) -> String {
        let icmp = |field: Option<u8>| field.map_or_else(|| "ALL".into(), |v| v.to_string());
        match self {
            Self::All => "ALL".into(),
            Self::Tcp(from, to) => format!("TCP, from port: {from}, to port: {to}"),
            Self::Udp(from, to) => format!("UDP, from port: {from}, to port: {to}"),
            Self::Icmp(kind, code) => format!("ICMP, type: {}, code: {}", icmp(kind), icmp(code)),
            Self::Protocol(_) => self.protocol().to_uppercase(),
        }
    }
}

fn ports(from: Option<i32>, to: Option<i32>) -> Result<(u16, u16), BadTraffic> {
    let (from, to) = from.zip(to).ok_or(BadTraffic::PortsMissing)?;
    let bad = |_| BadTraffic::Ports(from, to);
    let range = (u16::try_from(from).map_err(bad)?, u16::try_from(to).map_err(bad)?);
    if range.0 <= range.1 { Ok(range) } else { Err(BadTraffic::Ports(from, to)) }
}

fn icmp(kind: Option<i32>, code: Option<i32>) -> Result<Traffic, BadTraffic> {
    let (kind, code) = kind.zip(code).ok_or(BadTraffic::Icmp)?;
    let field = |value: i32| if value == ALL { Ok(None) } else { u8::try_from(value).map(Some).map_err(|_| BadTraffic::Icmp) };
    match (field(kind)?, field(code)?) {
        (None, Some(_)) => Err(BadTraffic::Icmp),
        (kind, code) => Ok(Traffic::Icmp(kind, code)),
    }
}

impl Peer {
    /// Reads a range of IPv4 addresses. Bits beyond the prefix are cleared, as AWS does. `None`: "CIDR block … is malformed".
    #[must_use]
    pub fn ipv4(cidr: &str) -> Option<Self> {
        let (address, prefix) = range(cidr)?;
        Ipv4Net::new(address, prefix).ok().map(|net| Self::Ipv4(net.trunc()))
    }

    /// Reads a range of IPv6 addresses, likewise.
    #[must_use]
    pub fn ipv6(cidr: &str) -> Option<Self> {
        let (address, prefix) = range(cidr)?;
        Ipv6Net::new(address, prefix).ok().map(|net| Self::Ipv6(net.trunc()))
    }

    /// The range, if it is one.
    #[must_use]
    pub fn range(&self) -> Option<IpNet> {
        match self {
            Self::Ipv4(net) => Some((*net).into()),
            Self::Ipv6(net) => Some((*net).into()),
            Self::Group(_) => None,
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ipv4(net) => net.fmt(f),
            Self::Ipv6(net) => net.fmt(f),
            Self::Group(id) => id.fmt(f),
        }
    }
}

/// An address and a prefix. ipnet's own parser would also take no prefix, and leading zeros, which could mean octal.
fn range<A: std::str::FromStr>(cidr: &str) -> Option<(A, u8)> {
    let (address, prefix) = cidr.split_once('/')?;
    let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    Some((address.parse().ok()?, digits.then(|| prefix.parse().ok()).flatten()?))
}

/// Whether a rule may have this description.
#[must_use]
pub fn description_ok(text: &str) -> bool {
    text.chars().count() <= DESCRIPTION_CHARS_MAX && text.chars().all(|c| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c))
}

/// Whether a group with rules for these peers in one direction is within the quota.
pub fn rules_fit<'a>(peers: impl Iterator<Item = &'a Peer>) -> bool {
    let (mut ipv4, mut ipv6) = (0, 0);
    for peer in peers {
        ipv4 += usize::from(!matches!(peer, Peer::Ipv6(_)));
        ipv6 += usize::from(!matches!(peer, Peer::Ipv4(_)));
    }
    ipv4 <= RULES_MAX && ipv6 <= RULES_MAX
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn protocols_and_ports_there_and_back() {
        for (protocol, from, to, traffic) in [
            ("-1", None, None, Traffic::All),
            ("-1", Some(22), Some(22), Traffic::All),
            ("tcp", Some(22), Some(22), Traffic::Tcp(22, 22)),
            ("TCP", Some(0), Some(65_535), Traffic::Tcp(0, 65_535)),
            ("6", Some(22), Some(23), Traffic::Tcp(22, 23)),
            ("17", Some(53), Some(53), Traffic::Udp(53, 53)),
            ("icmp", Some(-1), Some(-1), Traffic::Icmp(None, None)),
            ("icmp", Some(8), Some(-1), Traffic::Icmp(Some(8), None)),
            ("1", Some(3), Some(4), Traffic::Icmp(Some(3), Some(4))),
            ("icmpv6", None, None, Traffic::Protocol(58)),
            ("58", Some(-1), Some(-1), Traffic::Protocol(58)),
            ("50", Some(1), None, Traffic::Protocol(50)),
        ] {
            let parsed = Traffic::parse(protocol, from, to);
            assert_eq!(parsed, Ok(traffic), "{protocol} {from:?} {to:?}");
            let (from, to) = traffic.ports().unzip();
            assert_eq!(Traffic::parse(&traffic.protocol(), from, to), Ok(traffic), "again {protocol}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (protocol, from, to, bad) in [
            ("tpc", None, None, BadTraffic::Protocol("tpc".into())),
            ("256", None, None, BadTraffic::Protocol("256".into())),
            ("", None, None, BadTraffic::Protocol(String::new())),
            ("tcp", Some(22), None, BadTraffic::PortsMissing),
            ("udp", None, None, BadTraffic::PortsMissing),
            ("tcp", Some(80), Some(22), BadTraffic::Ports(80, 22)),
            ("tcp", Some(-1), Some(-1), BadTraffic::Ports(-1, -1)),
            ("udp", Some(0), Some(65_536), BadTraffic::Ports(0, 65_536)),
            ("icmp", None, None, BadTraffic::Icmp),
            ("icmp", Some(-1), Some(0), BadTraffic::Icmp),
            ("icmp", Some(256), Some(0), BadTraffic::Icmp),
            ("icmpv6", Some(128), Some(0), BadTraffic::Icmpv6Type),
        ] {
            assert_eq!(Traffic::parse(protocol, from, to), Err(bad), "{protocol} {from:?} {to:?}");
        }
    }

    #[test]
    fn host_bits_are_cleared() {
        assert_eq!(Peer::ipv4("10.0.0.5/24").unwrap().to_string(), "10.0.0.0/24");
        assert_eq!(Peer::ipv6("2001:db8::1/32").unwrap().to_string(), "2001:db8::/32");
        assert_eq!(Peer::ipv4("10.0.0.5/32").unwrap().to_string(), "10.0.0.5/32");
        for bad in
            ["10.0.0.0", "10.0.0.0/33", "10.0.0/24", "10.0.0.0/-1", "", "::/0", "010.0.0.0/8", "10.0.0.0/24 ", "10.0.0.0/+8", "10.0.0.0/"]
        {
            assert_eq!(Peer::ipv4(bad), None, "{bad}");
        }
        for bad in ["::", "::/129", "0.0.0.0/0", "x/64"] {
            assert_eq!(Peer::ipv6(bad), None, "{bad}");
        }
    }

    #[test]
    fn descriptions() {
        assert!(description_ok("") && description_ok("ssh from (office) #1, a@b: $5*"));
        assert!(description_ok(&"x".repeat(255)) && !description_ok(&"x".repeat(256)));
        assert!(!description_ok("ä") && !description_ok("a\nb") && !description_ok("<b>") && !description_ok("it's"));
    }

    #[test]
    fn the_quota_counts_each_family() {
        let (v4, v6) = (Peer::ipv4("10.0.0.0/8").unwrap(), Peer::ipv6("::/0").unwrap());
        let group = Peer::Group("sg-01234567".parse().unwrap());
        let fits = |a: usize, b: usize, c: usize| {
            let all = [vec![&v4; a], vec![&v6; b], vec![&group; c]].concat();
            rules_fit(all.into_iter())
        };
        assert!(fits(60, 60, 0) && fits(0, 0, 60) && fits(59, 59, 1));
        assert!(!fits(61, 0, 0) && !fits(0, 61, 0) && !fits(60, 0, 1) && !fits(0, 60, 1));
    }
}

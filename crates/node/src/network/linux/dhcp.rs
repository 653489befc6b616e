//! DHCP for a VPC's guests (RFC 2131, 2132): each interface's lease is its fixed address, so nothing is kept.

use super::links::{router, vpc_dns};
use super::vpc::{Seen, View};
use anyhow::{Context as _, Result};
use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable as _, Decoder, Encodable as _, Encoder};
use ipnet::Ipv4Net;
use model::network::InterfaceWanted;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrLike as _, bind, recvmsg,
    setsockopt, socket, sockopt,
};
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use tokio::io::unix::AsyncFd;

/// How long a lease is good for, in seconds; AWS's.
const LEASE_SECONDS: u32 = 3600;
/// Longest request that is read.
const REQUEST_BYTES_MAX: usize = 1500;
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// The hops that a reply may travel; it travels none.
const TTL: u8 = 64;
/// Shortest message that every client takes (RFC 951), in bytes.
const MESSAGE_BYTES_MIN: usize = 300;
/// How long to wait after a socket failed.
const FAILURE_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// The sockets of one VPC's server, opened inside its namespace.
pub(super) struct Sockets {
    requests: OwnedFd,
    /// Replies go out as packets: their receiver has no address yet.
    replies: OwnedFd,
}

impl Sockets {
    /// Opens them; the calling thread has entered the namespace.
    pub(super) fn open() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let requests = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        setsockopt(&requests, sockopt::Ipv4PacketInfo, &true)?;
        let any = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT));
        bind(requests.as_raw_fd(), &any).context("can't open the DHCP port")?;
        let replies = socket(AddressFamily::Packet, SockType::Datagram, flags, None::<SockProtocol>)?;
        Ok(Self { requests, replies })
    }
}

/// Answers until it is dropped.
pub(super) async fn serve(sockets: &Sockets, view: &View) {
    // SAFETY: the socket is borrowed by what it is registered with, and so stays open as long.
    #[allow(unsafe_code)]
    let requests = match unsafe { AsyncFd::register_with_interest(sockets.requests.as_fd(), tokio::io::Interest::READABLE) } {
        Ok(requests) => requests,
        Err(error) => return tracing::error!(%error, "DHCP can't be served"),
    };
    loop {
        let Ok(mut ready) = requests.readable().await else { return };
        match ready.try_io(|_| receive(&sockets.requests)) {
            Ok(Ok((bytes, index))) => {
                if let Err(error) = reply(&sockets.replies, &view.seen(), &bytes, index) {
                    tracing::debug!(error = format!("{error:#}"), "a DHCP request was not answered");
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "a DHCP request was not read");
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
            Err(_would_block) => {}
        }
    }
}

/// A request and the number of the interface that it came by.
fn receive(fd: &OwnedFd) -> std::io::Result<(Vec<u8>, i32)> {
    let mut buffer = [0u8; REQUEST_BYTES_MAX];
    let mut control = nix::cmsg_space!(nix::libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<SockaddrIn>(fd.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let index =
        message.cmsgs()?.find_map(|c| if let ControlMessageOwned::Ipv4PacketInfo(info) = c { Some(info.ipi_ifindex) } else { None });
    let bytes = message.bytes;
    let index = index.ok_or_else(|| std::io::Error::other("no packet information"))?;
    Ok((buffer[..bytes].to_vec(), index))
}

/// The hardware type and address length of Ethernet (RFC 2131, figure 1: the second and third byte).
const ETHERNET: [u8; 2] = [1, 6];

fn reply(socket: &OwnedFd, seen: &Seen, bytes: &[u8], index: i32) -> Result<()> {
    // The codec trusts the length that a message gives for its address, and would read past it.
    anyhow::ensure!(bytes.get(1..3) == Some(&ETHERNET), "not from Ethernet");
    let request = Message::decode(&mut Decoder::new(bytes)).context("not a DHCP message")?;
    let interface = seen.interface(index).context("an unknown interface")?;
    anyhow::ensure!(request.opcode() == Opcode::BootRequest && request.chaddr() == interface.mac.0, "not from this interface's guest");
    let subnet = seen.vpc.subnets.get(&interface.subnet_id).context("an interface outside all subnets")?;
    let Some(answer) = answer(seen, interface, subnet, &request) else { return Ok(()) };
    let mut payload = Vec::with_capacity(512);
    answer.encode(&mut Encoder::new(&mut payload))?;
    payload.resize(payload.len().max(MESSAGE_BYTES_MIN), 0);
    let packet = udp_packet(router(subnet), destination(&request, &answer), &payload);
    send(socket, index, interface.mac.0, &packet)
}

/// Where a reply goes (RFC 2131, 4.1): to the address that the client has, else to the one it gets, if it can hear that.
fn destination(request: &Message, answer: &Message) -> Ipv4Addr {
    let nak = answer.opts().has_msg_type(MessageType::Nak);
    if !nak && !request.ciaddr().is_unspecified() {
        request.ciaddr()
    } else if nak || request.flags().broadcast() || answer.yiaddr().is_unspecified() {
        Ipv4Addr::BROADCAST
    } else {
        answer.yiaddr()
    }
}

/// What a request is answered with, if it is.
fn answer(seen: &Seen, interface: &InterfaceWanted, subnet: &Ipv4Net, request: &Message) -> Option<Message> {
    let router = router(subnet);
    let asked = match request.opts().get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(ip)) => Some(*ip),
        _ => None,
    };
    let for_us = match request.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(ip)) => *ip == router,
        _ => true,
    };
    let claimed = asked.or_else(|| Some(request.ciaddr()).filter(|ip| !ip.is_unspecified()));
    let own = claimed.is_none_or(|ip| ip == interface.private_ip);
    let kind = request.opts().msg_type()?;
    // A release or a refusal changes nothing: the address is the interface's own.
    let kind = if kind == MessageType::Discover {
        MessageType::Offer
    } else if kind == MessageType::Inform {
        MessageType::Ack
    } else if kind == MessageType::Request && for_us {
        if own { MessageType::Ack } else { MessageType::Nak }
    } else {
        return None;
    };
    let mut reply = Message::default();
    reply.set_opcode(Opcode::BootReply).set_xid(request.xid()).set_flags(request.flags()).set_chaddr(request.chaddr());
    let options = reply.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(router));
    if kind == MessageType::Nak {
        return Some(reply);
    }
    let name = seen.vpc.region.private_name(interface.private_ip);
    options.insert(DhcpOption::SubnetMask(subnet.netmask()));
    options.insert(DhcpOption::BroadcastAddr(subnet.broadcast()));
    options.insert(DhcpOption::Router(vec![router]));
    options.insert(DhcpOption::DomainNameServer(vec![vpc_dns(&seen.vpc)]));
    options.insert(DhcpOption::DomainName(seen.vpc.region.internal_domain()));
    options.insert(DhcpOption::Hostname(name.split('.').next().unwrap_or_default().into()));
    options.insert(DhcpOption::InterfaceMtu(seen.mtu));
    if request.opts().has_msg_type(MessageType::Inform) {
        // The client has its address already, by other means (RFC 2131, 4.3.5).
        reply.set_ciaddr(request.ciaddr());
    } else {
        reply.opts_mut().insert(DhcpOption::AddressLeaseTime(LEASE_SECONDS));
        reply.set_yiaddr(interface.private_ip).set_siaddr(router);
    }
    Some(reply)
}

/// An IPv4 packet with a UDP datagram from the server to a client that may have no address yet, with whole checksums.
fn udp_packet(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let udp_length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let total = udp_length.saturating_add(20);
    let mut packet = Vec::with_capacity(usize::from(total));
    packet.extend([0x45, 0x10]);
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, TTL, 17, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(&packet, 0);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut pseudo = Vec::with_capacity(12);
    pseudo.extend(from.octets());
    pseudo.extend(to.octets());
    pseudo.extend([0, 17]);
    pseudo.extend(udp_length.to_be_bytes());
    let mut udp = Vec::with_capacity(usize::from(udp_length));
    udp.extend(SERVER_PORT.to_be_bytes());
    udp.extend(CLIENT_PORT.to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let sum = checksum(&udp, u32::from(!checksum(&pseudo, 0)));
    udp[6..8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
    packet.extend(udp);
    packet
}

/// The internet checksum (RFC 1071) over `bytes`, begun at `start`.
fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

fn send(socket: &OwnedFd, index: i32, mac: [u8; 6], packet: &[u8]) -> Result<()> {
    let mut address = nix::libc::sockaddr_ll {
        sll_family: u16::try_from(nix::libc::AF_PACKET)?,
        sll_protocol: 0x0800_u16.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    address.sll_addr[..6].copy_from_slice(&mac);
    // SAFETY: the pointer is to a whole sockaddr_ll, whose length is given.
    #[allow(unsafe_code)]
    let link = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(u32::try_from(size_of_val(&address))?)) };
    let link = link.context("not a link address")?;
    nix::sys::socket::sendto(socket.as_fd().as_raw_fd(), packet, &link, MsgFlags::empty())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::network::contract;

    #[test]
    fn checksums_are_whole() {
        let packet = udp_packet([172, 31, 0, 1].into(), Ipv4Addr::BROADCAST, b"payload");
        assert_eq!(checksum(&packet[..20], 0), 0);
        assert_eq!(packet.len(), 35);
    }

    /// What interface 1 (172.31.0.10) is answered.
    fn asked(kind: MessageType, change: impl FnOnce(&mut Message)) -> Option<(MessageType, Message, Ipv4Addr)> {
        let mut vpc = contract::vpc(1);
        contract::join(&mut vpc, 1, "172.31.0.10", &[contract::group_id(1)]);
        let seen = Seen::of(vpc);
        let interface = seen.interface(2).unwrap();
        let mut request = Message::default();
        request.set_chaddr(&interface.mac.0).opts_mut().insert(DhcpOption::MessageType(kind));
        change(&mut request);
        let reply = answer(&seen, interface, &seen.vpc.subnets[&interface.subnet_id], &request)?;
        Some((reply.opts().msg_type().unwrap(), reply.clone(), destination(&request, &reply)))
    }

    #[test]
    fn each_message_is_answered_as_rfc_2131_says() {
        let own: Ipv4Addr = [172, 31, 0, 10].into();
        let router: Ipv4Addr = [172, 31, 0, 1].into();
        let request_ip = |ip: Ipv4Addr| move |m: &mut Message| _ = m.opts_mut().insert(DhcpOption::RequestedIpAddress(ip));

        let (kind, offer, to) = asked(MessageType::Discover, |_| ()).unwrap();
        assert_eq!((kind, offer.yiaddr(), to), (MessageType::Offer, own, own));
        assert_eq!(offer.opts().get(OptionCode::Router), Some(&DhcpOption::Router(vec![router])));
        assert_eq!(offer.opts().get(OptionCode::DomainNameServer), Some(&DhcpOption::DomainNameServer(vec![[172, 31, 0, 2].into()])));
        assert_eq!(offer.opts().get(OptionCode::Hostname), Some(&DhcpOption::Hostname("ip-172-31-0-10".into())));
        assert_eq!(offer.opts().get(OptionCode::InterfaceMtu), Some(&DhcpOption::InterfaceMtu(9001)));
        assert_eq!(offer.opts().get(OptionCode::SubnetMask), Some(&DhcpOption::SubnetMask([255, 255, 240, 0].into())));

        assert_eq!(asked(MessageType::Request, request_ip(own)).unwrap().0, MessageType::Ack);
        let (kind, nak, to) = asked(MessageType::Request, request_ip([172, 31, 0, 11].into())).unwrap();
        assert_eq!((kind, nak.yiaddr(), to), (MessageType::Nak, Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST));
        // A renewal is answered where the client listens.
        let (kind, _, to) = asked(MessageType::Request, |m| _ = m.set_ciaddr(own)).unwrap();
        assert_eq!((kind, to), (MessageType::Ack, own));
        assert!(asked(MessageType::Request, |m| _ = m.opts_mut().insert(DhcpOption::ServerIdentifier([1, 1, 1, 1].into()))).is_none());
        let (kind, inform, _) = asked(MessageType::Inform, |m| _ = m.set_ciaddr(own)).unwrap();
        assert_eq!((kind, inform.yiaddr()), (MessageType::Ack, Ipv4Addr::UNSPECIFIED));
        assert!(inform.opts().get(OptionCode::AddressLeaseTime).is_none());
        assert!(asked(MessageType::Release, |_| ()).is_none());
        assert!(asked(MessageType::Decline, |_| ()).is_none());
    }
}

//! DHCP for a VPC's guests (RFC 2131, 2132): each interface's lease is its fixed address, so nothing is kept.

use super::VpcState;
use super::links::{tap_name, vpc_dns};
use anyhow::{Context as _, Result};
use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable as _, Decoder, Encodable as _, Encoder};
use model::network::{InterfaceWanted, VpcWanted};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrLike as _, bind, recvmsg,
    setsockopt, socket, sockopt,
};
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use tokio::io::unix::AsyncFd;

/// How long a lease is good for, in seconds; AWS's.
const LEASE_SECONDS: u32 = 3600;
/// Longest request that is read.
const REQUEST_BYTES_MAX: usize = 1500;
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// What the next router may see of a reply's hops.
const TTL: u8 = 64;

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
pub(super) async fn serve(sockets: Sockets, state: Arc<VpcState>) {
    // SAFETY: the socket is owned by what it is registered with, and so stays open as long.
    #[allow(unsafe_code)]
    let Ok(requests) = (unsafe { AsyncFd::register(sockets.requests) }) else { return };
    loop {
        let Ok(mut ready) = requests.readable().await else { return };
        match ready.try_io(|fd| receive(fd.get_ref())) {
            Ok(Ok((bytes, index))) => {
                if let Err(error) = reply(&sockets.replies, &state, &bytes, index) {
                    tracing::debug!(error = format!("{error:#}"), "a DHCP request was not answered");
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "a DHCP request was not read"),
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

fn reply(socket: &OwnedFd, state: &VpcState, bytes: &[u8], index: i32) -> Result<()> {
    let request = Message::decode(&mut Decoder::new(bytes)).context("not a DHCP message")?;
    let wanted = state.wanted();
    let name = state.tap_by_index(index).context("an unknown interface")?;
    let interface = wanted.interfaces.iter().find(|(id, _)| tap_name(id) == name).map(|(_, i)| i).context("an unknown interface")?;
    anyhow::ensure!(request.opcode() == Opcode::BootRequest && request.chaddr() == interface.mac.0, "not from this interface's guest");
    let Some(answer) = answer(&wanted, interface, &request, state.mtu) else { return Ok(()) };
    let mut payload = Vec::with_capacity(512);
    answer.encode(&mut Encoder::new(&mut payload))?;
    let router = router_of(&wanted, interface).context("an interface outside all subnets")?;
    let packet = udp_packet(router, &payload);
    send(socket, index, interface.mac.0, &packet)
}

fn router_of(wanted: &VpcWanted, interface: &InterfaceWanted) -> Option<Ipv4Addr> {
    let subnet = wanted.subnets.get(&interface.subnet_id)?;
    Some(Ipv4Addr::from(u32::from(subnet.network()) + 1))
}

/// What a request is answered with, if it is.
fn answer(wanted: &VpcWanted, interface: &InterfaceWanted, request: &Message, mtu: u16) -> Option<Message> {
    let router = router_of(wanted, interface)?;
    let subnet = wanted.subnets.get(&interface.subnet_id)?;
    let asked = match request.opts().get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(ip)) => Some(*ip),
        _ => None,
    };
    let for_us = match request.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(ip)) => *ip == router,
        _ => true,
    };
    let kind = match request.opts().get(OptionCode::MessageType) {
        Some(DhcpOption::MessageType(kind)) => *kind,
        _ => return None,
    };
    let claimed = asked.or_else(|| Some(request.ciaddr()).filter(|ip| !ip.is_unspecified()));
    let kind = if kind == MessageType::Discover {
        MessageType::Offer
    } else if kind == MessageType::Inform || (kind == MessageType::Request && for_us && claimed.is_none_or(|ip| ip == interface.private_ip))
    {
        MessageType::Ack
    } else if kind == MessageType::Request && for_us {
        MessageType::Nak
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
    let name = model::names::private_dns(&wanted.region, interface.private_ip);
    options.insert(DhcpOption::AddressLeaseTime(LEASE_SECONDS));
    options.insert(DhcpOption::SubnetMask(subnet.netmask()));
    options.insert(DhcpOption::Router(vec![router]));
    options.insert(DhcpOption::DomainNameServer(vec![vpc_dns(wanted)]));
    options.insert(DhcpOption::DomainName(wanted.region.internal_domain()));
    options.insert(DhcpOption::Hostname(name.split('.').next().unwrap_or_default().into()));
    options.insert(DhcpOption::InterfaceMtu(mtu));
    reply.set_yiaddr(interface.private_ip).set_siaddr(router);
    Some(reply)
}

/// An IPv4 packet with a UDP datagram from the server to a client that may have no address yet, with whole checksums.
fn udp_packet(from: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let udp_length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let total = udp_length.saturating_add(20);
    let mut packet = Vec::with_capacity(usize::from(total));
    packet.extend([0x45, 0x10]);
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, TTL, 17, 0, 0]);
    packet.extend(from.octets());
    packet.extend(Ipv4Addr::BROADCAST.octets());
    let sum = checksum(&packet, 0);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut pseudo = Vec::with_capacity(12);
    pseudo.extend(from.octets());
    pseudo.extend(Ipv4Addr::BROADCAST.octets());
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
    use super::*;

    #[test]
    fn checksums_are_whole() {
        let packet = udp_packet([172, 31, 0, 1].into(), b"payload");
        assert_eq!(checksum(&packet[..20], 0), 0);
        assert_eq!(packet.len(), 35);
    }
}

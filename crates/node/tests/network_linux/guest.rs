//! A guest without a machine: Linux's own network stack in a namespace, behind a tap.
#![allow(unsafe_code)]

use crate::world::{Netns, PATIENCE, SILENCE, ip};
use model::network_interface::Mac;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest frame with its offload header.
const FRAME_BYTES_MAX: usize = 70_000;

nix::ioctl_write_ptr_bad!(tun_set_iff, nix::request_code_write!(b'T', 202, size_of::<nix::libc::c_int>()), nix::libc::c_int);
nix::ioctl_write_int_bad!(tun_set_offload, nix::request_code_write!(b'T', 208, size_of::<nix::libc::c_uint>()));

/// A guest; it powers off when dropped.
pub(crate) struct Guest {
    pub(crate) ns: Netns,
    pub(crate) address: Ipv4Addr,
    /// While this is open, frames are carried.
    power: Option<PipeWriter>,
    carrier: Option<JoinHandle<()>>,
}

impl Guest {
    /// Plugs a guest with this Ethernet address in.
    pub(crate) fn start(tap: OwnedFd, mac: Mac, address: Ipv4Addr) -> Self {
        let ns = Netns::new();
        let own = ns.run(|| {
            let own = open_tap("eth0");
            ip(&format!("link set dev eth0 address {mac} mtu 9001 up\n"));
            own
        });
        // No offloads: each frame is whole.
        unsafe { tun_set_offload(tap.as_raw_fd(), 0) }.unwrap();
        let (halt, power) = std::io::pipe().unwrap();
        let carrier = std::thread::spawn(move || carry(&tap, &own, &halt));
        Self { ns, address, power: Some(power), carrier: Some(carrier) }
    }

    /// Opens a port that answers each connection with the address that it sees at the other end, and then whatever it is sent.
    pub(crate) fn serve_tcp(&self, port: u16) {
        serve_tcp(&self.ns, port);
    }

    /// Opens a UDP port that echoes.
    pub(crate) fn serve_udp(&self, port: u16) {
        let socket = self.ns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((n, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..n], from);
            }
        });
    }

    /// Connects; gives the address that the server saw, and the connection.
    pub(crate) fn connect(&self, to: Ipv4Addr, port: u16) -> Option<(Ipv4Addr, TcpStream)> {
        connect(&self.ns, to, port)
    }

    /// Whether a connection is refused, by silence or aloud.
    pub(crate) fn is_refused(&self, to: Ipv4Addr, port: u16) -> bool {
        self.ns.run(|| TcpStream::connect_timeout(&SocketAddr::from((to, port)), SILENCE).is_err())
    }

    /// A UDP socket of the guest's.
    pub(crate) fn udp(&self) -> UdpSocket {
        self.ns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.power = None;
        if let Some(carrier) = self.carrier.take() {
            carrier.join().unwrap();
        }
    }
}

/// Opens a port in a namespace: see [`Guest::serve_tcp`].
pub(crate) fn serve_tcp(ns: &Netns, port: u16) {
    let listener = ns.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            std::thread::spawn(move || {
                let SocketAddr::V4(from) = from else { return };
                let mut buffer = [0; 2048];
                if stream.write_all(&from.ip().octets()).is_err() {
                    return;
                }
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Connects from a namespace: see [`Guest::connect`].
pub(crate) fn connect(ns: &Netns, to: Ipv4Addr, port: u16) -> Option<(Ipv4Addr, TcpStream)> {
    ns.run(|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((to, port)), PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut seen = [0; 4];
        stream.read_exact(&mut seen).ok()?;
        Some((seen.into(), stream))
    })
}

/// Whether what is written to an echoing connection comes back.
pub(crate) fn tcp_echoes(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut back = [0; 4];
    stream.write_all(b"echo").is_ok() && stream.read_exact(&mut back).is_ok() && back == *b"echo"
}

/// Whether a datagram comes back. One that was sent into a namespace just being changed may be lost, so several are.
pub(crate) fn udp_echoes(socket: &UdpSocket, to: Ipv4Addr, port: u16) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut back = [0; 16];
    let end = Instant::now() + SILENCE;
    while Instant::now() < end {
        let _ = socket.send_to(b"echo", (to, port));
        if socket.recv_from(&mut back).is_ok_and(|(n, from)| n == 4 && from.port() == port) {
            return true;
        }
    }
    false
}

/// Asks again until it is so.
pub(crate) fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn open_tap(name: &str) -> OwnedFd {
    let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    let mut request: nix::libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = nix::libc::c_char::try_from(from).unwrap();
    }
    let flags = nix::libc::IFF_TAP | nix::libc::IFF_NO_PI | nix::libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap();
    unsafe { tun_set_iff(file.as_raw_fd(), (&raw const request).cast()) }.unwrap();
    file.into()
}

/// Carries frames both ways until it is told to stop, or a device is gone.
fn carry(a: &OwnedFd, b: &OwnedFd, halt: &PipeReader) {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    loop {
        let mut fds = [a.as_fd(), b.as_fd(), halt.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        poll(&mut fds, PollTimeout::NONE).unwrap();
        let ready = fds.map(|fd| fd.revents().unwrap());
        if ready[2].contains(PollFlags::POLLHUP) {
            return;
        }
        for (ready, from, to) in [(ready[0], a, b), (ready[1], b, a)] {
            if ready.contains(PollFlags::POLLIN) {
                let Ok(n) = nix::unistd::read(from, &mut buffer) else { return };
                // A device that is down or full drops the frame, as a cable would.
                let _ = nix::unistd::write(to, &buffer[..n]);
            } else if ready.intersects(PollFlags::POLLERR | PollFlags::POLLHUP) {
                return;
            }
        }
    }
}

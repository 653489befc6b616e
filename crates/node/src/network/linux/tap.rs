//! Taps: a guest's device in its VPC's namespace, and the way back from an open tap to its namespace.

use super::namespace::sysctl;
use anyhow::{Context as _, Result, ensure};
use nix::libc;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The flags that every tap is opened with.
const TAP_FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// Makes a tap in the calling thread's namespace that stays when nobody has it open.
pub(super) fn create(name: &str) -> Result<()> {
    let tap = open(name)?;
    // SAFETY: the descriptor is open, and the argument is a plain number.
    #[allow(unsafe_code)]
    unsafe { tun_set_persist(tap.as_raw_fd(), 1) }.with_context(|| format!("can't keep the tap {name}"))?;
    // Else the first ARP request waits up to 0.8 s for its answer.
    sysctl(&format!("ipv4/neigh/{name}/proxy_delay"), "0")?;
    sysctl(&format!("ipv4/conf/{name}/proxy_arp"), "1")
}

/// Opens a tap of the calling thread's namespace; makes it if it isn't there.
pub(super) fn open(name: &str) -> Result<OwnedFd> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").context("can't open /dev/net/tun")?;
    let mut request = new_request();
    ensure!(name.len() < request.ifr_name.len(), "{name} is too long for a link's name");
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::try_from(from)?;
    }
    request.ifr_ifru.ifru_flags = i16::try_from(TAP_FLAGS)?;
    // SAFETY: the descriptor is open and the request a whole ifreq.
    #[allow(unsafe_code)]
    unsafe { tun_set_iff(file.as_raw_fd(), (&raw const request).cast()) }.with_context(|| format!("can't open the tap {name}"))?;
    Ok(file.into())
}

nix::ioctl_write_ptr_bad!(
    /// TUNSETIFF of linux/if_tun.h.
    tun_set_iff,
    nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
    libc::c_int
);

nix::ioctl_write_int_bad!(
    /// TUNSETPERSIST of linux/if_tun.h.
    tun_set_persist,
    nix::request_code_write!(b'T', 203, size_of::<libc::c_int>())
);

fn new_request() -> libc::ifreq {
    // SAFETY: an ifreq is plain data, for which zeros are valid.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::zeroed()
    }
}

/// The namespace of the taps with these names that a process of these has open. An open tap keeps its namespace, so this finds one that has
/// lost its holder. `None` if no process has such a tap.
pub(super) fn namespace_behind(taps: &BTreeSet<String>, processes: &[i32]) -> Result<Option<File>> {
    for &pid in processes {
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
            if tap_name_of(pid, number).is_some_and(|name| taps.contains(&name)) {
                return namespace_of(pid, number).map(Some).with_context(|| format!("can't take up the namespace of process {pid}'s tap"));
            }
        }
    }
    Ok(None)
}

/// The tap that a process has open under this number, if it is one (`tun_chr_show_fdinfo` of the kernel).
fn tap_name_of(pid: i32, number: RawFd) -> Option<String> {
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
    info.lines().find_map(|line| Some(line.strip_prefix("iff:")?.trim().to_owned()))
}

#[allow(unsafe_code)]
fn namespace_of(pid: i32, number: RawFd) -> Result<File> {
    let owned = |fd: libc::c_long| -> Result<OwnedFd> {
        nix::errno::Errno::result(fd)?;
        // SAFETY: the call that gave this descriptor made it, so it has no other owner.
        Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd)?) })
    };
    // SAFETY: each call takes integers only.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).context("pidfd_open")?;
    // SAFETY: as above.
    let tap = owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) }).context("pidfd_getfd")?;
    // SAFETY: as above.
    let namespace =
        owned(libc::c_long::from(unsafe { libc::ioctl(tap.as_raw_fd(), TUN_GET_DEVICE_NAMESPACE) })).context("TUNGETDEVNETNS")?;
    Ok(File::from(namespace))
}

/// TUNGETDEVNETNS of linux/if_tun.h.
const TUN_GET_DEVICE_NAMESPACE: libc::c_ulong = nix::request_code_none!(b'T', 227);

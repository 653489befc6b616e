//! VPCs as network namespaces of Linux. (The experiments behind each line: docs/decisions/0003-network.md.)

mod dhcp;
mod dns;
mod fabric;
mod host_route;
mod links;
mod namespace;
mod ntp;
mod pasta;
mod ruleset;
mod supervise;
mod table;
mod tap;
#[cfg(test)]
mod tests;
mod vpc;

use super::{Network, WayOut};
use crate::Result;
use crate::directory::Directory;
use crate::metadata::Tokens;
use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use fabric::Fabric;
use ipnet::Ipv4Net;
use model::ids::{NetworkInterfaceId, VpcId};
use model::network::VpcWanted;
use namespace::Namespace;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use vpc::Vpc;

/// How often namespaces and the way out are looked after, if nothing calls for it.
const TEND_PERIOD: Duration = Duration::from_secs(2);
/// How much of a notice of the kernel's is read at one time, in bytes.
const NOTICE_BYTES_MAX: usize = 8 << 10;

/// How guests reach out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uplink {
    /// Through `pasta`, without touching the host's network.
    Pasta,
    /// Through a pair of devices, `pileus-…` in the server's own namespace, with a route to the public addresses. Whether and how that
    /// namespace passes their packets on is up to who configures it. The fast way, and the only one by which the outside reaches in.
    Veth,
    /// Not at all.
    None,
}

/// What the driver is to know.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The cloud's data directory: its path tells this cloud's namespaces from those of others on the machine.
    pub data_dir: PathBuf,
    /// How guests reach out.
    pub uplink: Uplink,
    /// Where public addresses come from.
    pub public_pool: Ipv4Net,
    /// Private ranges that guests may reach through the way out.
    pub allow_private: Vec<Ipv4Net>,
    /// The largest packet between guests, in bytes.
    pub mtu: u16,
    /// The user that `pasta` runs as; its group has the same number.
    pub pasta_uid: u32,
}

/// The driver.
pub struct LinuxNetwork {
    context: Arc<Context>,
    vpcs: Arc<Vpcs>,
    tending: tokio::task::JoinHandle<()>,
}

type Vpcs = Mutex<BTreeMap<VpcId, Arc<AsyncMutex<Vpc>>>>;

/// What every VPC needs.
struct Context {
    config: NetworkConfig,
    directory: Arc<dyn Directory>,
    tokens: Tokens,
    fabric: Fabric,
}

impl LinuxNetwork {
    /// Opens the fabric and finds the VPCs that stand already. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If namespaces can't be made, or a tool (`ip`, `nft`) is missing. A missing way out is no error: see [`Network::way_out`].
    pub fn new(mut config: NetworkConfig, directory: Arc<dyn Directory>, tokens: Tokens) -> Result<Self> {
        config.data_dir = one_path(&config.data_dir)?;
        let mut vpcs = BTreeMap::new();
        let mut found = None;
        for (name, namespace) in Namespace::find(&config.data_dir)? {
            if name == fabric::NAME {
                found = Some(namespace);
            } else if let Ok(id) = name.parse::<VpcId>() {
                vpcs.insert(id.clone(), Arc::new(AsyncMutex::new(Vpc::new(id, Some(namespace)))));
            }
        }
        let fabric = Fabric::open(&config, found).context("can't open the fabric")?;
        if config.uplink != Uplink::Veth {
            host_route::unreachable_add(config.public_pool);
        }
        let context = Arc::new(Context { config, directory, tokens, fabric });
        let addresses = address_changes().context("can't watch the host's addresses")?;
        let vpcs = Arc::new(Mutex::new(vpcs));
        let tending = tokio::spawn(tend(context.clone(), vpcs.clone(), addresses));
        Ok(Self { context, vpcs, tending })
    }

    /// A number that is another one once all processes that hold this cloud's namespaces were killed, and the server with them.
    ///
    /// # Errors
    /// If the kernel doesn't tell.
    pub fn life(&self) -> Result<u64> {
        self.context.fabric.life()
    }

    /// Ends all namespaces and ways out that a cloud with this data directory left, whatever its server knew of them. Its machines have
    /// no network then.
    ///
    /// # Errors
    /// If the machine's processes can't be listed.
    pub fn end_all(data_dir: &Path, pasta_uid: u32) -> Result<()> {
        let data_dir = one_path(data_dir)?;
        pasta::end_all(&data_dir, pasta_uid)?;
        namespace::end_all(&data_dir)
    }

    fn vpc(&self, id: &VpcId) -> Option<Arc<AsyncMutex<Vpc>>> {
        self.vpcs.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// The VPC, once no other call is at work on it.
    async fn standing(&self, id: &VpcId) -> Result<OwnedMutexGuard<Vpc>> {
        let mut vpc = self.vpc(id).with_context(|| format!("{id} is not on this node"))?.lock_owned().await;
        ensure!(vpc.is_there(), "{id} is not on this node");
        vpc.hold()?;
        Ok(vpc)
    }
}

impl Drop for LinuxNetwork {
    fn drop(&mut self) {
        self.tending.abort();
    }
}

#[async_trait]
impl Network for LinuxNetwork {
    async fn vpc_list(&self) -> Result<Vec<VpcId>> {
        let vpcs: Vec<_> = self.vpcs.lock().unwrap_or_else(PoisonError::into_inner).clone().into_iter().collect();
        let mut list = Vec::new();
        for (id, vpc) in vpcs {
            if vpc.lock().await.is_there() {
                list.push(id);
            }
        }
        Ok(list)
    }

    async fn vpc_ensure(&self, wanted: &VpcWanted) -> Result<()> {
        let vpc = {
            let mut vpcs = self.vpcs.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(AsyncMutex::new(Vpc::new(wanted.id.clone(), None)));
            vpcs.entry(wanted.id.clone()).or_insert_with(new).clone()
        };
        let mut vpc = vpc.lock_owned().await;
        if vpc.is_as(wanted) {
            return Ok(());
        }
        let (context, wanted) = (self.context.clone(), wanted.clone());
        // It goes on to its end even if the caller goes away, and holds the VPC until then.
        tokio::task::spawn_blocking(move || vpc.ensure(&wanted, &context)).await?
    }

    async fn vpc_remove(&self, id: &VpcId) -> Result<()> {
        let Some(vpc) = self.vpc(id) else { return Ok(()) };
        let mut vpc = vpc.lock_owned().await;
        let context = self.context.clone();
        tokio::task::spawn_blocking(move || vpc.remove(&context)).await??;
        let mut vpcs = self.vpcs.lock().unwrap_or_else(PoisonError::into_inner);
        // Another call may wait for this very VPC, to make it again.
        if vpcs.get(id).is_some_and(|vpc| Arc::strong_count(vpc) == 1) {
            vpcs.remove(id);
        }
        Ok(())
    }

    async fn tap_open(&self, vpc: &VpcId, interface: &NetworkInterfaceId) -> Result<OwnedFd> {
        self.standing(vpc).await?.tap_open(interface)
    }

    async fn vpc_namespace(&self, id: &VpcId) -> Result<PathBuf> {
        self.standing(id).await?.namespace_path()
    }

    fn way_out(&self) -> WayOut {
        self.context.fabric.way_out()
    }
}

/// The one path of a directory, however it was named: namespaces are found again by it.
fn one_path(directory: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(directory).with_context(|| format!("can't find the data directory {}", directory.display()))
}

/// A socket that becomes readable when the addresses of the calling thread's namespace change.
fn address_changes() -> Result<AsyncFd<OwnedFd>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let changes = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    bind(changes.as_raw_fd(), &NetlinkAddr::new(0, u32::try_from(nix::libc::RTMGRP_IPV4_IFADDR)?))?;
    // SAFETY: the socket is owned by what it is registered with, and so stays open as long.
    #[allow(unsafe_code)]
    Ok(unsafe { AsyncFd::register_with_interest(changes, tokio::io::Interest::READABLE) }?)
}

/// Looks after the namespaces and the way out for as long as the driver is there: at once, whenever the host's addresses change, and now
/// and then.
async fn tend(context: Arc<Context>, vpcs: Arc<Vpcs>, addresses: AsyncFd<OwnedFd>) {
    loop {
        let (context, vpcs) = (context.clone(), vpcs.clone());
        let tended = tokio::task::spawn_blocking(move || {
            vpcs_tend(&vpcs);
            context.fabric.tend()
        });
        if let Ok(Err(error)) = tended.await {
            tracing::warn!(error = format!("{error:#}"), "the fabric can't be looked after");
        }
        if let Ok(Ok(mut ready)) = tokio::time::timeout(TEND_PERIOD, addresses.readable()).await {
            // What changed is read from the kernel anyway: all that was said is taken as one.
            while ready.try_io(|fd| Ok(recv(fd.as_raw_fd(), &mut [0; NOTICE_BYTES_MAX], MsgFlags::empty())?)).is_ok() {}
        }
    }
}

/// Gives another holder to each VPC whose holder was killed. A VPC that is being worked on is left to that work.
fn vpcs_tend(vpcs: &Vpcs) {
    let all: Vec<_> = vpcs.lock().unwrap_or_else(PoisonError::into_inner).clone().into_iter().collect();
    for (id, vpc) in all {
        let Ok(mut vpc) = vpc.try_lock_owned() else { continue };
        if let Err(error) = vpc.hold() {
            tracing::error!(vpc = %id, error = format!("{error:#}"), "its namespace has no holder");
        }
    }
}

//! VPCs as network namespaces of Linux. (The experiments behind each line: docs/decisions/0003-network.md.)

mod dhcp;
mod dns;
mod fabric;
mod links;
mod namespace;
mod ruleset;
#[cfg(test)]
mod tests;

use super::{Network, WayOut};
use crate::Result;
use crate::directory::Directory;
use crate::metadata::{self, Tokens};
use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use fabric::Fabric;
use ipnet::Ipv4Net;
use model::ids::{NetworkInterfaceId, VpcId};
use model::network::VpcWanted;
use namespace::Namespace;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinSet;

/// How guests reach out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uplink {
    /// Through `pasta`, without touching the host's network.
    Pasta,
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
}

/// The driver.
pub struct LinuxNetwork {
    config: NetworkConfig,
    directory: Arc<dyn Directory>,
    tokens: Tokens,
    fabric: Arc<Fabric>,
    vpcs: tokio::sync::Mutex<BTreeMap<VpcId, Arc<tokio::sync::Mutex<Vpc>>>>,
}

/// A VPC on this node.
struct Vpc {
    namespace: Arc<Namespace>,
    /// What stands and what the services see; `None` until this process has looked.
    state: Option<Arc<VpcState>>,
    services: JoinSet<()>,
}

/// What a VPC's services see of it.
struct VpcState {
    wanted: Mutex<Arc<VpcWanted>>,
    /// The taps' names by their numbers in the namespace.
    taps: Mutex<BTreeMap<i32, String>>,
    mtu: u16,
}

impl VpcState {
    fn wanted(&self) -> Arc<VpcWanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tap_by_index(&self, index: i32) -> Option<String> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner).get(&index).cloned()
    }
}

impl LinuxNetwork {
    /// Opens the fabric and finds the VPCs that stand already. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If namespaces can't be made, or a tool (`ip`, `nft`) is missing. A missing way out is no error: see [`Network::way_out`].
    pub fn new(config: NetworkConfig, directory: Arc<dyn Directory>, tokens: Tokens) -> Result<Self> {
        let mut vpcs = BTreeMap::new();
        let mut fabric = None;
        for (name, namespace) in Namespace::find(&config.data_dir)? {
            if name == fabric::NAME {
                fabric = Some(namespace);
            } else if let Ok(id) = name.parse::<VpcId>() {
                let vpc = Vpc { namespace: Arc::new(namespace), state: None, services: JoinSet::new() };
                vpcs.insert(id, Arc::new(tokio::sync::Mutex::new(vpc)));
            }
        }
        let fabric = Arc::new(Fabric::open(&config, fabric)?);
        Ok(Self { config, directory, tokens, fabric, vpcs: tokio::sync::Mutex::new(vpcs) })
    }

    async fn find(&self, id: &VpcId) -> Result<Arc<tokio::sync::Mutex<Vpc>>> {
        self.vpcs.lock().await.get(id).cloned().with_context(|| format!("{id} is not on this node"))
    }

    /// Makes the namespace with what never changes in it. Its rules come before it routes anything.
    fn create(&self, wanted: &VpcWanted) -> Result<Namespace> {
        let namespace = Namespace::create(&self.config.data_dir, wanted.id.as_str())?;
        let made = (|| {
            namespace.run("nft", &["-f", "-"], &ruleset::vpc(&VpcWanted { interfaces: BTreeMap::new(), ..wanted.clone() }))?;
            namespace.run("ip", &["-batch", "-"], &links::vpc_base(wanted))?;
            if wanted.internet_gateway {
                self.fabric.namespace.run("ip", &["-batch", "-"], &links::fabric_gateway(&wanted.id, namespace.pid()))?;
                namespace.run("ip", &["-batch", "-"], &links::gateway())?;
                namespace.run("ip", &["-4", "-batch", "-"], links::GATEWAY_ROUTE)?;
            }
            namespace.enter(sysctl_router)
        })();
        if made.is_err() {
            namespace.end();
        }
        made.map(|()| namespace)
    }

    /// Brings links, then rules, to what is wanted.
    fn change(&self, namespace: &Namespace, have: &VpcWanted, wanted: &VpcWanted) -> Result<BTreeMap<i32, String>> {
        let same = |id: &NetworkInterfaceId| {
            let (a, b) = (have.interfaces.get(id), wanted.interfaces.get(id));
            a.zip(b).is_some_and(|(a, b)| a.mac == b.mac && a.private_ip == b.private_ip)
        };
        let gone: String = have.interfaces.keys().filter(|id| !same(id)).map(links::interface_remove).collect();
        let new: Vec<_> = wanted.interfaces.iter().filter(|(id, _)| !same(id)).collect();
        if !gone.is_empty() {
            namespace.run("ip", &["-batch", "-"], &gone)?;
        }
        // Rules before links: a set may name an interface that isn't there yet, but no packet may pass without its rule.
        namespace.run("nft", &["-f", "-"], &ruleset::vpc(wanted))?;
        let added: String = new.iter().map(|(id, i)| links::interface_add(id, i, self.config.mtu)).collect();
        if !added.is_empty() {
            namespace.run("ip", &["-batch", "-"], &added)?;
        }
        let public = |v: &VpcWanted| -> BTreeSet<Ipv4Addr> {
            v.interfaces.values().filter_map(|i| i.public_ip).filter(|_| v.internet_gateway).collect()
        };
        let (old, now) = (public(have), public(wanted));
        let mut routes: String = old.difference(&now).map(|&ip| links::fabric_route(&wanted.id, "del", ip)).collect();
        routes.extend(now.difference(&old).map(|&ip| links::fabric_route(&wanted.id, "replace", ip)));
        if !routes.is_empty() {
            self.fabric.namespace.run("ip", &["-4", "-batch", "-"], &routes)?;
        }
        let names: Vec<String> = new.iter().map(|(id, _)| links::tap_name(id)).collect();
        namespace.enter(move || {
            for name in names {
                // Else the first ARP request waits up to 0.8 s for its answer.
                write_sysctl(&format!("ipv4/neigh/{name}/proxy_delay"), "0")?;
                write_sysctl(&format!("ipv4/conf/{name}/proxy_arp"), "1")?;
            }
            taps()
        })
    }

    /// What stands in a namespace that an earlier process left: its taps. Their addresses are read from no driver, so all are made anew
    /// unless their names are still wanted, whose addresses never change.
    fn found(namespace: &Namespace, wanted: &VpcWanted) -> Result<VpcWanted> {
        let taps: BTreeSet<String> = namespace.enter(taps)?.into_values().collect();
        let known: BTreeMap<_, _> =
            wanted.interfaces.iter().filter(|(id, _)| taps.contains(&links::tap_name(id))).map(|(id, i)| (id.clone(), i.clone())).collect();
        let stray: String = taps
            .iter()
            .filter(|tap| !known.keys().any(|id| links::tap_name(id) == **tap))
            .map(|tap| format!("link del dev {tap}\n"))
            .collect();
        if !stray.is_empty() {
            namespace.run("ip", &["-batch", "-"], &stray)?;
        }
        // Public addresses are left out, so that their routes in the fabric are made again.
        let interfaces = known.into_iter().map(|(id, i)| (id, model::network::InterfaceWanted { public_ip: None, ..i })).collect();
        Ok(VpcWanted { interfaces, ..wanted.clone() })
    }

    fn services_start(&self, vpc: &mut Vpc, state: &Arc<VpcState>) -> Result<()> {
        let id = state.wanted().id.clone();
        let dns = [links::DNS, links::vpc_dns(&state.wanted())];
        let sockets = vpc.namespace.enter(move || {
            let mut udp = Vec::new();
            let mut tcp = Vec::new();
            for ip in dns {
                udp.push(std::net::UdpSocket::bind(SocketAddr::from((ip, 53))).context("can't open the DNS port")?);
                tcp.push(std::net::TcpListener::bind(SocketAddr::from((ip, 53))).context("can't open the DNS port")?);
            }
            let http = std::net::TcpListener::bind(SocketAddr::from((links::METADATA, 80))).context("can't open the metadata port")?;
            Ok((dhcp::Sockets::open()?, udp, tcp, http))
        })?;
        let (leases, udp, tcp, http) = sockets;
        vpc.services.spawn(dhcp::serve(leases, state.clone()));
        let server = dns::Server::new(state.clone(), self.directory.clone());
        for socket in udp {
            socket.set_nonblocking(true)?;
            vpc.services.spawn(dns::serve_udp(server.clone(), tokio::net::UdpSocket::from_std(socket)?));
        }
        for listener in tcp {
            listener.set_nonblocking(true)?;
            vpc.services.spawn(dns::serve_tcp(server.clone(), tokio::net::TcpListener::from_std(listener)?));
        }
        http.set_nonblocking(true)?;
        let http = tokio::net::TcpListener::from_std(http)?;
        vpc.services.spawn(metadata::serve(http, id, self.directory.clone(), self.tokens.clone(), std::future::pending()));
        Ok(())
    }
}

#[async_trait]
impl Network for LinuxNetwork {
    async fn vpc_list(&self) -> Result<Vec<VpcId>> {
        Ok(self.vpcs.lock().await.keys().cloned().collect())
    }

    async fn vpc_ensure(&self, wanted: &VpcWanted) -> Result<()> {
        let vpc = {
            let mut vpcs = self.vpcs.lock().await;
            match vpcs.get(&wanted.id) {
                Some(vpc) => vpc.clone(),
                None => {
                    let namespace = tokio::task::block_in_place(|| self.create(wanted))?;
                    let vpc = Vpc { namespace: Arc::new(namespace), state: None, services: JoinSet::new() };
                    vpcs.entry(wanted.id.clone()).or_insert(Arc::new(tokio::sync::Mutex::new(vpc))).clone()
                }
            }
        };
        let mut vpc = vpc.lock().await;
        tokio::task::block_in_place(|| {
            self.fabric.rules_ensure(&self.config)?;
            if !vpc.namespace.is_held() {
                // Its holder was killed: what hung on it is lost, and made again.
                vpc.services = JoinSet::new();
                vpc.namespace = Arc::new(self.create(wanted)?);
                vpc.state = None;
            }
            let have = match &vpc.state {
                Some(state) => state.wanted(),
                None => Arc::new(Self::found(&vpc.namespace, wanted)?),
            };
            if vpc.state.is_some() && *have == *wanted {
                return Ok(());
            }
            let taps = self.change(&vpc.namespace, &have, wanted)?;
            match &vpc.state {
                Some(state) => {
                    *state.taps.lock().unwrap_or_else(PoisonError::into_inner) = taps;
                    *state.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(wanted.clone());
                }
                None => {
                    let wanted = Mutex::new(Arc::new(wanted.clone()));
                    let state = Arc::new(VpcState { wanted, taps: Mutex::new(taps), mtu: self.config.mtu });
                    self.services_start(&mut vpc, &state)?;
                    vpc.state = Some(state);
                }
            }
            Ok(())
        })
    }

    async fn vpc_remove(&self, id: &VpcId) -> Result<()> {
        let mut vpcs = self.vpcs.lock().await;
        let Some(vpc) = vpcs.get(id).cloned() else { return Ok(()) };
        let mut vpc = vpc.lock().await;
        vpc.services.shutdown().await;
        tokio::task::block_in_place(|| vpc.namespace.end());
        ensure!(!vpc.namespace.is_held(), "the holder of {id} doesn't end");
        vpcs.remove(id);
        Ok(())
    }

    async fn tap_open(&self, vpc: &VpcId, interface: &NetworkInterfaceId) -> Result<OwnedFd> {
        let found = self.find(vpc).await?;
        let found = found.lock().await;
        let has = found.state.as_ref().is_some_and(|s| s.wanted().interfaces.contains_key(interface));
        ensure!(has, "{interface} is not in {vpc} on this node");
        let name = links::tap_name(interface);
        found.namespace.enter(move || open_tap(&name))
    }

    async fn vpc_namespace(&self, id: &VpcId) -> Result<PathBuf> {
        Ok(self.find(id).await?.lock().await.namespace.path())
    }

    fn way_out(&self) -> WayOut {
        self.fabric.way_out()
    }
}

/// Sets a value below `/proc/sys/net`, of the namespace that the calling thread is in.
fn write_sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{name}");
    std::fs::write(&path, value).with_context(|| format!("can't set {path}"))
}

/// Makes the calling thread's namespace a router. A new namespace takes the host's values, so each is set by name.
fn sysctl_router() -> Result<()> {
    for scope in ["all", "default"] {
        for name in ["rp_filter", "send_redirects", "accept_redirects", "accept_source_route"] {
            write_sysctl(&format!("ipv4/conf/{scope}/{name}"), "0")?;
        }
        for (name, value) in [("accept_ra", "0"), ("accept_dad", "0")] {
            write_sysctl(&format!("ipv6/conf/{scope}/{name}"), value)?;
        }
    }
    // AWS's ("Security group connection tracking").
    write_sysctl("netfilter/nf_conntrack_udp_timeout_stream", "180")?;
    write_sysctl("ipv4/ip_forward", "1")
}

/// The taps of the calling thread's namespace.
fn taps() -> Result<BTreeMap<i32, String>> {
    let all = nix::net::if_::if_nameindex().context("can't list the interfaces")?;
    let named = all.iter().filter_map(|i| Some((i32::try_from(i.index()).ok()?, i.name().to_str().ok()?.to_owned())));
    Ok(named.filter(|(_, name)| name.starts_with('t') && !name.starts_with("tunl")).collect())
}

/// Opens a tap of the calling thread's namespace.
fn open_tap(name: &str) -> Result<OwnedFd> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").context("can't open /dev/net/tun")?;
    let mut request: nix::libc::ifreq = new_request();
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = i8::try_from(from)?;
    }
    request.ifr_ifru.ifru_flags = i16::try_from(nix::libc::IFF_TAP | nix::libc::IFF_NO_PI | nix::libc::IFF_VNET_HDR)?;
    // SAFETY: the descriptor is open and the request a whole ifreq.
    #[allow(unsafe_code)]
    unsafe { tun_set_iff(std::os::fd::AsRawFd::as_raw_fd(&file), (&raw const request).cast()) }
        .with_context(|| format!("can't open the tap {name}"))?;
    Ok(file.into())
}

nix::ioctl_write_ptr_bad!(
    /// TUNSETIFF of linux/if_tun.h.
    tun_set_iff,
    nix::request_code_write!(b'T', 202, size_of::<nix::libc::c_int>()),
    nix::libc::c_int
);

fn new_request() -> nix::libc::ifreq {
    // SAFETY: an ifreq is plain data, for which zeros are valid.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::zeroed()
    }
}

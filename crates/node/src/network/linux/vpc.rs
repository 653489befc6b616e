//! One VPC on this node: what stands of it, and how it is made what it is to be.

use super::links::{IGW, Links, policy_rules, tap_name, vpc_dns};
use super::namespace::{Namespace, ip_batch, nft, standing, sysctl, sysctls, tool};
use super::ruleset::{self, publics};
use super::supervise::supervise;
use super::table::{self, Table};
use super::{Context, dhcp, dns, links, ntp, tap};
use crate::Result;
use crate::hypervisor::qemu;
use crate::metadata;
use anyhow::{Context as _, ensure};
use model::ids::{NetworkInterfaceId, VpcId};
use model::network::{InterfaceWanted, VpcWanted};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::task::JoinSet;

/// One VPC.
pub(super) struct Vpc {
    id: VpcId,
    namespace: Option<Namespace>,
    /// What stands for certain; `None` until this process has seen to it, and after a failure.
    stands: Option<Stands>,
    services: Option<Services>,
}

struct Stands {
    wanted: VpcWanted,
    tables: Vec<Table>,
    links: Links,
}

/// The servers of a VPC; they end when this is dropped.
struct Services {
    view: Arc<View>,
    _tasks: JoinSet<()>,
}

/// What a VPC's services see of it.
pub(super) struct View(RwLock<Arc<Seen>>);

/// One state of a VPC.
pub(super) struct Seen {
    pub(super) vpc: VpcWanted,
    /// The interfaces by their taps' numbers in the namespace.
    by_index: BTreeMap<i32, NetworkInterfaceId>,
    pub(super) mtu: u16,
    pub(super) public_pool: ipnet::Ipv4Net,
}

impl View {
    pub(super) fn seen(&self) -> Arc<Seen> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Seen {
    /// The interface behind the tap of this number.
    pub(super) fn interface(&self, index: i32) -> Option<&InterfaceWanted> {
        self.vpc.interfaces.get(self.by_index.get(&index)?)
    }

    #[cfg(test)]
    pub(super) fn of(vpc: VpcWanted) -> Self {
        let by_index = vpc.interfaces.keys().zip(2..).map(|(id, index)| (index, id.clone())).collect();
        Self { vpc, by_index, mtu: 9001, public_pool: ipnet::Ipv4Net::new_assert([198, 18, 0, 0].into(), 16) }
    }
}

impl Vpc {
    pub(super) fn new(id: VpcId, namespace: Option<Namespace>) -> Self {
        Self { id, namespace, stands: None, services: None }
    }

    /// Whether there is anything of it.
    pub(super) fn is_there(&self) -> bool {
        self.namespace.is_some()
    }

    /// Whether its namespace has lost its holder.
    pub(super) fn is_unheld(&self) -> bool {
        self.namespace.as_ref().is_some_and(|namespace| !namespace.is_held())
    }

    /// Gives its namespace another holder, if it has lost the one that it had. Guests don't notice.
    pub(super) fn hold(&mut self) -> Result<()> {
        self.namespace.as_mut().map_or(Ok(()), Namespace::hold)
    }

    /// Whether it is all that is wanted already. Asks the kernel only whether its namespace is held.
    pub(super) fn is_as(&self, wanted: &VpcWanted) -> bool {
        self.stands.as_ref().is_some_and(|s| s.wanted == *wanted) && !self.is_unheld()
    }

    /// Makes it what is wanted. After an error nothing is taken for certain, and the next call sets everything again.
    pub(super) fn ensure(&mut self, wanted: &VpcWanted, context: &Context) -> Result<()> {
        let stood = self.stands.take();
        let namespace = match &mut self.namespace {
            Some(namespace) => {
                namespace.hold()?;
                namespace
            }
            none => none.insert(namespace_find_or_create(wanted, context)?),
        };
        let stood = stood.filter(|_| self.services.is_some());
        let tables = ruleset::vpc(wanted);
        let links = Links::new(wanted, context.config.mtu)?;
        let indexes = namespace.enter(|| apply(stood.as_ref(), &tables, &links))?;
        let by_index = wanted.interfaces.keys().filter_map(|id| Some((*indexes.get(&tap_name(id))?, id.clone()))).collect();
        let seen = Seen { vpc: wanted.clone(), by_index, mtu: context.config.mtu, public_pool: context.config.public_pool };
        match &self.services {
            Some(services) => *services.view.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(seen),
            None => self.services = Some(services_start(namespace, seen, context)?),
        }
        gateway(namespace, stood.as_ref(), wanted, &indexes, context)?;
        self.stands = Some(Stands { wanted: wanted.clone(), tables, links });
        Ok(())
    }

    /// Removes all there is of it.
    pub(super) fn remove(&mut self, context: &Context) -> Result<()> {
        self.stands = None;
        self.services = None;
        context.fabric.detach(&self.id)?;
        if let Some(namespace) = self.namespace.take() {
            namespace.end();
            if namespace.is_held() {
                self.namespace = Some(namespace);
                anyhow::bail!("the holder of {} doesn't end", self.id);
            }
        }
        Ok(())
    }

    /// Opens the tap of an interface.
    pub(super) fn tap_open(&self, interface: &NetworkInterfaceId) -> Result<OwnedFd> {
        let has = self.stands.as_ref().is_some_and(|s| s.wanted.interfaces.contains_key(interface));
        ensure!(has, "{interface} is not in {} on this node", self.id);
        let namespace = self.namespace.as_ref().context("no namespace")?;
        namespace.enter(|| tap::open(&tap_name(interface)))
    }

    pub(super) fn namespace_path(&self) -> Result<PathBuf> {
        Ok(self.namespace.as_ref().context("no namespace")?.path())
    }
}

/// The namespace in which guests of this VPC have their taps, if its holder was killed while no server ran; else a new one.
fn namespace_find_or_create(wanted: &VpcWanted, context: &Context) -> Result<Namespace> {
    let (data_dir, name) = (&context.config.data_dir, wanted.id.as_str());
    let taps = wanted.interfaces.keys().map(tap_name).collect();
    match qemu::processes(data_dir).and_then(|processes| tap::namespace_behind(&taps, &processes)) {
        Ok(Some(file)) => {
            tracing::warn!(vpc = name, "the holder of its namespace was killed; its guests' taps led back to it");
            return Namespace::take_up(data_dir, name, file);
        }
        Ok(None) => {}
        Err(error) => {
            tracing::error!(vpc = name, error = format!("{error:#}"), "its guests lose their network: its namespace is made anew")
        }
    }
    Namespace::create(data_dir, name)
}

/// Brings rules, then links, to what is wanted, in the calling thread's namespace; gives the links' numbers. Rules come first: a set may
/// name a tap that isn't there yet, but no packet may pass without its rule.
fn apply(stood: Option<&Stands>, tables: &[Table], links: &Links) -> Result<BTreeMap<String, i32>> {
    match stood {
        Some(stood) => nft(&table::change(&stood.tables, tables))?,
        None => {
            nft(&table::whole(tables))?;
            sysctls()?;
        }
    }
    let before = standing()?;
    let steps = links.steps(stood.map(|s| &s.links), &before);
    for tap in &steps.create {
        tap::create(tap)?;
    }
    ip_batch(&steps.batch)?;
    if stood.is_none() {
        let rules = tool("ip", &["-4", "rule", "show"], "")?;
        let has = |pref: u32| rules.lines().any(|line| line.starts_with(&format!("{pref}:")));
        let missing: Vec<String> = policy_rules().into_iter().filter(|(pref, _)| !has(*pref)).map(|(_, line)| line).collect();
        ip_batch(&missing.join("\n"))?;
        sysctl("ipv4/ip_forward", "1")?;
    }
    let after = if steps == links::Steps::default() { before } else { standing()? };
    Ok(after.links.into_iter().map(|(name, (index, _))| (name, index)).collect())
}

/// Hangs the VPC on the fabric, or takes it off, and routes its public addresses to it.
fn gateway(
    namespace: &Namespace,
    stood: Option<&Stands>,
    wanted: &VpcWanted,
    indexes: &BTreeMap<String, i32>,
    context: &Context,
) -> Result<()> {
    let hangs = stood.map(|s| s.wanted.internet_gateway);
    if !wanted.internet_gateway {
        return if hangs == Some(false) { Ok(()) } else { context.fabric.detach(&wanted.id) };
    }
    if hangs != Some(true) {
        context.fabric.attach(&wanted.id, namespace, indexes.contains_key(IGW))?;
        namespace.enter(|| ip_batch(&links::gateway()))?;
    }
    context.fabric.publics_set(&wanted.id, &publics(wanted).map(|(_, public)| public).collect())
}

/// Opens the services' sockets in the namespace and serves them. A server that is started again opens them again; guests notice nothing
/// but a question that goes unanswered once.
fn services_start(namespace: &Namespace, seen: Seen, context: &Context) -> Result<Services> {
    let id = seen.vpc.id.clone();
    let dns_addresses = [links::DNS, vpc_dns(&seen.vpc)];
    let (leases, questions, time, http) = namespace.enter(|| {
        let udp = |ip, port| UdpSocket::bind(SocketAddr::new(ip, port)).with_context(|| format!("can't open UDP port {port} of {ip}"));
        let tcp = |ip, port| TcpListener::bind(SocketAddr::new(ip, port)).with_context(|| format!("can't open TCP port {port} of {ip}"));
        let mut questions = Vec::new();
        for ip in dns_addresses {
            questions.push((udp(ip.into(), 53)?, tcp(ip.into(), 53)?));
        }
        Ok((dhcp::Sockets::open()?, questions, udp(links::TIME.into(), 123)?, tcp(links::METADATA.into(), 80)?))
    })?;
    let view = Arc::new(View(RwLock::new(Arc::new(seen))));
    let mut tasks = JoinSet::new();
    // Each task owns its sockets, so that its service can be started again on them.
    let (vpc, seen) = (id.clone(), view.clone());
    tasks.spawn(async move { supervise(&vpc, "DHCP", || dhcp::serve(&leases, &seen)).await });
    let server = dns::Server::new(view.clone(), context.directory.clone());
    for (udp, tcp) in questions {
        udp.set_nonblocking(true)?;
        let (vpc, server_udp, udp) = (id.clone(), server.clone(), Arc::new(tokio::net::UdpSocket::from_std(udp)?));
        tasks.spawn(async move { supervise(&vpc, "DNS over UDP", || dns::serve_udp(&server_udp, &udp)).await });
        tcp.set_nonblocking(true)?;
        let (vpc, server, tcp) = (id.clone(), server.clone(), tokio::net::TcpListener::from_std(tcp)?);
        tasks.spawn(async move { supervise(&vpc, "DNS over TCP", || dns::serve_tcp(&server, &tcp)).await });
    }
    time.set_nonblocking(true)?;
    let (vpc, time) = (id.clone(), tokio::net::UdpSocket::from_std(time)?);
    tasks.spawn(async move { supervise(&vpc, "NTP", || ntp::serve(&time)).await });
    http.set_nonblocking(true)?;
    let http = tokio::net::TcpListener::from_std(http)?;
    let (directory, tokens) = (context.directory.clone(), context.tokens.clone());
    tasks.spawn(async move {
        let serve = || metadata::serve(&http, id.clone(), directory.clone(), tokens.clone(), std::future::pending());
        supervise(&id, "metadata", serve).await;
    });
    Ok(Services { view, _tasks: tasks })
}

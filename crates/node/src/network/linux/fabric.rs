//! The fabric: one namespace that all VPCs of this cloud hang on, and the way out of it. By default nothing of the host's own network is
//! touched.

use super::links::{self, IGW, veth_name};
use super::namespace::{Namespace, cookie, ip_batch, is_running, nft, remove_link, standing, sysctl, sysctls, tool};
use super::{NetworkConfig, Uplink, WayOut, pasta};
use anyhow::{Context as _, Result};
use ipnet::Ipv4Net;
use model::ids::VpcId;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The fabric's name among the namespaces.
pub(super) const NAME: &str = "fabric";
/// The way out's device in the fabric.
pub(super) const OUT: &str = "out";
/// How long to wait before a way out that failed is tried again.
const RETRY_TIME: Duration = Duration::from_secs(10);
/// The two ends of the way out.
pub(super) const NEAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
pub(super) const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
pub(super) const LINK_PREFIX: u8 = 30;

/// What guests may not reach through the way out, unless it is configured.
const PRIVATE: [&str; 9] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// The fabric.
pub(super) struct Fabric {
    config: NetworkConfig,
    state: Mutex<State>,
    way_out: Mutex<WayOut>,
}

struct State {
    namespace: Namespace,
    /// Who has which public address, by its veth.
    publics: BTreeMap<Ipv4Addr, String>,
    /// The host's addresses that the rules in force know.
    own: BTreeSet<Ipv4Addr>,
    pasta: Option<u32>,
    /// Not before this time is the way out tried again.
    retry: Instant,
}

impl Fabric {
    /// Finds the fabric, or makes it.
    pub(super) fn open(config: &NetworkConfig, found: Option<Namespace>) -> Result<Self> {
        let namespace = match found {
            Some(namespace) => namespace,
            None => Namespace::create(&config.data_dir, NAME)?,
        };
        let state = State::prepare(namespace, config)?;
        // Whoever tends the fabric opens it: that may take longer than a start of the server should.
        let way_out = Mutex::new(WayOut::None("it is being opened".into()));
        Ok(Self { config: config.clone(), state: Mutex::new(state), way_out })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How guests reach out.
    pub(super) fn way_out(&self) -> WayOut {
        self.way_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A number that no other fabric has had since the kernel started.
    pub(super) fn life(&self) -> Result<u64> {
        self.state().namespace.enter(cookie)
    }

    /// Looks after what may be lost or change on its own: the namespace, the host's addresses, the way out.
    pub(super) fn tend(&self) -> Result<()> {
        let mut state = self.state();
        state.namespace.hold()?;
        state.rules_ensure(&self.config)?;
        let way_out = state.uplink_ensure(&self.config);
        drop(state);
        if let Some(way_out) = way_out {
            *self.way_out.lock().unwrap_or_else(PoisonError::into_inner) = way_out;
        }
        Ok(())
    }

    /// Hangs a VPC on the fabric, unless it hangs there; `has_end` says whether it has its end of the veth.
    pub(super) fn attach(&self, id: &VpcId, vpc: &Namespace, has_end: bool) -> Result<()> {
        let mut state = self.state();
        let veth = veth_name(id);
        let stands = state.namespace.enter(|| Ok(standing()?.links.contains_key(&veth)))?;
        if stands && has_end {
            return Ok(());
        }
        if has_end {
            // Its other end is in a fabric that was lost while no server ran.
            vpc.enter(|| remove_link(IGW))?;
        }
        let mtu = self.config.mtu;
        state.namespace.enter(|| {
            remove_link(&veth)?;
            ip_batch(&links::fabric_gateway(id, vpc.pid(), mtu))?;
            // A VPC's public addresses are routed to it, so this lets no other address in.
            sysctl(&format!("ipv4/conf/{veth}/rp_filter"), "1")
        })?;
        state.publics.retain(|_, holder| *holder != veth);
        Ok(())
    }

    /// Takes a VPC off the fabric, with its public addresses.
    pub(super) fn detach(&self, id: &VpcId) -> Result<()> {
        let mut state = self.state();
        let veth = veth_name(id);
        state.namespace.enter(|| remove_link(&veth))?;
        state.publics.retain(|_, holder| *holder != veth);
        Ok(())
    }

    /// Routes these public addresses to a VPC, and none else. An address that another VPC has is taken from it.
    pub(super) fn publics_set(&self, id: &VpcId, wanted: &BTreeSet<Ipv4Addr>) -> Result<()> {
        let mut state = self.state();
        let veth = veth_name(id);
        let added: Vec<Ipv4Addr> = wanted.iter().filter(|ip| state.publics.get(ip) != Some(&veth)).copied().collect();
        let held = state.publics.iter().filter(|(_, holder)| **holder == veth).map(|(ip, _)| *ip);
        let gone: Vec<Ipv4Addr> = held.filter(|ip| !wanted.contains(ip)).collect();
        if added.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let mut lines: String = added.iter().map(|&ip| links::public_add(&veth, ip)).collect();
        lines.extend(gone.iter().map(|&ip| links::public_remove(&veth, ip)));
        if let Err(error) = state.namespace.enter(|| ip_batch(&lines)) {
            // What stands decides what the next try does.
            state.publics = state.namespace.enter(publics)?;
            return Err(error);
        }
        state.publics.retain(|ip, _| !gone.contains(ip));
        state.publics.extend(added.into_iter().map(|ip| (ip, veth.clone())));
        Ok(())
    }
}

impl State {
    fn prepare(namespace: Namespace, config: &NetworkConfig) -> Result<Self> {
        let own = own_addresses()?;
        let publics = namespace.enter(|| {
            nft(&rules(config, &own))?;
            sysctls()?;
            // A public address that nobody has is nowhere, and not outside.
            ip_batch(&format!("link set lo up\nroute replace unreachable {}\n", config.public_pool))?;
            sysctl("ipv4/ip_forward", "1")?;
            publics()
        })?;
        Ok(Self { namespace, publics, own, pasta: None, retry: Instant::now() })
    }

    /// Loads the rules, if the host's own addresses have changed since.
    fn rules_ensure(&mut self, config: &NetworkConfig) -> Result<()> {
        let own = own_addresses()?;
        if self.own != own {
            self.namespace.enter(|| nft(&rules(config, &own)))?;
            self.own = own;
        }
        Ok(())
    }

    /// Opens the way out, if it isn't open; `None` if there is nothing new to tell.
    fn uplink_ensure(&mut self, config: &NetworkConfig) -> Option<WayOut> {
        if self.retry > Instant::now() || self.pasta.is_some_and(is_running) {
            return None;
        }
        let tried = match config.uplink {
            Uplink::None => return Some(WayOut::None("the configuration says so (network.uplink)".into())),
            Uplink::Veth => self.veth_ensure(config).map(|name| format!("through the device {name}")),
            Uplink::Pasta if !has_default_route() => return Some(WayOut::None("the host has no default route".into())),
            Uplink::Pasta => self.pasta_ensure(config).map(|()| "through pasta".to_owned()),
        };
        Some(match tried {
            Ok(means) => WayOut::Open(means),
            Err(error) => {
                self.retry = Instant::now() + RETRY_TIME;
                tracing::warn!(error = format!("{error:#}"), "guests have no way out");
                WayOut::None(format!("{error:#}"))
            }
        })
    }

    /// A pair of devices between the fabric and the server's own namespace, and a route to the public addresses there.
    fn veth_ensure(&self, config: &NetworkConfig) -> Result<String> {
        let name = veth_uplink_name(config);
        if !nix::net::if_::if_nameindex()?.iter().any(|link| link.name().to_bytes() == name.as_bytes()) {
            let pid = self.namespace.pid();
            ip_batch(&format!(
                "link add dev {name} type veth peer name {OUT} netns {pid}\naddress add {FAR}/{LINK_PREFIX} dev {name}\n\
                 link set dev {name} up\nroute replace {} via {NEAR} dev {name}\n",
                config.public_pool
            ))?;
            let near =
                format!("address add {NEAR}/{LINK_PREFIX} dev {OUT}\nlink set dev {OUT} up\nroute replace default via {FAR} dev {OUT}\n");
            if let Err(error) = self.namespace.enter(|| ip_batch(&near)) {
                remove_link(&name)?;
                return Err(error);
            }
        }
        Ok(name)
    }

    /// Finds the fabric's pasta, or starts one.
    fn pasta_ensure(&mut self, config: &NetworkConfig) -> Result<()> {
        self.pasta = Some(match pasta::find(&self.namespace, config)? {
            Some(pid) => pid,
            None => pasta::start(&self.namespace, config)?,
        });
        Ok(())
    }
}

/// The name of the server's end of [`Uplink::Veth`]: its own for each cloud on a machine.
pub(super) fn veth_uplink_name(config: &NetworkConfig) -> String {
    let hash = Sha256::digest(config.data_dir.as_os_str().as_encoded_bytes());
    let hex: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("pileus-{hex}")
}

/// The public addresses that the calling thread's namespace routes to VPCs: `ADDRESS via … dev VETH onlink`.
fn publics() -> Result<BTreeMap<Ipv4Addr, String>> {
    let text = tool("ip", &["-4", "route", "show"], "")?;
    let route = |line: &str| {
        let mut words = line.split_whitespace();
        let ip: Ipv4Addr = words.next()?.parse().ok()?;
        let device = words.skip_while(|word| *word != "dev").nth(1)?;
        device.starts_with('v').then(|| (ip, device.to_owned()))
    };
    Ok(text.lines().filter_map(route).collect())
}

/// The second column is the destination, the eighth the mask: both zero is the default route.
fn has_default_route() -> bool {
    let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
    routes.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000")
    })
}

/// The host's own addresses, loopback aside, which no guest reaches anyway.
fn own_addresses() -> Result<BTreeSet<Ipv4Addr>> {
    let all = nix::ifaddrs::getifaddrs().context("can't list the host's addresses")?;
    let own = all.filter_map(|i| i.address?.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip));
    Ok(own.filter(|ip| !ip.is_loopback()).collect())
}

/// The fabric's table: from a VPC to another's public address, or out; never to the host's own addresses. What comes in from outside is
/// up to the groups of who has the public address.
fn rules(config: &NetworkConfig, own: &BTreeSet<Ipv4Addr>) -> String {
    let elements = |items: Vec<String>| if items.is_empty() { String::new() } else { format!(" elements = {{ {} }};", items.join(", ")) };
    let own = elements(own.iter().map(ToString::to_string).collect());
    let allow = elements(Ipv4Net::aggregate(&config.allow_private).iter().map(ToString::to_string).collect());
    let private = PRIVATE.join(", ");
    let pool = config.public_pool;
    format!(
        "table inet fabric\ndelete table inet fabric\ntable inet fabric {{
  set s_own {{ type ipv4_addr;{own} }}
  set s_allow {{ type ipv4_addr; flags interval;{allow} }}
  set s_private {{ type ipv4_addr; flags interval; elements = {{ {private} }}; }}
  chain c_input {{ type filter hook input priority 0; policy drop; iifname \"lo\" accept; ct state established,related accept; }}
  chain c_forward {{ type filter hook forward priority 0; policy drop;
    ct state invalid drop
    iifname \"{OUT}\" ip saddr {pool} drop
    ct state established,related accept
    ip daddr {pool} oifname \"v*\" accept
    ip saddr != {pool} drop
    oifname != \"{OUT}\" drop
    ip daddr @s_own drop
    ip daddr @s_allow accept
    ip daddr @s_private drop
    accept
  }}
}}
"
    )
}

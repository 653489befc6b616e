//! The fabric: one namespace that all VPCs of this cloud hang on, and the way out of it. Nothing of the host's own network is touched.

use super::namespace::Namespace;
use super::ruleset;
use super::{NetworkConfig, Uplink, WayOut};
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The fabric's name among the namespaces.
pub(super) const NAME: &str = "fabric";
/// The variable that marks this cloud's pasta.
const MARK: &str = "PILEUS_WAY_OUT";
/// How long pasta may take to stand in the namespace.
const PASTA_TIME: Duration = Duration::from_secs(5);

/// The fabric's namespace and its way out.
pub(super) struct Fabric {
    pub(super) namespace: Namespace,
    /// The host's addresses that the rules in force know.
    own: Mutex<Option<BTreeSet<Ipv4Addr>>>,
    way_out: Mutex<WayOut>,
}

impl Fabric {
    /// Finds the fabric, or makes it.
    pub(super) fn open(config: &NetworkConfig, found: Option<Namespace>) -> Result<Self> {
        let namespace = match found {
            Some(namespace) => namespace,
            None => Namespace::create(&config.data_dir, NAME)?,
        };
        let fabric = Self { namespace, own: Mutex::new(None), way_out: Mutex::new(WayOut::None("not opened yet".into())) };
        fabric.namespace.run("ip", &["link", "set", "lo", "up"], "")?;
        fabric.rules_ensure(config)?;
        fabric.namespace.enter(super::sysctl_router)?;
        let way_out = fabric.uplink_ensure(config);
        *fabric.way_out.lock().unwrap_or_else(PoisonError::into_inner) = way_out;
        Ok(fabric)
    }

    /// How guests reach out.
    pub(super) fn way_out(&self) -> WayOut {
        self.way_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loads the rules, if the host's own addresses have changed since.
    pub(super) fn rules_ensure(&self, config: &NetworkConfig) -> Result<()> {
        let own = own_addresses()?;
        let mut known = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() != Some(&own) {
            self.namespace.run("nft", &["-f", "-"], &ruleset::fabric(config.public_pool, &own, &config.allow_private))?;
            *known = Some(own);
        }
        Ok(())
    }

    fn uplink_ensure(&self, config: &NetworkConfig) -> WayOut {
        match config.uplink {
            Uplink::None => WayOut::None("the configuration says so (network.uplink)".into()),
            Uplink::Pasta if !has_default_route() => WayOut::None("the host has no default route".into()),
            Uplink::Pasta => match self.pasta_ensure(config) {
                Ok(()) => WayOut::Open("through pasta".into()),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "guests have no way out");
                    WayOut::None(format!("pasta doesn't start: {error:#}"))
                }
            },
        }
    }

    fn pasta_ensure(&self, config: &NetworkConfig) -> Result<()> {
        let mark = format!("{}:{}", config.data_dir.display(), self.namespace.pid());
        if has_process(&format!("{MARK}={mark}")) {
            return Ok(());
        }
        let path = self.namespace.path().display().to_string();
        let mut command = Command::new("pasta");
        // Foreground, with a session of its own, so that it is our child and still outlives us. No port of the host is forwarded, and
        // `--no-map-gw` keeps the host's loopback out of reach.
        command.args(["--foreground", "--quiet", "--config-net", "--no-map-gw", "--ns-ifname", "out", "--runas", "0"]);
        command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none", "-m", "65520"]);
        command.args(["-a", "100.64.0.2", "-n", "255.255.255.0", "-g", "100.64.0.1", "--netns", &path]);
        command.env_clear().env(MARK, mark).env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // SAFETY: between fork and exec only setsid is called.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?))
        };
        let mut child = command.spawn().context("can't run pasta; Debian has it in `passt`")?;
        let end = Instant::now() + PASTA_TIME;
        loop {
            if let Some(status) = child.try_wait()? {
                let mut said = String::new();
                if let Some(mut stderr) = child.stderr.take() {
                    let _ = std::io::Read::read_to_string(&mut stderr, &mut said);
                }
                anyhow::bail!("{} ({status})", said.trim().lines().last().unwrap_or("it ended"));
            }
            let up = self.namespace.enter(|| Ok(std::fs::read_to_string("/proc/thread-self/net/route")?.contains("out")))?;
            if up {
                break;
            }
            anyhow::ensure!(Instant::now() < end, "it made no interface within {PASTA_TIME:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::Builder::new().name("pasta-reaper".into()).stack_size(64 << 10).spawn(move || child.wait())?;
        Ok(())
    }
}

fn has_process(variable: &str) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    entries.flatten().any(|entry| {
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        environ.split(|&b| b == 0).any(|v| v == variable.as_bytes())
    })
}

/// The second column is the destination, the eighth the mask: both zero is the default route.
fn has_default_route() -> bool {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
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

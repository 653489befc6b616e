//! The operator's way to a guest: connections that start at the router of its VPC.

use crate::admin::{Door, client};
use anyhow::{Context as _, Result};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks the server where the guest is.
///
/// # Errors
/// If the id is malformed, the instance doesn't exist or no server answers.
pub(crate) fn door(data_dir: &Path, instance: &str) -> Result<Door> {
    instance.parse::<model::ids::InstanceId>().map_err(|_| anyhow::anyhow!("{instance:?} is no instance id (i-…)"))?;
    client::get(data_dir, &format!("/instances/{instance}/door"))
}

/// Connects to a port of the guest from within the VPC's namespace. The inner result is the outcome of the TCP connection.
///
/// # Errors
/// If the namespace can't be entered.
pub(crate) fn connect(namespace: &Path, ip: Ipv4Addr, port: u16) -> Result<std::io::Result<TcpStream>> {
    let file = File::open(namespace).with_context(|| format!("can't open the VPC's namespace {}", namespace.display()))?;
    // setns acts on one thread: only this one enters the namespace, and it ends.
    std::thread::spawn(move || {
        nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).context("can't enter the VPC's namespace; are you root?")?;
        Ok(TcpStream::connect_timeout(&SocketAddr::from((ip, port)), CONNECT_TIMEOUT))
    })
    .join()
    .map_err(|_| anyhow::anyhow!("the connecting thread panicked"))?
}

//! VPCs on a node.

#[cfg(test)]
mod contract;
pub mod fake;
pub mod linux;

use crate::Result;
use async_trait::async_trait;
use model::ids::{NetworkInterfaceId, VpcId};
use model::network::VpcWanted;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Makes VPCs as they are wanted. Every call may be repeated.
#[async_trait]
pub trait Network: Send + Sync {
    /// The VPCs there is anything of.
    async fn vpc_list(&self) -> Result<Vec<VpcId>>;

    /// Makes a VPC what it is wanted to be: its namespace, interfaces, rules and services; removes interfaces that are not wanted.
    /// When it returns, the rules are in force. The driver compares with what stands and changes only what differs.
    async fn vpc_ensure(&self, wanted: &VpcWanted) -> Result<()>;

    /// Removes a VPC with all in it. Without one: does nothing.
    async fn vpc_remove(&self, id: &VpcId) -> Result<()>;

    /// Opens the tap of an interface, for the machine to use.
    async fn tap_open(&self, vpc: &VpcId, interface: &NetworkInterfaceId) -> Result<OwnedFd>;

    /// The path of the VPC's network namespace, good from any mount namespace, for the operator's door (`pileus ssh`).
    async fn vpc_namespace(&self, id: &VpcId) -> Result<PathBuf>;

    /// How guests reach out, in a sentence for `pileus status`.
    fn way_out(&self) -> WayOut;
}

/// The way from the fabric to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayOut {
    /// Open, by the means that the text names.
    Open(String),
    /// There is none, for the reason that the text gives.
    None(String),
}

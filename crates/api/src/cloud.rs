//! What a cloud is made of, as its operator configured it.

use ipnet::Ipv4Net;
use model::capacity::{Host, Overcommit};
use model::space::Space;

/// The host, what may be promised on it, and the addresses to give out.
#[derive(Debug, Clone, PartialEq)]
pub struct Cloud {
    /// What the host has.
    pub host: Host,
    /// How much more of it may be promised.
    pub overcommit: Overcommit,
    /// The space for volumes.
    pub space: Space,
    /// Where public addresses come from.
    pub public_pool: Ipv4Net,
    /// Whether nothing runs: every instance type is offered then, not only those that the host can run.
    pub simulated: bool,
}

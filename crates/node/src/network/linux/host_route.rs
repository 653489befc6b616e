//! A route on the host that drops packets for the cloud's public addresses.
//!
//! Public addresses exist inside the cloud only. Without this route, a packet that a user of the host sends to one leaves by the default
//! route, and a stranger may answer.

use super::namespace::tool;
use ipnet::Ipv4Net;

/// Above the metric that any usual tool gives: a route for the same range that the operator made goes before this one.
const METRIC: &str = "4096000000";

/// Adds the route. Repeating it changes nothing; clouds with the same pool share it. `scripts/remove` deletes it.
pub(super) fn unreachable_add(pool: Ipv4Net) {
    if let Err(error) = tool("ip", &["-4", "route", "replace", "unreachable", &pool.to_string(), "metric", METRIC], "") {
        tracing::warn!("packets for public addresses may leave by the host's default route: {error:#}");
    }
}

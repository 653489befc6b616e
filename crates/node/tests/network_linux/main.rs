//! Real packets through the Linux network driver: each guest is a network namespace with a device of its own, whose frames are carried to
//! and from its tap in the VPC as QEMU would. The server of each test lives in a namespace of its own, too: nothing leaves it.
//!
//! They need root, `ip`, `nft`, `pasta` and `busybox`, and fail without.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../src/network/contract.rs"]
#[allow(dead_code)]
mod contract;
mod gateway;
mod groups;
mod guest;
mod life;
mod link;
mod services;
mod world;

use node::network::Network;

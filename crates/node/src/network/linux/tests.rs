//! The Linux driver keeps the contract of all network drivers.
#![allow(clippy::unwrap_used)]

use super::super::contract::check;
use super::{LinuxNetwork, NetworkConfig, Uplink};
use crate::directory::Directory;
use crate::metadata::Tokens;
use crate::network::Network;
use model::ids::VpcId;
use model::metadata::Guest;
use model::time::{Clock, Timestamp};
use std::net::Ipv4Addr;
use std::sync::Arc;

struct Nobody;

impl Directory for Nobody {
    fn guest(&self, _vpc: &VpcId, _private_ip: Ipv4Addr) -> Option<Arc<Guest>> {
        None
    }
}

struct Epoch;

impl Clock for Epoch {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
}

/// Ends the namespaces that a failed test would leave.
struct Sweep(std::path::PathBuf);

impl Drop for Sweep {
    fn drop(&mut self) {
        for (_, namespace) in super::namespace::Namespace::find(&self.0).unwrap() {
            namespace.end();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linux_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let _sweep = Sweep(dir.path().into());
    let config = NetworkConfig {
        data_dir: dir.path().into(),
        uplink: Uplink::None,
        public_pool: "198.18.0.0/16".parse().unwrap(),
        allow_private: Vec::new(),
        mtu: 9001,
        pasta_uid: 2_100_065_536,
    };
    check(&|| {
        let tokens = Tokens::new([7; 32], Arc::new(Epoch));
        Arc::new(LinuxNetwork::new(config.clone(), Arc::new(Nobody), tokens).unwrap()) as Arc<dyn Network>
    })
    .await;
}

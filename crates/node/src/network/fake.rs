//! Networks without packets: what a simulated cloud runs on.

use super::{Network, WayOut};
use crate::Result;
use crate::fake::{Failure, Host};
use anyhow::{Context as _, bail};
use async_trait::async_trait;
use model::ids::{NetworkInterfaceId, VpcId};
use model::network::VpcWanted;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A call of [`Network`] that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Network::vpc_list`].
    List,
    /// [`Network::vpc_ensure`].
    Ensure,
    /// [`Network::vpc_remove`].
    Remove,
    /// [`Network::tap_open`].
    TapOpen,
    /// [`Network::vpc_namespace`].
    Namespace,
}

#[derive(Debug, Default)]
struct State {
    vpcs: BTreeMap<VpcId, VpcWanted>,
    changes: u64,
}

/// The host's side: outlives the driver, as namespaces outlive a process. A clone is the same host.
#[derive(Debug, Clone, Default)]
pub struct FakeNetworkHost(Host<State, Call>);

impl FakeNetworkHost {
    /// What is in force.
    #[must_use]
    pub fn vpcs(&self) -> BTreeMap<VpcId, VpcWanted> {
        self.0.state().vpcs.clone()
    }

    /// How many calls have changed anything: a loop that has nothing to do leaves it as it is.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.0.state().changes
    }

    /// Makes the next call of this kind fail. Several add up, in order.
    pub fn fail_next(&self, call: Call, failure: Failure) {
        self.0.fail_next(call, failure);
    }

    /// The host is started again: no namespace outlives that.
    pub fn reboot(&self) {
        self.0.state().vpcs.clear();
    }
}

/// The driver on a [`FakeNetworkHost`].
pub struct FakeNetwork {
    host: FakeNetworkHost,
}

impl FakeNetwork {
    /// Networks on this host.
    #[must_use]
    pub fn new(host: FakeNetworkHost) -> Self {
        Self { host }
    }
}

#[async_trait]
impl Network for FakeNetwork {
    async fn vpc_list(&self) -> Result<Vec<VpcId>> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::List, |state| Ok(state.vpcs.keys().cloned().collect()))
    }

    async fn vpc_ensure(&self, wanted: &VpcWanted) -> Result<()> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Ensure, |state| {
            if state.vpcs.get(&wanted.id) != Some(wanted) {
                state.vpcs.insert(wanted.id.clone(), wanted.clone());
                state.changes += 1;
            }
            Ok(())
        })
    }

    async fn vpc_remove(&self, id: &VpcId) -> Result<()> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Remove, |state| {
            state.changes += u64::from(state.vpcs.remove(id).is_some());
            Ok(())
        })
    }

    async fn tap_open(&self, vpc: &VpcId, interface: &NetworkInterfaceId) -> Result<OwnedFd> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::TapOpen, |state| {
            if !state.vpcs.get(vpc).is_some_and(|v| v.interfaces.contains_key(interface)) {
                bail!("no interface {interface} in {vpc}");
            }
            // Any descriptor will do: a simulated machine neither reads nor writes it.
            Ok(File::open("/dev/null").context("open /dev/null")?.into())
        })
    }

    async fn vpc_namespace(&self, id: &VpcId) -> Result<PathBuf> {
        tokio::task::yield_now().await;
        self.host.0.call(Call::Namespace, |state| {
            if !state.vpcs.contains_key(id) {
                bail!("no VPC {id}");
            }
            Ok(PathBuf::from(format!("/simulated/network/{id}")))
        })
    }

    fn way_out(&self) -> WayOut {
        WayOut::None("the network is simulated: no packet leaves".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::network::contract;
    use std::sync::Arc;

    #[tokio::test]
    async fn keeps_the_contract() {
        let host = FakeNetworkHost::default();
        contract::check(&|| Arc::new(FakeNetwork::new(host.clone()))).await;
    }

    #[tokio::test]
    async fn counts_only_changes_and_fails_as_ordered() {
        let host = FakeNetworkHost::default();
        let network = FakeNetwork::new(host.clone());
        let wanted = contract::vpc(1);
        host.fail_next(Call::Ensure, Failure::Refused);
        assert!(network.vpc_ensure(&wanted).await.is_err());
        assert_eq!(host.vpcs().len(), 0);
        host.fail_next(Call::Ensure, Failure::Lost);
        assert!(network.vpc_ensure(&wanted).await.is_err());
        assert_eq!(host.vpcs()[&wanted.id], wanted);
        network.vpc_ensure(&wanted).await.unwrap();
        assert_eq!(host.changes(), 1);
        host.reboot();
        assert_eq!(network.vpc_list().await.unwrap(), []);
    }
}

//! What outlives the simulated process: the host's machines, networks, volumes and images, and time.

use crate::drivers::Faulty;
use crate::faults::SimFaults;
use model::ids::ImageId;
use model::time::{Clock, Timestamp};
use node::hypervisor::fake::{FakeHypervisor, FakeHypervisorHost};
use node::image::Images as _;
use node::image::fake::{FakeImageHost, FakeImages};
use node::network::fake::{FakeNetwork, FakeNetworkHost};
use node::volume::fake::{FakeVolumeHost, FakeVolumes};
use rand::{RngExt as _, SeedableRng as _};
use reconcile::Drivers;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Notify;

/// The source of all chance of a simulation.
pub(crate) type Rng = rand_chacha::ChaCha8Rng;

/// Another source, which doesn't depend on how much is drawn from this one later.
pub(crate) fn fork(rng: &mut Rng) -> Rng {
    Rng::seed_from_u64(rng.random())
}

/// One host.
#[derive(Default)]
pub(crate) struct Hosts {
    pub(crate) machines: FakeHypervisorHost,
    pub(crate) network: FakeNetworkHost,
    pub(crate) volumes: FakeVolumeHost,
    pub(crate) images: FakeImageHost,
    boots: u32,
}

impl Hosts {
    pub(crate) fn boot_id(&self) -> String {
        format!("boot-{}", self.boots)
    }

    /// The power fails and comes back: what is on disks is still there.
    pub(crate) fn reboot(&mut self) {
        self.boots += 1;
        self.machines.reboot();
        self.network.reboot();
    }

    /// What failed of the host works again, and guests obey.
    pub(crate) fn mend(&self) {
        self.machines.ignore_power_button(false);
        for id in self.machines.machines().keys() {
            self.machines.disk_mend(id);
        }
    }

    pub(crate) async fn image_adopt(&self, id: &ImageId) {
        let images = FakeImages::new(self.images.clone());
        images.adopt(id, Path::new("/simulated/staging")).await.expect("a fake takes any image");
    }

    pub(crate) fn drivers(&self, clock: Arc<dyn Clock>, changed: Arc<Notify>, faults: &Arc<SimFaults>) -> Drivers {
        let images = FakeImages::new(self.images.clone());
        let volumes = FakeVolumes::new(self.volumes.clone(), Arc::new(images.clone()));
        let hypervisor = FakeHypervisor::new(self.machines.clone(), clock, changed);
        Drivers {
            hypervisor: faulty(hypervisor, faults),
            network: faulty(FakeNetwork::new(self.network.clone()), faults),
            volumes: faulty(volumes, faults),
            images: faulty(images, faults),
        }
    }
}

fn faulty<D>(driver: D, faults: &Arc<SimFaults>) -> Arc<Faulty<D>> {
    Arc::new(Faulty { driver, faults: faults.clone() })
}

/// Simulated time: that of the runtime, which stands still while there is work and else jumps to the next timer.
pub(crate) struct SimClock {
    start: Timestamp,
    origin: tokio::time::Instant,
}

impl SimClock {
    /// A clock that shows `start` now. Only within a runtime whose time is paused.
    pub(crate) fn new(start: Timestamp) -> Self {
        Self { start, origin: tokio::time::Instant::now() }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let millis = i64::try_from(self.origin.elapsed().as_millis()).expect("a simulation is short");
        self.start.plus_millis(millis)
    }
}

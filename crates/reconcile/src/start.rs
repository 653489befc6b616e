//! Starting a machine: what it stands on is made at once, side by side, then the machine itself.

use crate::Reconciler;
use crate::error::{CALL_TIMEOUT, MAKE_TIMEOUT, Stop, call};
use crate::instances::At;
use anyhow::{Context as _, anyhow};
use model::fault::Crash;
use model::image::Image;
use model::instance::Instance;
use model::network_interface::NetworkInterface;
use model::plan::machine_spec;
use model::volume::Volume;
use node::hypervisor::Parts;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use store::View;

/// Most machines that are started at one time. Who waits is served in the order of asking.
pub(crate) const STARTS_AT_ONCE: usize = 8;
const GIB_BYTES: u64 = 1 << 30;

/// Why a machine was not started.
pub(crate) enum NotStarted {
    /// Something else is wanted by now.
    Outdated,
    /// All work ends.
    Stop(Stop),
    /// It failed.
    Failed {
        /// At what, for the owner.
        reason: &'static str,
        /// The whole of it, for the log.
        error: anyhow::Error,
    },
}

impl From<Crash> for NotStarted {
    fn from(crash: Crash) -> Self {
        Self::Stop(crash.into())
    }
}

/// Says what a failure means to the owner. What halts all work halts it still.
trait Reason<T> {
    fn reason(self, reason: &'static str) -> Result<T, NotStarted>;
}

impl<T> Reason<T> for anyhow::Result<T> {
    fn reason(self, reason: &'static str) -> Result<T, NotStarted> {
        self.map_err(|error| NotStarted::Failed { reason, error })
    }
}

impl<T> Reason<T> for Result<T, Stop> {
    fn reason(self, reason: &'static str) -> Result<T, NotStarted> {
        self.map_err(|stop| match stop {
            Stop::Failed(error) => NotStarted::Failed { reason, error },
            halt @ Stop::Halt(_) => NotStarted::Stop(halt),
        })
    }
}

impl Reconciler {
    /// Makes the volumes and the VPC, and starts the machine on them. `again`: what is left of it is removed first.
    pub(crate) async fn machine_start(&self, at: &mut At<'_>, again: bool) -> Result<(), NotStarted> {
        let instance = at.instance;
        let _turn = self.starts.acquire().await.map_err(|_| NotStarted::Outdated)?;
        let snapshot = self.store.snapshot();
        let view = snapshot.of(at.scope);
        // It may have been a long wait for the turn.
        if view.get::<Instance>(&instance.id).is_none_or(|newest| newest.run != instance.run || newest.state != instance.state) {
            return Err(NotStarted::Outdated);
        }
        at.memory.try_note(instance.run, "its machine ended as soon as it was started");
        let image = snapshot.find::<Image>(&instance.image_id).map(|(_, image)| image);
        let image = image.with_context(|| format!("no image {}", instance.image_id)).reason("its image is gone")?;
        let interfaces = documents::<NetworkInterface>(view, &instance.interfaces).reason("its network interfaces are gone")?;
        let volumes = documents::<Volume>(view, &instance.volumes).reason("its volumes are gone")?;
        let spec = machine_spec(instance, image, &interfaces).map_err(|text| anyhow!(text)).reason("its machine can't be made")?;
        if again {
            let removed = call("remove what is left of the machine", CALL_TIMEOUT, self.drivers.hypervisor.remove(&instance.id)).await;
            removed.reason("its old machine could not be removed")?;
        }
        let kernel = self.kernel(image, spec.kernel_command_line.is_some());
        let (kernel, volumes, taps) = tokio::join!(kernel, self.volumes_make(&volumes), self.taps_make(instance));
        let parts = Parts {
            kernel: kernel.reason("its image could not be read")?,
            volumes: volumes.reason("its volumes could not be made")?,
            taps: taps.reason("its network could not be made")?,
        };
        self.faults.hit("reconcile.machine.start.before")?;
        let started = call("start the machine", MAKE_TIMEOUT, self.drivers.hypervisor.start(&spec, parts)).await;
        started.reason("its machine could not be started")
    }

    async fn kernel(&self, image: &Image, direct: bool) -> anyhow::Result<Option<(PathBuf, PathBuf)>> {
        if !direct {
            return Ok(None);
        }
        let files = call("find the image", CALL_TIMEOUT, self.drivers.images.files(&image.id)).await?;
        let kernel = files.kernel.with_context(|| format!("image {} has no kernel beside its disk", image.id))?;
        Ok(Some(kernel))
    }

    async fn volumes_make(&self, volumes: &[Arc<Volume>]) -> anyhow::Result<Vec<node::volume::Files>> {
        let mut files = Vec::new();
        for volume in volumes {
            let bytes = u64::from(volume.size_gib) * GIB_BYTES;
            call("make the volume", MAKE_TIMEOUT, self.drivers.volumes.ensure(&volume.id, bytes, &volume.source)).await?;
            files.push(call("find the volume", CALL_TIMEOUT, self.drivers.volumes.files(&volume.id)).await?);
        }
        Ok(files)
    }

    async fn taps_make(&self, instance: &Instance) -> Result<Vec<OwnedFd>, Stop> {
        let vpc = &instance.vpc_id;
        self.vpc_apply(vpc).await?;
        let mut taps = Vec::new();
        for interface in &instance.interfaces {
            match call("open the tap", CALL_TIMEOUT, self.drivers.network.tap_open(vpc, interface)).await {
                Ok(tap) => taps.push(tap),
                Err(error) => {
                    self.vpc_doubt(vpc).await;
                    return Err(error.into());
                }
            }
        }
        Ok(taps)
    }
}

/// The documents of these ids, in their order.
fn documents<N: store::Unique>(view: View<'_>, ids: &[N::Id]) -> anyhow::Result<Vec<Arc<N>>> {
    ids.iter().map(|id| view.get::<N>(id).cloned().with_context(|| format!("no {} {id}", N::KIND))).collect()
}

//! Starting a machine: what it stands on is made or opened at once, side by side, then the machine itself.

use crate::Reconciler;
use crate::error::{CALL_TIMEOUT, MAKE_TIMEOUT, Stop, call};
use crate::instances::At;
use anyhow::{Context as _, anyhow};
use model::fault::Crash;
use model::ids::VolumeId;
use model::image::Image;
use model::instance::Instance;
use model::network_interface::NetworkInterface;
use model::plan::machine_spec;
use model::volume::{FileState, Volume};
use node::hypervisor::Parts;
use node::volume::Sight;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use store::View;

/// Most machines that are started at one time. Who waits is served in the order of asking.
pub(crate) const STARTS_AT_ONCE: usize = 8;

/// What a start can't do without.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What is lost, for the owner.
    pub(crate) reason: String,
    /// The volumes that are lost.
    pub(crate) volumes: Vec<(VolumeId, FileState)>,
}

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
    /// It can't succeed before the operator puts back what is lost.
    Refused(Refusal),
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
        let image = snapshot.launched_image(&instance.image_id);
        let image = image.with_context(|| format!("no image {}", instance.image_id)).reason("its image is gone")?;
        let interfaces = documents::<NetworkInterface>(view, &instance.interfaces).reason("its network interfaces are gone")?;
        let volumes = documents::<Volume>(view, &instance.volumes).reason("its volumes are gone")?;
        let spec = machine_spec(instance, image, &interfaces).map_err(|text| anyhow!(text)).reason("its machine can't be made")?;
        if again {
            let removed = call("remove what is left of the machine", CALL_TIMEOUT, self.drivers.hypervisor.remove(&instance.id)).await;
            removed.reason("its old machine could not be removed")?;
        }
        let ran = instance.has_run();
        if spec.kernel_command_line.is_some() || volumes.iter().any(|volume| !volume.is_made(ran)) {
            self.image_inspect(image).await?;
        }
        let kernel = self.kernel(image, spec.kernel_command_line.is_some());
        let (kernel, volumes, taps) = tokio::join!(kernel, self.volumes_open(&volumes, ran), self.taps_make(instance));
        let volumes = volumes?;
        let parts =
            Parts { kernel: kernel.reason("its image could not be read")?, volumes, taps: taps.reason("its network could not be made")? };
        self.faults.hit("reconcile.machine.start.before")?;
        let started = call("start the machine", MAKE_TIMEOUT, self.drivers.hypervisor.start(&spec, parts)).await;
        started.reason("its machine could not be started")
    }

    async fn kernel(&self, image: &Image, direct: bool) -> anyhow::Result<Option<(PathBuf, PathBuf)>> {
        if !direct {
            return Ok(None);
        }
        let files = call("find the image", CALL_TIMEOUT, self.drivers.images.files(image.content())).await?;
        let kernel = files.kernel.with_context(|| format!("image {} has no kernel beside its disk", image.id))?;
        Ok(Some(kernel))
    }

    /// Refuses an image whose files are lost.
    async fn image_inspect(&self, image: &Image) -> Result<(), NotStarted> {
        let lost = call("look at the image", CALL_TIMEOUT, self.drivers.images.inspect(image.content())).await;
        let Some(lost) = lost.reason("its image could not be read")? else { return Ok(()) };
        tracing::error!(image = %image.id, why = lost.why, "the image is lost: put it back, from a backup; until then nothing starts from it");
        Err(NotStarted::Refused(Refusal { reason: format!("the image {} is {}", image.id, lost.loss), volumes: Vec::new() }))
    }

    /// Makes the volumes that were never in use, and looks at all. One that is lost is never made anew.
    async fn volumes_open(&self, volumes: &[Arc<Volume>], ran: bool) -> Result<Vec<node::volume::Files>, NotStarted> {
        let (mut open, mut lost) = (Vec::new(), Vec::new());
        for volume in volumes {
            let (id, bytes) = (&volume.id, volume.size_bytes());
            if !volume.is_made(ran) {
                let made = call("make the volume", MAKE_TIMEOUT, self.drivers.volumes.ensure(id, bytes, &volume.source)).await;
                made.reason("its volumes could not be made")?;
            }
            let sight = self.volume_inspect(volume).await.reason("its volumes could not be looked at")?;
            match sight {
                Sight::Whole(files) => open.push(files),
                Sight::Lost { loss, why } => {
                    tracing::error!(volume = %id, why, "a volume is lost: put its file back, from a backup; until then its instance doesn't start");
                    lost.push((id.clone(), FileState::Lost { loss, why }));
                }
            }
        }
        if lost.is_empty() {
            return Ok(open);
        }
        let named = lost.iter().map(|(id, state)| match state {
            FileState::Lost { loss, .. } => format!("the volume {id} is {loss}"),
            FileState::Unrecorded | FileState::Wanted | FileState::Made => id.to_string(),
        });
        Err(NotStarted::Refused(Refusal { reason: named.collect::<Vec<_>>().join(", "), volumes: lost }))
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

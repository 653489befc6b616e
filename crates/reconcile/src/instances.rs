//! Instances: each is taken step by step to where it is wanted.

use crate::{BOOT_ID, Reconciler, STEPS_MAX, Wish};
use anyhow::Context as _;
use model::fault::Crash;
use model::ids::InstanceId;
use model::image::{Boot, Image};
use model::instance::{Event, Instance, State};
use model::machine::{Activity, Disk, Interface, MachineSpec, Observed};
use model::network_interface::NetworkInterface;
use model::plan::{HostView, Step, plan};
use model::scope::Scope;
use model::volume::Volume;
use node::hypervisor::Parts;
use std::sync::Arc;
use store::SystemTx;

/// Starts that may fail in a row before the instance is given up.
const START_FAILURES_MAX: u32 = 5;
/// How long to wait after the first failure, and at most, in milliseconds; it doubles with each.
const RETRY_MILLIS: i64 = 500;
const RETRY_MILLIS_MAX: i64 = 30_000;
const GIB: u64 = 1 << 30;

/// A driver's error, or the simulated end of the process.
enum Failed {
    Driver(anyhow::Error),
    Crash(Crash),
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<Crash> for Failed {
    fn from(crash: Crash) -> Self {
        Self::Crash(crash)
    }
}

impl From<store::StoreError> for Failed {
    fn from(error: store::StoreError) -> Self {
        Self::Driver(error.into())
    }
}

impl Reconciler {
    /// Does what is due for one instance, until it rests or waits.
    pub(crate) async fn instance_work(&self, id: &InstanceId) -> Result<(), Crash> {
        for _ in 0..STEPS_MAX {
            let Some((scope, instance)) = self.store.snapshot().find::<Instance>(id).map(|(s, i)| (s.clone(), i.clone())) else {
                return Ok(());
            };
            match self.instance_step(&scope, &instance).await {
                Ok(true) => {
                    self.memory().failures.remove(id);
                }
                Ok(false) => return Ok(()),
                Err(Failed::Crash(crash)) => return Err(crash),
                Err(Failed::Driver(error)) => {
                    self.failed(&scope, &instance, &error).await?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// One step; `false` if the instance rests.
    async fn instance_step(&self, scope: &Scope, instance: &Arc<Instance>) -> Result<bool, Failed> {
        let id = &instance.id;
        let hypervisor = &self.drivers.hypervisor;
        // An error here means unknown, and nothing is concluded from it.
        let observed = hypervisor.observe(id).await.context("can't observe the machine")?;
        let wish = wish(instance);
        let pressed = wish.is_some() && self.memory().pressed.get(id).copied() == wish;
        let host = HostView { restarted: self.host_restarted(), pressed, now: self.clock.now() };
        self.note(id, &observed);
        match plan(instance, &observed, host) {
            Step::Rest | Step::Wait(_) => return Ok(false),
            Step::Start => {
                self.start(scope, instance).await?;
                self.faults.hit("reconcile.machine.started")?;
            }
            Step::PowerButton => {
                hypervisor.power_button(id).await.context("can't press the power button")?;
                if let Some(wish) = wish {
                    self.memory().pressed.insert(id.clone(), wish);
                }
                return Ok(false);
            }
            Step::Reset => {
                hypervisor.reset(id).await.context("can't reset the machine")?;
                self.faults.hit("reconcile.machine.reset")?;
                let since = instance.reboot_since;
                self.change(scope, instance, move |i, _| {
                    if i.reboot_since == since {
                        i.reboot_since = None;
                    }
                })
                .await?;
            }
            Step::Resume => {
                // If the cause is still there it pauses again at once, so this is tried with each period only.
                hypervisor.resume(id).await.context("can't resume the machine")?;
                return Ok(false);
            }
            Step::Remove => {
                hypervisor.remove(id).await.context("can't remove the machine")?;
                self.faults.hit("reconcile.machine.removed")?;
            }
            Step::Clear => {
                for volume in doomed(&self.store.snapshot().of(scope), instance) {
                    self.drivers.volumes.remove(&volume.id).await.context("can't delete a volume")?;
                    self.faults.hit("reconcile.volume.removed")?;
                }
                self.record(scope, instance, Event::Gone).await?;
            }
            Step::Record(event) => self.record(scope, instance, event).await?,
            Step::Forget => {
                hypervisor.console_remove(id).await.context("can't delete the console")?;
                let (scope, id) = (scope.clone(), id.clone());
                let _ = self.store.write(move |tx| Ok::<_, ()>(tx.remove::<Instance>(&scope, &id))).await?;
            }
        }
        Ok(true)
    }

    /// Makes what the machine stands on, and starts it.
    async fn start(&self, scope: &Scope, instance: &Arc<Instance>) -> Result<(), Failed> {
        let snapshot = self.store.snapshot();
        let view = snapshot.of(scope);
        let find_image = || view.get::<Image>(&instance.image_id).or_else(|| view.find_public_image(&instance.image_id));
        let image = find_image().context("the image is gone")?;
        let kind = model::instance_type::InstanceType::find(&instance.instance_type).context("the type is gone")?;
        let volumes = async {
            for id in &instance.volumes {
                let volume = view.get::<Volume>(id).context("a volume is gone")?;
                self.drivers.volumes.ensure(id, u64::from(volume.size_gib) * GIB, &volume.source).await.context("can't make a volume")?;
            }
            Ok::<_, anyhow::Error>(())
        };
        let vpc = async { self.vpc_ensure(scope, &instance.vpc_id).await.context("can't make the VPC") };
        tokio::try_join!(volumes, vpc)?;
        self.faults.hit("reconcile.machine.prepared")?;

        let mut parts = Parts::default();
        let mut disks = Vec::new();
        for id in &instance.volumes {
            parts.volumes.push(self.drivers.volumes.files(id).await?);
            disks.push(Disk::Volume(id.clone()));
        }
        let (count, gigabytes) = kind.disks;
        disks.extend((0..count).map(|index| Disk::InstanceStore { index, bytes: u64::from(gigabytes) * 1_000_000_000 }));
        let mut interfaces = Vec::new();
        for id in &instance.interfaces {
            let mac = view.get::<NetworkInterface>(id).context("an interface is gone")?.mac;
            parts.taps.push(self.drivers.network.tap_open(&instance.vpc_id, id).await?);
            interfaces.push(Interface { id: id.clone(), mac });
        }
        let kernel_command_line = match &image.boot {
            Boot::Firmware => None,
            Boot::Kernel { command_line } => {
                parts.kernel = self.drivers.images.files(&image.id).await?.kernel;
                Some(command_line.clone())
            }
        };
        let spec = MachineSpec {
            id: instance.id.clone(),
            run: instance.run,
            vcpus: instance.cpu_options.map_or(kind.vcpus(), |(cores, threads)| cores * threads),
            memory_mib: kind.memory_mib,
            kernel_command_line,
            image_id: image.id.clone(),
            disks,
            interfaces,
        };
        Ok(self.drivers.hypervisor.start(&spec, parts).await.context("can't start the machine")?)
    }

    /// Applies an event to the newest document: a wish that was committed meanwhile stands.
    async fn record(&self, scope: &Scope, seen: &Instance, event: Event) -> Result<(), Failed> {
        self.faults.hit("reconcile.record.before")?;
        let now = self.clock.now();
        let run = seen.run;
        let owner = scope.clone();
        self.change(scope, seen, move |instance, tx| {
            if instance.run != run || instance.apply(&event, now) != Ok(true) {
                return;
            }
            if event == Event::Gone {
                gone(tx, &owner, instance);
            }
        })
        .await
    }

    /// Changes an instance in a transaction, if it is still there.
    async fn change(
        &self,
        scope: &Scope,
        seen: &Instance,
        closure: impl FnOnce(&mut Instance, &mut SystemTx<'_>) + Send + 'static,
    ) -> Result<(), Failed> {
        let (scope, id) = (scope.clone(), seen.id.clone());
        let written = self.store.write(move |tx| {
            let Some(found) = tx.get::<Instance>(&scope, &id).cloned() else { return Ok::<_, ()>(()) };
            let mut instance = (*found).clone();
            closure(&mut instance, tx);
            tx.put(&scope, instance);
            Ok(())
        });
        let _ = written.await?;
        Ok(())
    }

    /// Waits longer after each failure, and gives up a start that keeps failing.
    async fn failed(&self, scope: &Scope, instance: &Arc<Instance>, error: &anyhow::Error) -> Result<(), Crash> {
        let id = &instance.id;
        tracing::warn!(instance = %id, error = format!("{error:#}"), "a step failed; it is tried again");
        let count = {
            let mut memory = self.memory();
            let count = memory.failures.get(id).map_or(1, |(n, _)| n + 1);
            let wait = RETRY_MILLIS.saturating_mul(1 << count.min(10)).min(RETRY_MILLIS_MAX);
            memory.failures.insert(id.clone(), (count, self.clock.now().plus_millis(wait)));
            memory.notes.insert(id.clone(), format!("{error:#}"));
            count
        };
        if count >= START_FAILURES_MAX && instance.state == State::Pending {
            let reason = "Internal error: the machine could not be started".into();
            match self.record(scope, instance, Event::StartFailed { reason }).await {
                Ok(()) => drop(self.memory().failures.remove(id)),
                Err(Failed::Crash(crash)) => return Err(crash),
                Err(Failed::Driver(error)) => tracing::error!(instance = %id, error = format!("{error:#}"), "can't give up a start"),
            }
        }
        Ok(())
    }

    /// Keeps what the operator should know of a machine.
    fn note(&self, id: &InstanceId, observed: &Observed) {
        let mut memory = self.memory();
        if let Observed::Known { activity: Activity::Paused { reason }, .. } = observed {
            memory.notes.insert(id.clone(), format!("paused, since its disk said: {reason}"));
        } else if !memory.failures.contains_key(id) {
            memory.notes.remove(id);
        }
    }

    /// Writes down which start of the host the machines were seen in, once all that ran before are seen again.
    pub(crate) async fn boot_id_record(&self) -> Result<(), Crash> {
        let boot_id = self.host.boot_id();
        let snapshot = self.store.snapshot();
        if snapshot.setting(BOOT_ID) == Some(&boot_id) {
            return Ok(());
        }
        for (_, instance) in snapshot.all::<Instance>().filter(|(_, i)| i.state == State::Running) {
            if !matches!(self.drivers.hypervisor.observe(&instance.id).await, Ok(Observed::Known { .. })) {
                return Ok(());
            }
        }
        let written = self.store.write(move |tx| {
            tx.setting_put(BOOT_ID, &boot_id);
            Ok::<_, ()>(())
        });
        if let Err(error) = written.await {
            tracing::error!(%error, "can't record the host's start");
        }
        Ok(())
    }
}

/// What the power button is pressed for: a new wish presses it anew.
fn wish(instance: &Instance) -> Option<Wish> {
    let since = match &instance.state {
        State::Stopping(ending) | State::ShuttingDown(ending) => Some(ending.since),
        State::Running => instance.reboot_since,
        State::Pending | State::Stopped | State::Terminated { .. } => None,
    };
    since.map(|since| (instance.run, instance.state.name(), since))
}

/// The volumes that go with an instance.
fn doomed(view: &store::View<'_>, instance: &Instance) -> Vec<Arc<Volume>> {
    let volumes = instance.volumes.iter().filter_map(|id| view.get::<Volume>(id).cloned());
    volumes.filter(|v| v.attachment.as_ref().is_some_and(|a| a.delete_on_termination)).collect()
}

/// What the end of a machine means for the documents around it: a stop gives back the public address, a termination all.
fn gone(tx: &mut SystemTx<'_>, scope: &Scope, instance: &mut Instance) {
    let over = matches!(instance.state, State::Terminated { .. });
    for id in instance.interfaces.clone() {
        let Some(found) = tx.get::<NetworkInterface>(scope, &id).cloned() else { continue };
        let mut interface = (*found).clone();
        interface.public_ip = None;
        if over && interface.attachment.as_ref().is_none_or(|a| a.delete_on_termination) {
            tx.remove::<NetworkInterface>(scope, &id);
            continue;
        }
        if over {
            interface.attachment = None;
        }
        tx.put(scope, interface);
    }
    if !over {
        return;
    }
    for volume in doomed(&tx.of(scope), instance) {
        tx.remove::<Volume>(scope, &volume.id);
    }
    for id in std::mem::take(&mut instance.volumes) {
        let Some(found) = tx.get::<Volume>(scope, &id).cloned() else { continue };
        tx.put(scope, Volume { attachment: None, ..(*found).clone() });
    }
    instance.interfaces.clear();
}

//! Instances: each is taken step by step to where it is wanted. What the next step is, [`model::plan`] decides.

use crate::Reconciler;
use crate::error::{CALL_TIMEOUT, Stop, call};
use crate::start::{NotStarted, Refusal};
use crate::table::{Next, Note, Wanted};
use crate::volumes::file_put;
use anyhow::anyhow;
use model::ids::{InstanceId, VolumeId};
use model::instance::{Event, Instance, Refused, State};
use model::machine::Observed;
use model::network_interface::NetworkInterface;
use model::plan::{self, Memory, Press, Step, Wait};
use model::scope::Scope;
use model::time::Timestamp;
use model::volume::{FileState, Volume};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use store::SystemTx;

/// How often a machine is looked at though nothing was heard of it, in milliseconds.
const LOOK_MILLIS: i64 = 5_000;
/// Steps for one instance before others have their turn.
const STEPS_MAX: u32 = 32;

/// What work on one instance is done with. The document may be older than the store's: each write reads it again.
pub(crate) struct At<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) instance: &'a Arc<Instance>,
    pub(crate) memory: &'a mut Memory,
}

impl Reconciler {
    /// Does step after step, until nothing is due for the instance.
    pub(crate) async fn instance_work(&self, id: &InstanceId, memory: &mut Memory) -> Result<Next, Stop> {
        let mut steps = 0;
        let mut started = false;
        loop {
            let snapshot = self.store.snapshot();
            let Some((scope, instance)) = snapshot.find::<Instance>(id) else { return Ok(Next { steps, ..Next::default() }) };
            let mut at = At { scope, instance, memory };
            let look = self.look(&mut at).await;
            let now = self.clock.now();
            let observed = look.as_ref().ok().and_then(Option::as_ref);
            let step = plan::next(instance, observed, at.memory, self.boot(&snapshot), now);
            if let Step::Wait(wait) = step {
                // If what there is can't be known, nothing is done but to look again, after a while.
                look?;
                return Ok(next(instance, wait, now, steps));
            }
            if matches!(step, Step::Start { .. }) && std::mem::replace(&mut started, true) {
                return Err(anyhow!("the machine was gone as soon as it was started").into());
            }
            self.step(&mut at, step, now).await?;
            steps += 1;
            if steps == STEPS_MAX {
                return Err(anyhow!("no rest after {STEPS_MAX} steps").into());
            }
        }
    }

    /// Looks at the machine, if the instance may have one. An error means unknown.
    async fn look(&self, at: &mut At<'_>) -> anyhow::Result<Option<Observed>> {
        let instance = at.instance;
        if !plan::looks(&instance.state) {
            return Ok(None);
        }
        let look = call("observe the machine", CALL_TIMEOUT, self.drivers.hypervisor.observe(&instance.id)).await;
        match &look {
            Ok(Observed::Known { run, .. }) if *run == instance.run => at.memory.seen_note(*run),
            Ok(Observed::Known { .. } | Observed::Absent) => {}
            Err(_) if instance.state == State::Pending => at.memory.try_note(instance.run, "its machine could not be looked at"),
            Err(_) => {}
        }
        look.map(Some)
    }

    async fn start(&self, at: &mut At<'_>, again: bool) -> Result<(), Stop> {
        let (id, run) = (&at.instance.id, at.instance.run);
        match self.machine_start(at, again).await {
            Ok(()) => {}
            Err(NotStarted::Outdated) => return Ok(()),
            Err(NotStarted::Stop(stop)) => return Err(stop),
            Err(NotStarted::Refused(refusal)) => return self.start_refuse(at, refusal).await,
            Err(NotStarted::Failed { reason, error }) => {
                at.memory.tries.reason = reason.into();
                return Err(error.into());
            }
        }
        tracing::info!(instance = %id, run, again, "machine started");
        self.faults.hit("reconcile.machine.started.before_record")?;
        match at.instance.reboot_since {
            // A start is a reboot, too.
            Some(since) if again => self.reboot_done(at, since).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Records that the instance can't start, and the volumes that are lost. Another try would end the same.
    async fn start_refuse(&self, at: &At<'_>, refusal: Refusal) -> Result<(), Stop> {
        let now = self.clock.now();
        let Refusal { reason, volumes } = refusal;
        tracing::warn!(instance = %at.instance.id, reason, "the start is refused");
        self.instance_change(at, move |tx, scope, mut instance| {
            for (id, file) in volumes {
                file_put(tx, scope, &id, file);
            }
            let event = if instance.state == State::Pending {
                Event::StartFailed { reason: format!("Internal error on launch: {reason}") }
            } else {
                Event::MachineDied { reason: format!("The instance could not be started again after its host was: {reason}") }
            };
            if instance.apply(&event, now) == Ok(true) {
                tx.put(scope, instance);
            }
        })
        .await
        .map(drop)
    }

    /// Does one step.
    async fn step(&self, at: &mut At<'_>, step: Step, now: Timestamp) -> Result<(), Stop> {
        let id = &at.instance.id;
        let hypervisor = &self.drivers.hypervisor;
        match step {
            Step::Wait(_) => {}
            Step::Start { again } => self.start(at, again).await?,
            Step::Press { wish } => {
                let reacts = call("press the power button", CALL_TIMEOUT, hypervisor.power_button(id)).await?;
                if !reacts {
                    tracing::info!(instance = %id, "the guest has halted: it isn't waited for");
                }
                at.memory.pressed = Some(Press { run: at.instance.run, wish, at: now, halted: !reacts });
            }
            Step::Reset { reboot_since } => {
                call("reset the machine", CALL_TIMEOUT, hypervisor.reset(id)).await?;
                self.faults.hit("reconcile.machine.reset.before_record")?;
                self.reboot_done(at, reboot_since).await?;
            }
            Step::Resume => {
                call("let the machine go on", CALL_TIMEOUT, hypervisor.resume(id)).await?;
                at.memory.resumed = Some(now);
            }
            Step::End => self.machine_end(at).await?,
            Step::Clear => {
                call("remove what is left of the machine", CALL_TIMEOUT, hypervisor.remove(id)).await?;
                at.memory.remains = false;
            }
            Step::Record(event) => {
                self.faults.hit("reconcile.event.before_record")?;
                self.record(at, event).await?;
            }
            Step::Forget => {
                call("delete the console", CALL_TIMEOUT, hypervisor.console_remove(id)).await?;
                self.faults.hit("reconcile.console.removed.before_record")?;
                self.instance_change(at, move |tx, scope, instance| {
                    if matches!(instance.state, State::Terminated { .. }) {
                        tx.remove::<Instance>(scope, &instance.id);
                    }
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Reads the newest document and lets a closure change it, unless it was started anew or is gone: what was seen says nothing of
    /// another run.
    async fn instance_change<T, F>(&self, at: &At<'_>, closure: F) -> Result<Option<T>, Stop>
    where
        T: Send + 'static,
        F: FnOnce(&mut SystemTx<'_>, &Scope, Instance) -> T + Send + 'static,
    {
        let (scope, id, run) = (at.scope.clone(), at.instance.id.clone(), at.instance.run);
        let write = self.store.write(move |tx| {
            let newest = tx.get::<Instance>(&scope, &id).filter(|i| i.run == run).cloned();
            Ok::<_, Infallible>(newest.map(|instance| closure(tx, &scope, (*instance).clone())))
        });
        let Ok(done) = write.await?;
        Ok(done)
    }

    async fn record(&self, at: &At<'_>, event: Event) -> Result<(), Stop> {
        let now = self.clock.now();
        if let Event::Impaired { by, details } = &event
            && !by.is_empty()
        {
            tracing::warn!(instance = %at.instance.id, ?by, details, "the instance is impaired");
        } else {
            tracing::info!(instance = %at.instance.id, run = at.instance.run, ?event, "seen");
        }
        let applied = self.instance_change(at, move |tx, scope, mut instance| {
            let begins = instance.state == State::Pending && !matches!(event, Event::StartFailed { .. });
            let applied = instance.apply(&event, now);
            if applied == Ok(true) {
                for id in instance.volumes.iter().filter(|_| begins) {
                    file_put(tx, scope, id, FileState::Made);
                }
                tx.put(scope, instance);
            }
            applied
        });
        match applied.await? {
            // A newer wish was committed meanwhile, and stands.
            Some(Ok(_)) | None => Ok(()),
            Some(Err(Refused)) => Err(anyhow!("what was seen doesn't fit the instance's state any more").into()),
        }
    }

    async fn reboot_done(&self, at: &At<'_>, since: Timestamp) -> Result<(), Stop> {
        self.instance_change(at, move |tx, scope, instance| {
            if instance.reboot_since == Some(since) {
                tx.put(scope, Instance { reboot_since: None, ..instance });
            }
        })
        .await
        .map(drop)
    }

    /// Removes the machine and what goes with it, then records that. Done again from the start after a crash, since each part may be
    /// done twice.
    async fn machine_end(&self, at: &mut At<'_>) -> Result<(), Stop> {
        let id = &at.instance.id;
        call("remove the machine", CALL_TIMEOUT, self.drivers.hypervisor.remove(id)).await?;
        at.memory.remains = false;
        self.faults.hit("reconcile.machine.removed.before_record")?;
        if matches!(at.instance.state, State::Stopping(_)) {
            let now = self.clock.now();
            let lengths = self.volumes_settle(&at.instance.volumes).await;
            self.instance_change(at, move |tx, scope, instance| stopped_record(tx, scope, instance, &lengths, now)).await?;
            return Ok(());
        }
        // Marked first: from then on nobody can want to keep them.
        let doomed = self.instance_change(at, volumes_mark).await?.unwrap_or_default();
        self.faults.hit("reconcile.volumes.marked")?;
        for volume in &doomed {
            call("delete the volume", CALL_TIMEOUT, self.drivers.volumes.remove(volume)).await?;
        }
        self.faults.hit("reconcile.volumes.removed.before_record")?;
        let now = self.clock.now();
        self.instance_change(at, move |tx, scope, instance| terminated_record(tx, scope, instance, &doomed, now)).await?;
        Ok(())
    }
}

/// Until when an instance waits.
fn next(instance: &Arc<Instance>, wait: Wait, now: Timestamp, steps: u32) -> Next {
    let looked_at = plan::looks(&instance.state).then(|| now.plus_millis(LOOK_MILLIS));
    Next {
        at: wait.until.into_iter().chain(looked_at).min(),
        note: wait.why.map(|why| Note { text: why.to_string(), trouble: why.is_trouble() }),
        seen: Some(Wanted::Instance(instance.clone())),
        steps,
    }
}

/// The machine is gone, the instance is stopped: public addresses that are given at each start go back.
fn stopped_record(tx: &mut SystemTx<'_>, scope: &Scope, mut instance: Instance, lengths: &[(VolumeId, u64)], now: Timestamp) {
    if !matches!(instance.state, State::Stopping(_)) || instance.apply(&Event::Gone, now) != Ok(true) {
        return;
    }
    for (id, bytes) in lengths {
        if let Some(volume) = tx.get::<Volume>(scope, id).cloned() {
            tx.put(scope, Volume { file_bytes_synced: *bytes, ..(*volume).clone() });
        }
    }
    for id in &instance.interfaces {
        if let Some(interface) = tx.get::<NetworkInterface>(scope, id).filter(|n| n.map_public_ip).cloned() {
            tx.put(scope, NetworkInterface { public_ip: None, ..(*interface).clone() });
        }
    }
    tx.put(scope, instance);
}

/// Marks the volumes that go with an instance that is shutting down, and gives them back.
fn volumes_mark(tx: &mut SystemTx<'_>, scope: &Scope, instance: Instance) -> BTreeSet<VolumeId> {
    if !matches!(instance.state, State::ShuttingDown(_)) {
        return BTreeSet::new();
    }
    let doomed = volumes_of(tx, scope, &instance).into_iter().filter(|v| goes_with_instance(v));
    doomed
        .map(|volume| {
            tx.put(scope, Volume { deleting: true, ..(*volume).clone() });
            volume.id.clone()
        })
        .collect()
}

/// The machine and the files of `removed` are gone: the instance is terminated, if that is all that goes with it, and what it leaves is
/// detached.
fn terminated_record(tx: &mut SystemTx<'_>, scope: &Scope, mut instance: Instance, removed: &BTreeSet<VolumeId>, now: Timestamp) {
    let volumes = volumes_of(tx, scope, &instance);
    let all = volumes.iter().filter(|v| goes_with_instance(v)).all(|v| removed.contains(&v.id));
    if !all || !matches!(instance.state, State::ShuttingDown(_)) || instance.apply(&Event::Gone, now) != Ok(true) {
        return;
    }
    for volume in volumes {
        if removed.contains(&volume.id) {
            tx.remove::<Volume>(scope, &volume.id);
        } else {
            tx.put(scope, Volume { attachment: None, ..(*volume).clone() });
        }
    }
    for id in std::mem::take(&mut instance.interfaces) {
        let Some(interface) = tx.get::<NetworkInterface>(scope, &id).cloned() else { continue };
        if interface.attachment.as_ref().is_some_and(|a| !a.delete_on_termination) {
            let public_ip = interface.public_ip.filter(|_| !interface.map_public_ip);
            tx.put(scope, NetworkInterface { attachment: None, public_ip, ..(*interface).clone() });
        } else {
            tx.remove::<NetworkInterface>(scope, &id);
        }
    }
    instance.volumes.clear();
    tx.put(scope, instance);
}

fn volumes_of(tx: &SystemTx<'_>, scope: &Scope, instance: &Instance) -> Vec<Arc<Volume>> {
    instance.volumes.iter().filter_map(|id| tx.get::<Volume>(scope, id).cloned()).collect()
}

fn goes_with_instance(volume: &Volume) -> bool {
    volume.deleting || volume.attachment.as_ref().is_some_and(|a| a.delete_on_termination)
}

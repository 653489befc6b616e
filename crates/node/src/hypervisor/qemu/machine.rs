//! A machine that runs: its process, the conversation with its QEMU, and what is known of it.
//!
//! A task for each machine holds the one QMP connection that QEMU takes. Every event that may mean a change makes it ask QEMU what it does,
//! so no event is trusted for more than that, and one that is lost is made up for by the next question.

use super::boot::{self, Boots};
use super::halt;
use super::place::{self, Place};
use super::process::Process;
use super::qmp::{Event, Qmp, QmpError};
use crate::Result;
use anyhow::{Context as _, anyhow, bail};
use model::ids::InstanceId;
use model::impairment::Impairment;
use model::machine::{Activity, Observed};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

/// How long QEMU may take to answer. Its main loop may be held up by a slow disk.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long an observation may take; longer means unknown.
const OBSERVE_LIMIT: Duration = Duration::from_secs(3);
/// For how long what QEMU said is taken for true without asking again; events come in between.
const SEEN_FRESH: Duration = Duration::from_secs(5);
/// Between two tries to connect.
const RECONNECT_WAIT: Duration = Duration::from_millis(200);
/// How often it is looked after the console helper.
const HELPER_PERIOD: Duration = Duration::from_secs(15);
/// How long a reset may take.
const RESET_LIMIT: Duration = Duration::from_secs(10);

struct Seen {
    activity: Option<Activity>,
    at: Instant,
    boots: Boots,
    /// Why the guest can't go on, if it can't.
    crashed: Option<String>,
}

/// A machine whose process was there when this was made.
pub(crate) struct Machine {
    id: InstanceId,
    run: u64,
    place: Place,
    process: Process,
    born: Instant,
    qmp: watch::Sender<Option<Arc<Qmp>>>,
    resets: watch::Sender<u64>,
    seen: Mutex<Seen>,
    changed: Arc<Notify>,
}

/// Starts the console helper of a machine, if there is none.
pub(crate) type HelperEnsure = Arc<dyn Fn() -> Result<()> + Send + Sync>;

impl Machine {
    /// Of a process that was found or started. The returned handle ends the conversation, not the machine.
    pub(crate) fn watch(
        id: InstanceId,
        run: u64,
        place: Place,
        process: Process,
        boots: Boots,
        changed: Arc<Notify>,
        helper: HelperEnsure,
    ) -> (Arc<Self>, AbortHandle) {
        let crashed = place.crashed();
        let machine = Arc::new(Self {
            id,
            run,
            place,
            process,
            born: Instant::now(),
            qmp: watch::Sender::new(None),
            resets: watch::Sender::new(0),
            seen: Mutex::new(Seen { activity: None, at: Instant::now(), boots, crashed }),
            changed,
        });
        let task = tokio::spawn(machine.clone().live(helper));
        (machine, task.abort_handle())
    }

    /// The run it was started as.
    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// Its process.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Waits until QEMU answers.
    ///
    /// # Errors
    /// If it ends before, or that takes longer than `limit`.
    pub(crate) async fn ready(&self, limit: Duration) -> Result<()> {
        let mut connected = self.qmp.subscribe();
        let wait = async {
            tokio::select! {
                end = self.process.ended() => Err(anyhow!("QEMU ended at once ({end:?})")),
                _ = connected.wait_for(Option::is_some) => Ok(()),
            }
        };
        timeout(limit, wait).await.map_err(|_| anyhow!("QEMU didn't answer within {limit:?}"))?
    }

    /// What it does.
    ///
    /// # Errors
    /// If QEMU is there but doesn't answer.
    pub(crate) async fn observe(&self) -> Result<Observed> {
        let known = |activity| Observed::Known { run: self.run, activity };
        let cached = {
            let seen = self.seen();
            seen.activity.clone().filter(|_| seen.at.elapsed() < SEEN_FRESH)
        };
        if self.process.has_ended() {
            return Ok(Observed::Absent);
        }
        if let Some(activity) = cached {
            return Ok(known(activity));
        }
        let asked = timeout(OBSERVE_LIMIT, async { self.look(&*self.connected().await?).await }).await;
        if self.process.has_ended() {
            return Ok(Observed::Absent);
        }
        match asked {
            Ok(result) => Ok(known(result?)),
            Err(_) => bail!("QEMU of {} doesn't answer", self.id),
        }
    }

    /// Presses the power button. `false` if the guest has halted for good.
    pub(crate) async fn power_button(&self) -> Result<bool> {
        self.command("system_powerdown").await?;
        let qmp = self.conversation().await?;
        Ok(!halt::has_halted(&qmp).await.with_context(|| self.id.to_string())?)
    }

    /// Resets it, and lets it run.
    pub(crate) async fn reset(&self) -> Result<()> {
        let mut resets = self.resets.subscribe();
        self.place.crashed_note(None)?;
        {
            let mut seen = self.seen();
            seen.crashed = None;
            seen.boots = Boots::new(self.now());
        }
        self.command("system_reset").await?;
        // QEMU answers before it has reset; until then it would refuse to go on. A lost event only costs the wait.
        let _ = timeout(RESET_LIMIT, resets.changed()).await;
        self.command("cont").await?;
        self.look_again().await
    }

    /// Lets it go on, if a disk error has stopped it.
    pub(crate) async fn resume(&self) -> Result<()> {
        let qmp = self.connected().await?;
        if matches!(self.look(&qmp).await?, Activity::Paused { .. }) {
            self.command("cont").await?;
            self.look_again().await?;
        }
        Ok(())
    }

    /// Asks QEMU to write out what it holds and to end.
    pub(crate) async fn quit(&self) -> Result<()> {
        self.command("quit").await
    }

    async fn command(&self, name: &str) -> Result<()> {
        let qmp = timeout(ANSWER_LIMIT, self.connected()).await.map_err(|_| anyhow!("QEMU of {} doesn't answer", self.id))??;
        qmp.execute(name, Value::Null, ANSWER_LIMIT).await.with_context(|| self.id.to_string())?;
        Ok(())
    }

    async fn look_again(&self) -> Result<()> {
        let qmp = self.connected().await?;
        self.look(&qmp).await.map(drop)
    }

    /// The conversation with its QEMU.
    ///
    /// # Errors
    /// If QEMU doesn't answer.
    pub(crate) async fn conversation(&self) -> Result<Arc<Qmp>> {
        timeout(ANSWER_LIMIT, self.connected()).await.map_err(|_| anyhow!("QEMU of {} doesn't answer", self.id))?
    }

    async fn connected(&self) -> Result<Arc<Qmp>> {
        let mut qmp = self.qmp.subscribe();
        let now = qmp.wait_for(Option::is_some).await.map_err(|_| anyhow!("{} isn't watched any more", self.id))?;
        now.clone().ok_or_else(|| anyhow!("no connection to {}", self.id))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since this machine is watched.
    fn now(&self) -> i64 {
        i64::try_from(self.born.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The life of the task.
    async fn live(self: Arc<Self>, helper: HelperEnsure) {
        let end = tokio::select! {
            end = self.process.ended() => end,
            () = self.converse() => None,
            () = self.look_after(helper) => None,
        };
        tracing::info!(instance = %self.id, pid = self.process.pid, ?end, "QEMU ended");
        self.qmp.send_replace(None);
        self.changed.notify_one();
    }

    async fn look_after(&self, helper: HelperEnsure) {
        loop {
            // Also at once: while the server was down, nobody did.
            let ensure = helper.clone();
            match tokio::task::spawn_blocking(move || ensure()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(instance = %self.id, error = format!("{error:#}"), "no console helper"),
                Err(error) => tracing::warn!(instance = %self.id, %error, "no console helper"),
            }
            sleep(HELPER_PERIOD).await;
        }
    }

    async fn converse(&self) {
        loop {
            match self.connect().await {
                Ok((qmp, events)) => {
                    let qmp = Arc::new(qmp);
                    if let Err(error) = self.settle(&qmp).await {
                        self.unknown("connected", &error);
                    }
                    self.qmp.send_replace(Some(qmp.clone()));
                    self.listen(&qmp, events).await;
                    self.qmp.send_replace(None);
                    self.seen().activity = None;
                }
                Err(error) => tracing::debug!(instance = %self.id, error = format!("{error:#}"), "no QMP connection"),
            }
            sleep(RECONNECT_WAIT).await;
        }
    }

    async fn connect(&self) -> Result<(Qmp, Receiver<Event>)> {
        let stream = self.place.connect(place::QMP)?;
        stream.set_nonblocking(true).context("a socket")?;
        Ok(Qmp::open(UnixStream::from_std(stream).context("a socket")?, ANSWER_LIMIT).await?)
    }

    /// Finds how things stand. A machine that stands still without a reason was left so by a server that died on the way of a reset.
    async fn settle(&self, qmp: &Qmp) -> Result<()> {
        let status = status(qmp).await?;
        if matches!(status.as_str(), "paused" | "prelaunch") && self.seen().crashed.is_none() {
            qmp.execute("cont", Value::Null, ANSWER_LIMIT).await?;
        }
        self.look(qmp).await.map(drop)
    }

    async fn listen(&self, qmp: &Qmp, mut events: Receiver<Event>) {
        while let Some(event) = events.recv().await {
            let told = self.take(qmp, &event).await;
            let result = match told {
                Ok(false) if !qmp.events_lost() => continue,
                Ok(_) => self.look(qmp).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                self.unknown(&event.name, &error);
                self.seen().activity = None;
                self.changed.notify_one();
            }
        }
    }

    /// Says that QEMU's state could not be learned. That it has closed the connection is how each QEMU ends; what becomes of it then is seen by
    /// its process.
    fn unknown(&self, event: &str, error: &anyhow::Error) {
        let (instance, text) = (&self.id, format!("{error:#}"));
        match error.downcast_ref() {
            Some(QmpError::Closed) => tracing::debug!(%instance, event, error = text, "no more of QEMU's state"),
            _ => tracing::warn!(%instance, event, error = text, "QEMU's state is unknown"),
        }
    }

    /// Takes an event. `true` if the machine may do something else now.
    async fn take(&self, qmp: &Qmp, event: &Event) -> Result<bool> {
        match event.name.as_str() {
            "RESET" if event.data["guest"] == true => {
                let loops = {
                    let now = self.now();
                    self.seen().boots.reset(now)
                };
                if loops {
                    qmp.execute("stop", Value::Null, ANSWER_LIMIT).await?;
                    self.place.crashed_note(Some(boot::REASON))?;
                    self.seen().crashed = Some(boot::REASON.into());
                }
                Ok(loops)
            }
            "RESET" => {
                self.resets.send_modify(|count| *count += 1);
                Ok(false)
            }
            "STOP" | "RESUME" | "SHUTDOWN" | "GUEST_PANICKED" | "BLOCK_IO_ERROR" | "WATCHDOG" => Ok(true),
            _ => Ok(false),
        }
    }

    /// Asks QEMU what the machine does, and notes it.
    async fn look(&self, qmp: &Qmp) -> Result<Activity> {
        let status = status(qmp).await?;
        let crashed = self.seen().crashed.clone();
        let activity = match (crashed, status.as_str()) {
            (Some(reason), _) => Activity::Crashed { reason },
            // A guest that sleeps is none that is gone. It can't, but for firmware tables of its own.
            (None, "running" | "suspended") => Activity::Running,
            (None, "shutdown") => Activity::PoweredOff,
            (None, "io-error") => disk_error(qmp).await?,
            (None, "guest-panicked") => Activity::Crashed { reason: "The guest's kernel panicked".into() },
            (None, "internal-error") => Activity::Crashed { reason: "The virtual processor met a state it can't go on from".into() },
            (None, other) => bail!("QEMU of {} is {other}", self.id),
        };
        let mut seen = self.seen();
        seen.at = Instant::now();
        if seen.activity.as_ref() != Some(&activity) {
            // A guest that a full disk pauses is let go on every few seconds: the loop says once that it is impaired.
            if matches!((&seen.activity, &activity), (Some(Activity::Paused { .. }), _) | (_, Activity::Paused { .. })) {
                tracing::debug!(instance = %self.id, ?activity, "machine");
            } else {
                tracing::info!(instance = %self.id, ?activity, "machine");
            }
            seen.activity = Some(activity.clone());
            self.changed.notify_one();
        }
        Ok(activity)
    }
}

async fn status(qmp: &Qmp) -> Result<String> {
    let answer = qmp.execute("query-status", Value::Null, ANSWER_LIMIT).await?;
    Ok(answer["status"].as_str().unwrap_or("unknown").to_owned())
}

/// Which disks stopped the guest, and why.
async fn disk_error(qmp: &Qmp) -> Result<Activity> {
    let blocks = qmp.execute("query-block", Value::Null, ANSWER_LIMIT).await?;
    let failed = blocks.as_array().into_iter().flatten().filter_map(|block| {
        // Of a disk without a name of its own there is its device's path: /machine/peripheral/vol-…/virtio-backend.
        let path = block["qdev"].as_str().unwrap_or_default();
        let name = path.split('/').find(|part| part.starts_with("vol-") || part.starts_with("instance-store-")).unwrap_or(path);
        match block["io-status"].as_str()? {
            "nospace" => Some((Impairment::DiskFull, format!("{name}: no space left on the host's disk"))),
            "failed" => Some((Impairment::DiskFailed, format!("{name}: the host's disk failed to read or write"))),
            _ => None,
        }
    });
    let (causes, texts): (Vec<Impairment>, Vec<String>) = failed.unzip();
    // A disk that failed is worse than one that is full.
    let cause = causes.into_iter().max().unwrap_or(Impairment::DiskFailed);
    let reason = if texts.is_empty() { "a disk failed".into() } else { texts.join("; ") };
    Ok(Activity::Paused { cause, reason })
}

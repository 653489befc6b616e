//! Copies a running machine's volumes as they are at one moment.
//!
//! QEMU's backup job does it: before a guest overwrites what is not copied yet, the old bytes are copied. The volume's own file and chain stay as they
//! are, so nothing has to be put back if this server or QEMU is killed meanwhile: what was copied is worthless then, and the next copy ends what
//! is left of a job.
//!
//! A guest's write waits for the copy of what it overwrites. If that copy fails, the guest is paused as by an error of its own disk: then the job is
//! ended and the guest goes on. A full disk is avoided by reserving the room beforehand, which is the caller's part.

use super::machine::Machine;
use super::qmp::Qmp;
use crate::Result;
use crate::hypervisor::VolumeCopy;
use anyhow::{Context as _, bail, ensure};
use model::ids::VolumeId;
use serde_json::{Value, json};
use std::os::fd::AsFd as _;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long QEMU may take to answer; it drains the disks for some of these commands.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at how far things are.
const LOOK_PERIOD: Duration = Duration::from_millis(200);
/// How long a job that is cancelled may take to be gone.
const CANCEL_LIMIT: Duration = Duration::from_secs(60);
/// Requests that a job has under way. With QEMU's own 64, guests stood still for a second when it began.
const WORKERS: u32 = 4;

fn job(volume: &VolumeId) -> String {
    format!("{volume}-backup")
}

/// The names of the copy's nodes: of its file, and of its qcow2.
fn nodes(volume: &VolumeId) -> [String; 2] {
    [format!("{volume}-bf"), format!("{volume}-bq")]
}

/// See [`crate::hypervisor::Hypervisor::volumes_copy`].
pub(super) async fn copy(machine: &Machine, copies: &[VolumeCopy], progress: &(dyn Fn(u64, u64) + Send + Sync)) -> Result<()> {
    let qmp = machine.conversation().await?;
    clear(&qmp, copies).await.context("end what an earlier copy left")?;
    let done = async {
        let mut actions = Vec::new();
        for copy in copies {
            actions.push(prepare(&qmp, copy).await.with_context(|| format!("prepare the copy of {}", copy.volume))?);
        }
        let transaction = json!({ "actions": actions, "properties": { "completion-mode": "grouped" } });
        qmp.execute("transaction", transaction, ANSWER_LIMIT).await.context("begin to copy")?;
        follow(&qmp, copies, progress).await
    };
    let done = done.await;
    let cleared = clear(&qmp, copies).await;
    if done.is_err() {
        // A guest that was paused because the copy failed; one that was paused for another reason pauses again.
        machine.resume().await?;
    }
    done.and(cleared.context("end the copy"))
}

/// Gives QEMU the file of a copy; the action that begins to fill it.
async fn prepare(qmp: &Qmp, copy: &VolumeCopy) -> Result<Value> {
    let (volume, [file, qcow2]) = (&copy.volume, nodes(&copy.volume));
    let (top, below) = (format!("{volume}-q0"), format!("{volume}-q1"));
    let all = qmp.execute("query-named-block-nodes", json!({ "flat": true }), ANSWER_LIMIT).await?;
    let has = |name: &str| all.as_array().into_iter().flatten().any(|node| node["node-name"] == name);
    ensure!(has(&top), "the machine has no such volume");
    let added = qmp.execute_with("add-fd", json!({ "opaque": job(volume) }), Some(copy.to.as_fd()), ANSWER_LIMIT).await?;
    let set = added["fdset-id"].as_u64().context("a set of files without a number")?;
    let of_file = json!({ "driver": "file", "node-name": file, "filename": format!("/dev/fdset/{set}"), "discard": "unmap" });
    qmp.execute("blockdev-add", of_file, ANSWER_LIMIT).await?;
    let backing = if has(&below) { json!(below) } else { Value::Null };
    let of_qcow2 = json!({ "driver": "qcow2", "node-name": qcow2, "file": file, "backing": backing, "discard": "unmap" });
    qmp.execute("blockdev-add", of_qcow2, ANSWER_LIMIT).await?;
    Ok(json!({ "type": "blockdev-backup", "data": {
        "job-id": job(volume), "device": top, "target": qcow2, "sync": "top", "auto-dismiss": false,
        "on-source-error": "report", "on-target-error": "report", "x-perf": { "max-workers": WORKERS },
    } }))
}

/// Waits until all jobs have ended.
async fn follow(qmp: &Qmp, copies: &[VolumeCopy], progress: &(dyn Fn(u64, u64) + Send + Sync)) -> Result<()> {
    loop {
        let jobs = jobs(qmp, copies).await?;
        ensure!(jobs.len() == copies.len(), "a job of the copy is gone");
        let sum = |field: &str| jobs.iter().filter_map(|job| job[field].as_u64()).sum();
        progress(sum("current-progress"), sum("total-progress"));
        if let Some(error) = jobs.iter().find_map(|job| job["error"].as_str()) {
            bail!("QEMU could not copy: {error}");
        }
        if jobs.iter().all(|job| job["status"] == "concluded") {
            return Ok(());
        }
        let status = qmp.execute("query-status", Value::Null, ANSWER_LIMIT).await?;
        ensure!(status["status"] != "io-error", "the guest was paused by an error of a disk");
        sleep(LOOK_PERIOD).await;
    }
}

/// QEMU's jobs of these copies.
async fn jobs(qmp: &Qmp, copies: &[VolumeCopy]) -> Result<Vec<Value>> {
    let all = qmp.execute("query-jobs", Value::Null, ANSWER_LIMIT).await?;
    let ours = |of: &&Value| copies.iter().any(|copy| of["id"] == job(&copy.volume));
    Ok(all.as_array().into_iter().flatten().filter(ours).cloned().collect())
}

/// Ends all jobs and takes QEMU's hands off the copies. Without any: does nothing.
async fn clear(qmp: &Qmp, copies: &[VolumeCopy]) -> Result<()> {
    let deadline = Instant::now() + CANCEL_LIMIT;
    loop {
        let jobs = jobs(qmp, copies).await?;
        if jobs.is_empty() {
            break;
        }
        for of in &jobs {
            let command = if of["status"] == "concluded" { "job-dismiss" } else { "job-cancel" };
            // It may be between two states, or gone.
            let _ = qmp.execute(command, json!({ "id": of["id"] }), ANSWER_LIMIT).await;
        }
        ensure!(Instant::now() < deadline, "a job can't be ended");
        sleep(Duration::from_millis(20)).await;
    }
    let all = qmp.execute("query-named-block-nodes", json!({ "flat": true }), ANSWER_LIMIT).await?;
    for copy in copies {
        let [file, qcow2] = nodes(&copy.volume);
        for node in [qcow2, file] {
            if all.as_array().into_iter().flatten().any(|found| found["node-name"] == node.as_str()) {
                qmp.execute("blockdev-del", json!({ "node-name": node }), ANSWER_LIMIT).await?;
            }
        }
    }
    let sets = qmp.execute("query-fdsets", Value::Null, ANSWER_LIMIT).await?;
    for set in sets.as_array().into_iter().flatten() {
        let ours = |fd: &Value| copies.iter().any(|copy| fd["opaque"] == job(&copy.volume));
        if set["fds"].as_array().into_iter().flatten().any(ours) {
            qmp.execute("remove-fd", json!({ "fdset-id": set["fdset-id"] }), ANSWER_LIMIT).await?;
        }
    }
    Ok(())
}

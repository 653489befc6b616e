//! Machines, VPCs, volumes and images that no document names, and old idempotency tokens.
//!
//! A volume or an image is set aside in `lost+found` and not deleted, unless this process saw its document deleted: the database may be an older one.
//! A machine that runs is told to power off before it is ended.
//!
//! The host is listed first and the snapshot is taken after: whatever was made for a document is then in a snapshot that has the
//! document, unless that is gone for good. What is found is left alone for a while all the same, and looked for once more.

use crate::Reconciler;
use crate::error::{CALL_TIMEOUT, Stop, call};
use crate::table::{Next, Sweep};
use model::ids::ImageId;
use model::instance::Instance;
use model::instance::POWER_OFF_MILLIS;
use model::machine::{Activity, Observed};
use model::plan::{self, PRESS_AGAIN_MILLIS};
use model::time::Timestamp;
use model::volume::Volume;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use store::IdempotencyToken;

/// How often leftovers are looked for, in milliseconds.
const SWEEP_MILLIS: i64 = 30_000;
/// How long a machine that no instance wants is left alone after it was first found, in milliseconds.
const MACHINE_ORPHAN_MILLIS: i64 = 10_000;
/// The same for a volume, which is then set aside in `lost+found`.
const VOLUME_ORPHAN_MILLIS: i64 = 300_000;
/// The same for an image: its files come before its document.
pub(crate) const IMAGE_ORPHAN_MILLIS: i64 = 600_000;

/// When each leftover was found first, and the images that had a document since the process began.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    first: BTreeMap<(Sweep, String), Timestamp>,
    images: BTreeSet<ImageId>,
}

impl Orphans {
    /// Notes the images that have a document, and gives back those that ever had one.
    pub(crate) fn images_known<'a>(&mut self, registered: impl Iterator<Item = &'a ImageId>) -> &BTreeSet<ImageId> {
        self.images.extend(registered.cloned());
        &self.images
    }

    /// Notes what was found, forgets what was not, and gives back what has been found for `millis`.
    fn confirm<T: Ord + Clone + ToString>(&mut self, sweep: Sweep, found: &BTreeSet<T>, millis: i64, now: Timestamp) -> Vec<T> {
        let names: BTreeSet<String> = found.iter().map(T::to_string).collect();
        self.first.retain(|(kind, name), at| *kind != sweep || (names.contains(name) && *at <= now));
        let mut ripe = Vec::new();
        for id in found {
            let first = *self.first.entry((sweep, id.to_string())).or_insert(now);
            if now.millis_since(first) >= millis {
                ripe.push(id.clone());
            }
        }
        ripe
    }
}

impl Reconciler {
    pub(crate) async fn sweep_work(&self, sweep: Sweep) -> Result<Next, Stop> {
        let again = match sweep {
            Sweep::Machines => self.machines_sweep().await?,
            Sweep::Vpcs => self.vpcs_sweep().await.map(|()| None)?,
            Sweep::Volumes => self.volumes_sweep().await?,
            Sweep::Images => self.images_sweep().await?,
            Sweep::Tokens => self.tokens_sweep().await.map(|()| None)?,
        };
        let millis = again.map_or(SWEEP_MILLIS, |millis: i64| millis.min(SWEEP_MILLIS));
        Ok(Next { at: Some(self.clock.now().plus_millis(millis)), ..Next::default() })
    }

    /// What of `found` may go now. If any has to wait, the second value says how long.
    pub(crate) fn orphans_ripe<T: Ord + Clone + ToString>(&self, sweep: Sweep, found: &BTreeSet<T>, millis: i64) -> (Vec<T>, Option<i64>) {
        let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        let ripe = orphans.confirm(sweep, found, millis, self.clock.now());
        let again = (ripe.len() < found.len()).then_some(millis);
        (ripe, again)
    }

    async fn machines_sweep(&self) -> Result<Option<i64>, Stop> {
        let have = call("list the machines", CALL_TIMEOUT, self.drivers.hypervisor.list()).await?;
        let snapshot = self.store.snapshot();
        let mut orphans = BTreeSet::new();
        for id in have {
            match snapshot.find::<Instance>(&id) {
                None => _ = orphans.insert(id),
                // An instance without a machine isn't looked at otherwise; its own work removes what is left.
                Some((_, instance)) if !plan::looks(&instance.state) => self.table().remains(&id),
                Some(_) => {}
            }
        }
        let (ripe, again) = self.orphans_ripe(Sweep::Machines, &orphans, MACHINE_ORPHAN_MILLIS);
        let (overdue, _) = self.orphans_ripe(Sweep::Machines, &orphans, MACHINE_ORPHAN_MILLIS + POWER_OFF_MILLIS);
        let mut waits = false;
        for id in ripe {
            let observed = call("observe the machine", CALL_TIMEOUT, self.drivers.hypervisor.observe(&id)).await?;
            if matches!(observed, Observed::Known { activity: Activity::Running, .. }) && !overdue.contains(&id) {
                tracing::warn!(machine = %id, "a machine without an instance is told to power off");
                if call("press the power button", CALL_TIMEOUT, self.drivers.hypervisor.power_button(&id)).await? {
                    waits = true;
                    continue;
                }
            }
            tracing::warn!(machine = %id, "a machine without an instance is removed");
            call("remove the machine", CALL_TIMEOUT, self.drivers.hypervisor.remove(&id)).await?;
        }
        Ok(if waits { Some(PRESS_AGAIN_MILLIS) } else { again })
    }

    async fn volumes_sweep(&self) -> Result<Option<i64>, Stop> {
        let before = self.store.snapshot();
        let have: BTreeSet<_> = call("list the volumes", CALL_TIMEOUT, self.drivers.volumes.list()).await?.into_iter().collect();
        self.files_record(&before, &have).await?;
        let snapshot = self.store.snapshot();
        let orphans = have.into_iter().filter(|id| snapshot.find::<Volume>(id).is_none()).collect();
        let (ripe, again) = self.orphans_ripe(Sweep::Volumes, &orphans, VOLUME_ORPHAN_MILLIS);
        for id in ripe {
            tracing::warn!(volume = %id, "a volume without a document is set aside in lost+found");
            let now = self.clock.now();
            call("set aside the volume", CALL_TIMEOUT, self.drivers.volumes.set_aside(&id, "the database has no such volume", now)).await?;
        }
        Ok(again)
    }

    async fn tokens_sweep(&self) -> Result<(), Stop> {
        let now = self.clock.now();
        if self.store.snapshot().all::<IdempotencyToken>().any(|(_, t)| t.is_expired(now)) {
            let Ok(_) = self.store.write(move |tx| Ok::<_, std::convert::Infallible>(tx.tokens_expire(now))).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leftover_is_found_again_before_it_goes() {
        let mut orphans = Orphans::default();
        let mut confirm = |sweep, found: &[&str], now| {
            let found: BTreeSet<String> = found.iter().map(|s| (*s).to_owned()).collect();
            orphans.confirm(sweep, &found, 10, Timestamp(now))
        };
        assert!(confirm(Sweep::Machines, &["a", "b"], 100).is_empty());
        assert!(confirm(Sweep::Volumes, &[], 105).is_empty(), "another sweep forgets nothing of this one");
        assert_eq!(confirm(Sweep::Machines, &["a"], 110), ["a"]);
        assert!(confirm(Sweep::Machines, &["b"], 115).is_empty(), "what was gone in between is new");
        assert_eq!(confirm(Sweep::Machines, &["b"], 125), ["b"]);
        assert!(confirm(Sweep::Machines, &["b"], 90).is_empty(), "a clock that is set back begins anew");
    }
}

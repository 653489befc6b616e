//! Where and when the simulated process dies, and which steps of a driver fail.

use crate::hosts::Rng;
use model::fault::{Crash, Faults};
use node::fake::Failure;
use rand::RngExt as _;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How wild a life of the cloud is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// How likely the process dies at a point where it has not been in this life yet, of a thousand. The oftener it comes by, the less
    /// likely: so it dies at rare points, too.
    pub(crate) deaths_permille: u32,
    /// How many of a thousand driver steps fail.
    pub(crate) failures_permille: u32,
    /// Longest time that a driver's step takes, in milliseconds.
    pub(crate) step_millis_max: u64,
}

impl Plan {
    /// Nothing goes wrong any more: what must settle, settles.
    pub(crate) const CALM: Self = Self { deaths_permille: 0, failures_permille: 0, step_millis_max: 1 };
}

/// How often processes came by each point, and how often they died there.
pub(crate) type Points = BTreeMap<&'static str, (u64, u64)>;

/// Adds up.
pub(crate) fn points_add(sum: &mut Points, more: &Points) {
    for (point, (hits, deaths)) in more {
        let count = sum.entry(point).or_default();
        *count = (count.0 + hits, count.1 + deaths);
    }
}

struct State {
    plan: Plan,
    rng: Rng,
    dead: Option<&'static str>,
    points: Points,
}

/// The faults of one simulated process. The next life gets new ones.
pub(crate) struct SimFaults {
    state: Mutex<State>,
    died: Notify,
}

impl SimFaults {
    pub(crate) fn new(plan: Plan, rng: Rng) -> Self {
        let state = State { plan, rng, dead: None, points: BTreeMap::new() };
        Self { state: Mutex::new(state), died: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on nothing goes wrong.
    pub(crate) fn calm(&self) {
        self.state().plan = Plan::CALM;
    }

    /// Waits until the process dies, and says where.
    pub(crate) async fn death(&self) -> &'static str {
        loop {
            let died = self.died.notified();
            if let Some(point) = self.state().dead {
                return point;
            }
            died.await;
        }
    }

    /// Kills the process from outside.
    pub(crate) fn kill(&self, point: &'static str) {
        self.state().dead = Some(point);
        self.died.notify_waiters();
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead.is_some()
    }

    /// How often the process came by each point, and how often it died there.
    pub(crate) fn points(&self) -> Points {
        self.state().points.clone()
    }

    /// Comes by a point. If the process dies here, this never returns, as a dead process doesn't.
    pub(crate) async fn pass(&self, point: &'static str) {
        if self.hit(point).is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes the time of a driver's step, and says whether it fails.
    pub(crate) async fn step(&self) -> Option<Failure> {
        let (millis, failure) = {
            let state = &mut *self.state();
            let millis = state.rng.random_range(0..=state.plan.step_millis_max);
            let fails = state.rng.random_range(0..1000) < state.plan.failures_permille;
            let failure = if state.rng.random_bool(0.5) { Failure::Refused } else { Failure::Lost };
            (millis, fails.then_some(failure))
        };
        tokio::time::sleep(Duration::from_millis(millis)).await;
        failure
    }
}

impl Faults for SimFaults {
    fn hit(&self, point: &'static str) -> Result<(), Crash> {
        let state = &mut *self.state();
        if let Some(dead) = state.dead {
            return Err(Crash(dead));
        }
        let count = state.points.entry(point).or_default();
        let dies = state.rng.random_range(0..1000 * (1 + count.0)) < u64::from(state.plan.deaths_permille);
        *count = (count.0 + 1, count.1 + u64::from(dies));
        if !dies {
            return Ok(());
        }
        state.dead = Some(point);
        self.died.notify_waiters();
        Err(Crash(point))
    }
}

//! The whole cloud on fakes, from one seed: users call it, guests and drivers do as they like, the process dies at named points and is
//! started again over the same file and host. What must hold is in `check.rs`.
//!
//! `PILEUS_SIM_SEED=17 cargo nextest run -p pileus-tests --test sim` lives through one seed only; `PILEUS_SIM_SEEDS=1000` through more.
#![allow(clippy::unwrap_used)]

mod check;
mod client;
mod drivers;
mod faults;
mod hosts;
mod ledger;
mod users;
mod world;

use faults::Points;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use world::World;

/// Seeds of an ordinary run of the tests.
const SEEDS: u64 = 100;
/// At a point that all seeds together come by so often, some process should have died.
const OFTEN: u64 = 500;

/// Says how to see a failure again.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("seed {seed} fails: PILEUS_SIM_SEED={seed} cargo nextest run -p pileus-tests --test sim");
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// What all simulations came to together.
#[derive(Default)]
struct Total {
    calls: usize,
    points: Points,
}

#[test]
fn the_cloud_survives_every_seed() {
    if let Some(seed) = variable("PILEUS_SIM_SEED") {
        let guard = Seed(seed);
        let world = World::run(seed);
        eprintln!("{:#?}\n{} calls", world.story, world.calls());
        drop(guard);
        return;
    }
    let (seeds, next) = (variable("PILEUS_SIM_SEEDS").unwrap_or(SEEDS), AtomicU64::new(0));
    let total = Mutex::new(Total::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let _seed = Seed(seed);
                    let world = World::run(seed);
                    let total = &mut *total.lock().unwrap();
                    total.calls += world.calls();
                    faults::points_add(&mut total.points, &world.points);
                }
            });
        }
    });
    let Total { calls, points } = total.into_inner().unwrap();
    let deaths: u64 = points.values().map(|(_, deaths)| deaths).sum();
    eprintln!("{seeds} seeds, {calls} calls, {deaths} deaths at {} points", points.len());
    if seeds >= SEEDS {
        let met = |point| points.get(point).is_some_and(|(hits, deaths)| *hits >= OFTEN && *deaths > 0);
        assert!(["store.commit.before", "store.commit.after"].into_iter().all(met), "{points:?}");
        let immortal = points.values().filter(|(hits, deaths)| *hits >= OFTEN && *deaths == 0).count();
        assert!(points.len() >= 30 && immortal * 4 <= points.len(), "at too many points no process ever died: {points:?}");
    }
}

#[test]
fn a_seed_tells_one_story() {
    for seed in [3, 14, 15] {
        let (first, second) = (World::run(seed), World::run(seed));
        assert_eq!(first.story, second.story, "seed {seed}");
        assert_eq!(first.points, second.points, "seed {seed}");
    }
}

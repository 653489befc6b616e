//! The engine against a plain model, from seeds, with crashes.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod disk;
mod engine;
mod model;
mod step;

use engine::World;

/// Steps of a seed.
const STEPS: usize = 40;

fn run(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                let mut world = World::new(seed);
                for _ in 0..STEPS {
                    step::step(&mut world).await;
                }
                world.close().await;
            });
        }));
        if let Err(panic) = done {
            println!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn seeds_0_to_250() {
    run(0..250);
}

#[test]
fn seeds_250_to_500() {
    run(250..500);
}

#[test]
fn seeds_500_to_750() {
    run(500..750);
}

#[test]
fn seeds_750_to_1000() {
    run(750..1000);
}

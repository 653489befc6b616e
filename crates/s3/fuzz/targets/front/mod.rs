//! A front that is asked, shared with the tests in `crates/s3/tests/hostile`.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

#[path = "../../../tests/hostile/judge.rs"]
mod judge;
#[path = "../../../tests/hostile/requests.rs"]
mod requests;
#[path = "../../../tests/hostile/sign.rs"]
mod sign;
#[path = "../../../tests/hostile/words.rs"]
mod words;
#[path = "../../../tests/hostile/world.rs"]
mod world;

pub(crate) use requests::seeds;
use std::cell::RefCell;
pub(crate) use words::{HEADERS, METHODS, QUERIES};
pub(crate) use world::{Ask, Reply, World};

/// How many inputs see the same front: its disk doesn't fill, and its signatures don't get too old.
const INPUTS_MAX: u32 = 500;

/// A front with a bucket and an upload in it.
struct Kept {
    world: World,
    bucket: String,
    upload: String,
    inputs: u32,
}

impl Kept {
    fn new() -> Self {
        let world = World::new();
        let (bucket, upload) = world.furnish();
        Self { world, bucket, upload, inputs: 0 }
    }
}

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// Asks, and panics over an answer that can't be.
pub(crate) fn judged(world: &World, ask: &Ask) -> Reply {
    let reply = world.call(ask);
    if let Err(why) = judge::judge(ask, &reply) {
        panic!("{why}");
    }
    reply
}

fn with_kept(does: impl FnOnce(&Kept)) {
    KEPT.with_borrow_mut(|kept| {
        let mut now = kept.take().filter(|kept| kept.inputs < INPUTS_MAX).unwrap_or_else(Kept::new);
        does(&now);
        now.inputs += 1;
        *kept = Some(now);
    });
}

/// Does something with a front, a new bucket in it and an upload there.
pub(crate) fn furnished(does: impl FnOnce(&World, &str, &str)) {
    with_kept(|kept| {
        let (bucket, upload) = kept.world.furnish();
        does(&kept.world, &bucket, &upload);
    });
}

/// Sends what is made for a bucket that others before were sent to, and may have changed: three times as fast.
pub(crate) fn ask(made: impl FnOnce(&World, &str, &str) -> Ask) {
    with_kept(|kept| _ = judged(&kept.world, &made(&kept.world, &kept.bucket, &kept.upload)));
}

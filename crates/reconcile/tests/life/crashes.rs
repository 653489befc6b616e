//! A crash at each point that is reached, then another process that goes on.

use crate::world::{Cloud, CrashAt, World, id};
use model::fault::NoFaults;
use model::instance::{Event, ShutdownBehavior, State};
use model::time::Clock as _;
use std::sync::{Arc, Mutex};

/// What the owner asks for, one after the other, once the instance has come to rest.
#[derive(Clone, Copy)]
enum Ask {
    Reboot,
    Stop,
    Start,
    Terminate,
}

impl Ask {
    async fn ask(self, cloud: &Cloud) {
        let now = cloud.world.now();
        match self {
            Self::Reboot => cloud.change(1, move |i| i.reboot_since = Some(now)).await,
            Self::Stop => cloud.wish(1, Event::StopWanted { force: false }).await,
            Self::Start => cloud.wish(1, Event::StartWanted).await,
            Self::Terminate => cloud.wish(1, Event::TerminateWanted { force: false }).await,
        }
    }
}

/// Lives through everything. Returns whether the process crashed on the way.
async fn life(crash_at: u32, host_restarts: bool) -> bool {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let faults = Arc::new(CrashAt { left: Mutex::new(crash_at) });
    let mut cloud = Cloud::open_with(&world, directory.path(), faults, |drivers| drivers);
    cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    let mut asks = [Ask::Reboot, Ask::Stop, Ask::Start, Ask::Terminate].into_iter();
    let mut crashed = false;
    for _ in 0..60 {
        world.later(1_000);
        if cloud.reconciler.pass().await.is_err() {
            assert!(!crashed, "only one process crashes");
            crashed = true;
            drop(cloud);
            if host_restarts {
                world.restart();
            }
            cloud = Cloud::open_with(&world, directory.path(), Arc::new(NoFaults), |drivers| drivers);
        }
        assert!(world.machines.machines().len() <= 1);
        let instance = cloud.instance(1).expect("it is visible for an hour");
        let rests = match &instance.state {
            State::Running => instance.reboot_since.is_none(),
            State::Stopped => true,
            State::Pending | State::Stopping(_) | State::ShuttingDown(_) | State::Terminated { .. } => false,
        };
        if rests && let Some(ask) = asks.next() {
            ask.ask(&cloud).await;
        }
    }
    assert_eq!(cloud.state(1), "terminated", "crash at {crash_at}");
    assert!(asks.next().is_none(), "crash at {crash_at}: not all was asked");
    assert_eq!(cloud.reason(1), "Client.UserInitiatedShutdown: User initiated shutdown", "crash at {crash_at}");
    assert!(world.is_bare(), "crash at {crash_at} leaves something");
    assert_eq!(cloud.instance(1).unwrap().run, 2);
    assert!(world.machines.consoles().contains(&id(1)));
    crashed
}

/// Whatever step the process dies after, the next one goes on, nothing is there twice or left over, and nobody else is blamed.
#[tokio::test]
async fn a_crash_between_any_two_steps_changes_nothing() {
    for host_restarts in [false, true] {
        let mut points = 0;
        while life(points, host_restarts).await {
            points += 1;
        }
        assert!(points >= 12, "only {points} points were reached");
    }
}

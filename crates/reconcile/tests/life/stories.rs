//! What an owner, a guest and a host do, and where it ends.

use crate::world::{Cloud, World, an_interface, id, scope, volume_id};
use model::impairment::Impairment;
use model::instance::{Event, POWER_OFF_MILLIS, ShutdownBehavior, TERMINATED_VISIBLE_MILLIS};
use model::machine::Activity;
use model::network_interface::NetworkInterface;
use model::plan::{REBOOT_MILLIS, RESUME_AGAIN_MILLIS, START_TRIES_MAX};
use model::time::Clock as _;
use model::volume::Volume;
use node::fake::Failure;
use node::hypervisor::fake::Call;
use node::network;
use node::volume;
use std::collections::BTreeMap;

const STOP: Event = Event::StopWanted { force: false };
const TERMINATE: Event = Event::TerminateWanted { force: false };

/// A cloud with one instance that runs.
async fn running(world: &World, directory: &std::path::Path, behavior: ShutdownBehavior) -> Cloud {
    let cloud = Cloud::open(world, directory);
    cloud.launch(1..=1, behavior).await;
    cloud.settle().await;
    assert_eq!(cloud.state(1), "running");
    cloud
}

#[tokio::test]
async fn from_launch_over_stop_and_start_to_oblivion() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = running(&world, directory.path(), ShutdownBehavior::Stop).await;
    assert_eq!((world.machines.machines().len(), world.volumes.volumes().len(), world.network.vpcs().len()), (1, 1, 1));

    cloud.wish(1, STOP).await;
    cloud.settle().await;
    assert_eq!(cloud.state(1), "stopped");
    assert_eq!((world.machines.machines().len(), world.volumes.volumes().len(), world.network.vpcs().len()), (0, 1, 0));
    assert!(cloud.store.snapshot().used_public_ips().is_empty(), "the public address goes back");

    cloud.wish(1, Event::StartWanted).await;
    cloud.settle().await;
    assert_eq!(cloud.state(1), "running");
    assert_eq!(world.machines.machines()[&id(1)].spec.run, 2);

    cloud.wish(1, TERMINATE).await;
    cloud.settle().await;
    assert_eq!(cloud.state(1), "terminated");
    assert!(world.is_bare());
    assert!(world.machines.consoles().contains(&id(1)), "the console is there as long as the instance can be seen");
    assert_eq!(cloud.store.snapshot().all::<NetworkInterface>().count() + cloud.store.snapshot().all::<Volume>().count(), 0);

    world.later(TERMINATED_VISIBLE_MILLIS - 30_000);
    cloud.settle().await;
    assert_eq!(cloud.state(1), "terminated");
    world.later(30_000);
    cloud.settle().await;
    assert_eq!(cloud.state(1), "forgotten");
    assert!(world.machines.consoles().is_empty());
}

#[tokio::test]
async fn what_doesnt_go_with_its_instance_is_left_detached() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = running(&world, directory.path(), ShutdownBehavior::Stop).await;
    cloud
        .write(|tx| {
            let mut volume = (**tx.get::<Volume>(&scope(), &volume_id(1)).unwrap()).clone();
            volume.attachment.as_mut().unwrap().delete_on_termination = false;
            tx.put(&scope(), volume);
            let id = an_interface(1, model::time::Timestamp(0)).id;
            let mut interface = (**tx.get::<NetworkInterface>(&scope(), &id).unwrap()).clone();
            interface.attachment.as_mut().unwrap().delete_on_termination = false;
            tx.put(&scope(), interface);
        })
        .await;
    cloud.wish(1, TERMINATE).await;
    cloud.settle().await;
    assert_eq!(cloud.state(1), "terminated");
    assert_eq!(world.volumes.volumes().len(), 1);
    let snapshot = cloud.store.snapshot();
    assert!(snapshot.all::<Volume>().all(|(_, v)| v.attachment.is_none() && !v.deleting));
    assert!(snapshot.all::<NetworkInterface>().all(|(_, n)| n.attachment.is_none() && n.public_ip.is_none()));
    assert_eq!(snapshot.all::<NetworkInterface>().count(), 1);
    assert!(world.network.vpcs().is_empty());
}

/// A guest that ignores its power button is waited for, and asked again meanwhile; then its machine goes.
#[tokio::test]
async fn a_deaf_guest_is_stopped_in_the_end() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    world.machines.ignore_power_button(true);
    let cloud = running(&world, directory.path(), ShutdownBehavior::Stop).await;
    cloud.wish(1, STOP).await;
    let since = world.now();
    while world.now().millis_since(since) < POWER_OFF_MILLIS - 5_000 {
        cloud.pass().await;
        assert_eq!(cloud.state(1), "stopping");
    }
    let waits = cloud.reconciler.status().waits;
    assert!(waits.iter().any(|w| w.what == id(1).as_str() && w.why.contains("power itself off") && !w.trouble), "{waits:?}");
    world.later(10_000);
    cloud.settle().await;
    assert_eq!(cloud.state(1), "stopped");

    // Force doesn't ask.
    cloud.wish(1, Event::StartWanted).await;
    cloud.settle().await;
    cloud.wish(1, Event::StopWanted { force: true }).await;
    cloud.pass().await;
    assert_eq!(cloud.state(1), "stopped");
}

/// A guest that has halted can't react to the power button.
#[tokio::test]
async fn a_guest_that_has_halted_is_stopped_at_once() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = running(&world, directory.path(), ShutdownBehavior::Stop).await;
    let since = world.now();
    world.machines.guest_halt(&id(1));
    cloud.wish(1, STOP).await;
    cloud.settle().await;
    assert_eq!(cloud.state(1), "stopped");
    assert!(world.now().millis_since(since) < 30_000);
}

#[tokio::test]
async fn a_reboot_keeps_the_machine() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = running(&world, directory.path(), ShutdownBehavior::Terminate).await;
    let now = world.now();
    cloud.change(1, move |i| i.reboot_since = Some(now)).await;
    cloud.settle().await;
    assert_eq!((cloud.state(1), cloud.instance(1).unwrap().reboot_since), ("running", None));
    assert_eq!((world.machines.machines()[&id(1)].resets, world.machines.starts()), (1, 1));

    // One that ignores it is reset after the deadline.
    cloud.wish(1, Event::StopWanted { force: true }).await;
    cloud.settle().await;
    world.machines.ignore_power_button(true);
    cloud.wish(1, Event::StartWanted).await;
    cloud.settle().await;
    let now = world.now();
    cloud.change(1, move |i| i.reboot_since = Some(now)).await;
    cloud.pass().await;
    assert_eq!(cloud.instance(1).unwrap().reboot_since, Some(now));
    world.later(REBOOT_MILLIS);
    cloud.settle().await;
    assert_eq!(cloud.instance(1).unwrap().reboot_since, None);
    assert_eq!(world.machines.machines()[&id(1)].resets, 1);
    assert_eq!(world.machines.machines()[&id(1)].activity, Some(Activity::Running));
}

#[tokio::test]
async fn what_a_guest_does_by_itself_ends_in_a_state_and_a_reason() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = running(&world, directory.path(), ShutdownBehavior::Stop).await;
    world.machines.guest_power_off(&id(1));
    cloud.settle().await;
    assert_eq!((cloud.state(1), cloud.reason(1).as_str()), ("stopped", "Client.InstanceInitiatedShutdown: Instance initiated shutdown"));

    cloud.wish(1, Event::StartWanted).await;
    cloud.settle().await;
    world.machines.guest_panic(&id(1));
    cloud.settle().await;
    assert_eq!((cloud.state(1), cloud.reason(1).as_str()), ("stopped", "Server.InternalError: the guest's kernel panicked"));
    assert!(world.machines.machines().is_empty());

    cloud.wish(1, Event::StartWanted).await;
    cloud.settle().await;
    cloud.change(1, |i| i.shutdown_behavior = ShutdownBehavior::Terminate).await;
    world.machines.guest_power_off(&id(1));
    cloud.settle().await;
    assert_eq!(cloud.state(1), "terminated");
    assert!(world.is_bare());
}

#[tokio::test]
async fn a_machine_that_dies_leaves_a_reason_and_nothing_else() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = running(&world, directory.path(), ShutdownBehavior::Stop).await;
    world.machines.die(&id(1));
    cloud.settle().await;
    assert_eq!((cloud.state(1), cloud.reason(1).as_str()), ("stopped", "Server.InternalError: The instance's machine ended unexpectedly"));
    assert!(world.machines.machines().is_empty(), "its remains are removed");
}

/// A restart of the host is nobody's fault: what ran is started again, and what was on its way goes on.
#[tokio::test]
async fn a_restarted_host_starts_again_what_ran() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    world.machines.ignore_power_button(true);
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=3, ShutdownBehavior::Stop).await;
    cloud.settle().await;
    cloud.wish(2, STOP).await;
    cloud.pass().await;
    let now = world.now();
    cloud.change(3, move |i| i.reboot_since = Some(now)).await;
    cloud.launch(4..=4, ShutdownBehavior::Stop).await;
    drop(cloud);
    world.restart();

    let cloud = Cloud::open(&world, directory.path());
    world.machines.fail_next(Call::Start, Failure::Refused);
    cloud.settle().await;
    cloud.settle().await;
    assert_eq!([1, 2, 3, 4].map(|n| cloud.state(n)), ["running", "stopped", "running", "running"]);
    assert_eq!(cloud.instance(1).unwrap().run, 1);
    assert_eq!(cloud.instance(3).unwrap().reboot_since, None, "a start is a reboot");
    assert_eq!(world.machines.machines().len(), 3);
    assert_eq!(world.network.vpcs().values().next().unwrap().interfaces.len(), 3);
    assert_eq!(cloud.store.snapshot().setting("host_boot_id"), Some("1"));

    // From now on an absence is a death, in this process and the next.
    drop(cloud);
    let cloud = Cloud::open(&world, directory.path());
    world.machines.die(&id(1));
    cloud.settle().await;
    assert_eq!(cloud.state(1), "stopped");
}

#[tokio::test]
async fn a_restarted_host_leaves_stopped_what_ran_if_so_configured() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    drop(running(&world, directory.path(), ShutdownBehavior::Stop).await);
    world.restart();
    world.stays_down.store(true, std::sync::atomic::Ordering::SeqCst);
    let cloud = Cloud::open(&world, directory.path());
    cloud.settle().await;
    assert_eq!((cloud.state(1), cloud.reason(1).as_str()), ("stopped", "Server.InternalError: The instance's host was restarted"));
    cloud.settle().await;
    assert_eq!(cloud.store.snapshot().setting("host_boot_id"), Some("1"));
}

#[tokio::test]
async fn what_cannot_be_started_again_after_a_restart_ends() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    drop(running(&world, directory.path(), ShutdownBehavior::Stop).await);
    world.restart();
    world.machines.never_start(&id(1));
    let cloud = Cloud::open(&world, directory.path());
    for _ in 0..=START_TRIES_MAX {
        assert_eq!(cloud.state(1), "running");
        cloud.pass().await;
        world.later(60_000);
    }
    cloud.settle().await;
    assert_eq!(cloud.state(1), "stopped");
    assert!(cloud.reason(1).contains("could not be started again after its host was: its machine could not be started"));
    assert_eq!(cloud.store.snapshot().setting("host_boot_id"), Some("1"));
}

#[tokio::test]
async fn a_disk_error_is_noted_and_mended() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = running(&world, directory.path(), ShutdownBehavior::Stop).await;
    world.machines.disk_fail(&id(1), "No space left on device");
    cloud.settle().await;
    assert_eq!(cloud.state(1), "running");
    assert_eq!(cloud.reconciler.notes(), [format!("{}: the guest is paused: No space left on device", id(1))]);
    let full = cloud.impairments(1);
    assert_eq!(full.keys().collect::<Vec<_>>(), [&Impairment::DiskFull]);
    // Each try lets it run for a moment, and it is impaired all the while.
    world.later(RESUME_AGAIN_MILLIS);
    cloud.settle().await;
    assert_eq!(cloud.impairments(1), full);
    world.machines.disk_mend(&id(1));
    world.later(RESUME_AGAIN_MILLIS);
    cloud.settle().await;
    assert_eq!(world.machines.machines()[&id(1)].activity, Some(Activity::Running));
    world.later(RESUME_AGAIN_MILLIS);
    cloud.settle().await;
    assert!(cloud.reconciler.notes().is_empty());
    assert_eq!(cloud.impairments(1), BTreeMap::new());

    // One that stays full doesn't keep the instance from being stopped.
    world.machines.disk_fail(&id(1), "No space left on device");
    cloud.wish(1, STOP).await;
    cloud.settle().await;
    assert_eq!(cloud.state(1), "stopping");
    world.later(POWER_OFF_MILLIS);
    cloud.settle().await;
    assert_eq!(cloud.state(1), "stopped");
}

#[tokio::test]
async fn a_paused_guest_is_terminated_at_once() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = running(&world, directory.path(), ShutdownBehavior::Stop).await;
    world.machines.disk_fail(&id(1), "No space left on device");
    cloud.settle().await;
    cloud.wish(1, Event::TerminateWanted { force: false }).await;
    cloud.settle().await;
    assert_eq!(cloud.state(1), "terminated");
}

#[tokio::test]
async fn a_start_that_never_succeeds_is_given_up() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=2, ShutdownBehavior::Stop).await;
    world.machines.never_start(&id(1));
    let begin = world.now();
    while cloud.state(1) != "terminated" {
        cloud.pass().await;
        assert!(world.now().millis_since(begin) < 60_000, "a minute is enough");
    }
    assert_eq!(cloud.reason(1), "Server.InternalError: Internal error on launch: its machine could not be started");
    assert_eq!(cloud.state(2), "running", "the others don't suffer");
    assert_eq!((world.machines.machines().len(), world.volumes.volumes().len()), (1, 1));

    // A later start that fails leaves the instance as it was.
    cloud.wish(2, STOP).await;
    cloud.settle().await;
    world.machines.never_start(&id(2));
    cloud.wish(2, Event::StartWanted).await;
    while cloud.state(2) != "stopped" {
        cloud.pass().await;
    }
    assert_eq!(world.volumes.volumes().len(), 1);
}

/// Whatever a driver fails at, done or not, is tried again, and each reason is the owner's to read.
#[tokio::test]
async fn a_driver_that_fails_once_is_asked_again() {
    for failure in [Failure::Refused, Failure::Lost] {
        let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
        let cloud = Cloud::open(&world, directory.path());
        world.machines.fail_next(Call::Observe, failure);
        world.machines.fail_next(Call::Start, failure);
        world.machines.fail_next(Call::PowerButton, failure);
        world.machines.fail_next(Call::Remove, failure);
        world.machines.fail_next(Call::ConsoleRemove, failure);
        for call in [network::fake::Call::Ensure, network::fake::Call::TapOpen, network::fake::Call::Remove] {
            world.network.fail_next(call, failure);
        }
        for call in [volume::fake::Call::Ensure, volume::fake::Call::Files, volume::fake::Call::Remove] {
            world.volumes.fail_next(call, failure);
        }
        cloud.launch(1..=1, ShutdownBehavior::Stop).await;
        for expected in ["running", "terminated", "forgotten"] {
            for _ in 0..60 {
                cloud.pass().await;
            }
            assert_eq!(cloud.state(1), expected, "{:?}", cloud.reconciler.status());
            if expected == "running" {
                cloud.wish(1, TERMINATE).await;
            }
            if expected == "terminated" {
                world.later(TERMINATED_VISIBLE_MILLIS);
            }
        }
        assert!(world.is_bare());
        assert!(cloud.reconciler.notes().is_empty());
        assert_eq!(world.machines.starts(), 1);
    }
}

/// What can't be seen is neither dead nor gone: nothing is concluded until it is seen again.
#[tokio::test]
async fn unknown_is_not_absent() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = running(&world, directory.path(), ShutdownBehavior::Stop).await;
    for _ in 0..10 {
        world.machines.fail_next(Call::Observe, Failure::Refused);
        cloud.pass().await;
        world.later(60_000);
        assert_eq!(cloud.state(1), "running");
        assert_eq!(cloud.reconciler.notes().len(), 1, "{:?}", cloud.reconciler.status());
    }
    cloud.settle().await;
    assert_eq!((cloud.state(1), cloud.reconciler.notes().len()), ("running", 0));
}

/// A wish that comes while the loop is at work wins, whatever the loop saw before.
#[tokio::test]
async fn a_terminated_launch_never_runs_on() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    world.machines.fail_next(Call::Start, Failure::Lost);
    cloud.pass().await;
    assert_eq!((cloud.state(1), world.machines.machines().len()), ("pending", 1));
    cloud.wish(1, Event::TerminateWanted { force: true }).await;
    cloud.settle().await;
    assert_eq!(cloud.state(1), "terminated");
    assert!(world.is_bare());
}

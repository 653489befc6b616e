//! What is done next, for every state and every observation.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::ids::{ImageId, NetworkInterfaceId, VolumeId};
use crate::instance::ShutdownBehavior;
use crate::instance::tests::{THEN, instance};
use crate::network_interface::Mac;
use crate::tag::Tags;

/// Right after the wish.
const SOON: Timestamp = Timestamp(THEN.0 + 1_000);
const RUN: u64 = 2;
/// The host was restarted, and what ran is started again.
const AGAIN: HostBoot = HostBoot::Restarted { start_again: true };

fn known(run: u64, activity: Activity) -> Option<Observed> {
    Some(Observed::Known { run, activity })
}

fn crashed() -> Activity {
    Activity::Crashed { reason: "panicked".into() }
}

fn full() -> Activity {
    Activity::Paused { cause: Impairment::DiskFull, reason: "no space".into() }
}

/// Every observation; the last is of an earlier run.
fn observations() -> [Option<Observed>; 7] {
    match Activity::Running {
        Activity::Running | Activity::Paused { .. } | Activity::PoweredOff | Activity::Crashed { .. } => {}
    }
    [
        None,
        Some(Observed::Absent),
        known(RUN, Activity::Running),
        known(RUN, full()),
        known(RUN, Activity::PoweredOff),
        known(RUN, crashed()),
        known(RUN - 1, Activity::Running),
    ]
}

fn of(state: State, reboot_since: Option<Timestamp>) -> Instance {
    Instance { reboot_since, ..instance(state, RUN, ShutdownBehavior::Stop) }
}

fn name(step: &Step) -> String {
    match step {
        Step::Start { again } => if *again { "start again" } else { "start" }.into(),
        Step::Press { .. } => "press".into(),
        Step::Reset { .. } => "reset".into(),
        Step::Resume => "resume".into(),
        Step::End => "end".into(),
        Step::Clear => "clear".into(),
        Step::Record(Event::Started) => "started".into(),
        Step::Record(Event::StartFailed { .. }) => "failed".into(),
        Step::Record(Event::GuestPoweredOff) => "off".into(),
        Step::Record(Event::MachineDied { .. }) => "died".into(),
        Step::Record(Event::Impaired { by, .. }) => format!("impaired by {}", by.len()),
        Step::Record(
            event @ (Event::StartWanted | Event::StopWanted { .. } | Event::TerminateWanted { .. } | Event::HostRestarted | Event::Gone),
        ) => {
            format!("{event:?}")
        }
        Step::Forget => "forget".into(),
        Step::Wait(Wait { why: None, .. }) => "wait".into(),
        Step::Wait(Wait { why: Some(Why::Unknown), .. }) => "unknown".into(),
        Step::Wait(Wait { why: Some(why), .. }) => format!("{why:?}"),
    }
}

fn names(instance: &Instance, memory: &Memory, host: HostBoot, now: Timestamp) -> Vec<String> {
    observations().iter().map(|o| name(&next(instance, o.as_ref(), memory, host, now))).collect()
}

#[test]
fn every_state_and_observation() {
    let stopping = |force| State::Stopping(Ending { since: THEN, force });
    let ending = |force| State::ShuttingDown(Ending { since: THEN, force });
    let asked = ["unknown", "end", "press", "resume", "end", "end", "end"];
    let rows = [
        (State::Pending, None, ["unknown", "start", "started", "started", "off", "died", "start"]),
        (State::Running, None, ["unknown", "died", "wait", "impaired by 1", "off", "died", "died"]),
        (State::Running, Some(THEN), ["unknown", "died", "press", "impaired by 1", "reset", "reset", "died"]),
        (stopping(false), None, asked),
        (stopping(true), None, ["end"; 7]),
        (State::Stopped, None, ["wait"; 7]),
        (ending(false), None, ["unknown", "end", "press", "end", "end", "end", "end"]),
        (ending(true), None, ["end"; 7]),
        (State::Terminated { at: THEN }, None, ["wait"; 7]),
    ];
    for (state, reboot, expected) in rows {
        assert_eq!(names(&of(state.clone(), reboot), &Memory::default(), HostBoot::Same, SOON), expected, "{state:?} {reboot:?}");
    }
}

#[test]
fn what_went_with_the_host_is_started_again() {
    let running = of(State::Running, None);
    let restarted = names(&running, &Memory::default(), AGAIN, SOON);
    assert_eq!(restarted, ["unknown", "start again", "wait", "impaired by 1", "off", "died", "start again"]);
    let mut seen = Memory::default();
    seen.seen_note(RUN);
    assert_eq!(names(&running, &seen, AGAIN, SOON)[1], "died", "it was seen after the restart, so it died by itself");
    for state in [State::Pending, State::Stopping(Ending { since: THEN, force: false })] {
        let same = names(&of(state.clone(), None), &Memory::default(), HostBoot::Same, SOON);
        assert_eq!(names(&of(state, None), &Memory::default(), AGAIN, SOON), same, "goes on");
    }
}

#[test]
fn what_went_with_the_host_is_stopped_if_so_configured() {
    let host = HostBoot::Restarted { start_again: false };
    let running = of(State::Running, None);
    assert_eq!(names(&running, &Memory::default(), host, SOON), ["unknown", "died", "wait", "impaired by 1", "off", "died", "died"]);
    let reason = "The instance's host was restarted".to_owned();
    assert_eq!(next(&running, Some(&Observed::Absent), &Memory::default(), host, SOON), Step::Record(Event::MachineDied { reason }));
    assert_eq!(names(&of(State::Pending, None), &Memory::default(), host, SOON)[1], "start", "a launch goes on");
}

#[test]
fn starts_that_come_to_nothing_end() {
    let mut memory = Memory::default();
    for _ in 0..START_TRIES_MAX {
        assert_eq!(names(&of(State::Pending, None), &memory, HostBoot::Same, SOON)[1], "start");
        memory.try_note(RUN, "its machine could not be started");
    }
    let failed = names(&of(State::Pending, None), &memory, HostBoot::Same, SOON);
    assert_eq!(failed, ["failed", "failed", "started", "started", "off", "died", "failed"], "a machine that is there has started");
    let reason = "Internal error on launch: its machine could not be started".to_owned();
    let step = next(&of(State::Pending, None), Some(&Observed::Absent), &memory, HostBoot::Same, SOON);
    assert_eq!(step, Step::Record(Event::StartFailed { reason }));
    assert_eq!(names(&of(State::Running, None), &memory, AGAIN, SOON)[1], "died");
    let next_run = Instance { run: RUN + 1, ..of(State::Pending, None) };
    assert_eq!(names(&next_run, &memory, HostBoot::Same, SOON)[1], "start", "each run has its own tries");
    memory.seen_note(RUN);
    assert_eq!(memory.tries_of(RUN), 0);
}

fn step(instance: &Instance, activity: Activity, memory: &Memory, now: Timestamp) -> Step {
    next(instance, known(RUN, activity).as_ref(), memory, HostBoot::Same, now)
}

#[test]
fn a_guest_is_asked_again_and_then_not_any_more() {
    let stopping = of(State::Stopping(Ending { since: THEN, force: false }), None);
    let mut memory = Memory::default();
    let mut now = THEN;
    let mut presses = 0;
    loop {
        let step = step(&stopping, Activity::Running, &memory, now);
        if let Step::Press { wish } = step {
            presses += 1;
            memory.pressed = Some(Press { run: RUN, wish, at: now, halted: false });
        } else if let Step::Wait(Wait { until, why }) = step {
            assert_eq!(why, Some(Why::PowerOff));
            assert!(until > Some(now), "time goes on");
            now = until.unwrap();
        } else {
            assert_eq!(step, Step::End);
            break;
        }
    }
    assert_eq!(now, THEN.plus_millis(POWER_OFF_MILLIS));
    assert_eq!(presses, POWER_OFF_MILLIS / PRESS_AGAIN_MILLIS);
}

#[test]
fn a_reboot_that_the_guest_ignores_is_a_reset() {
    let rebooting = of(State::Running, Some(THEN));
    let pressed = Memory { pressed: Some(Press { run: RUN, wish: THEN, at: THEN, halted: false }), ..Memory::default() };
    let last = THEN.plus_millis(REBOOT_MILLIS - 1);
    for activity in [Activity::Running, full()] {
        assert_ne!(step(&rebooting, activity.clone(), &pressed, last), Step::Reset { reboot_since: THEN });
        assert_eq!(step(&rebooting, activity, &pressed, last.plus_millis(1)), Step::Reset { reboot_since: THEN });
    }
}

#[test]
fn a_guest_that_has_halted_is_not_waited_for() {
    let halted = Memory { pressed: Some(Press { run: RUN, wish: THEN, at: THEN, halted: true }), ..Memory::default() };
    let ending = || Ending { since: THEN, force: false };
    for state in [State::Stopping(ending()), State::ShuttingDown(ending())] {
        assert_eq!(step(&of(state, None), Activity::Running, &halted, SOON), Step::End);
    }
    assert_eq!(step(&of(State::Running, Some(THEN)), Activity::Running, &halted, SOON), Step::Reset { reboot_since: THEN });
    let next_wish = of(State::Stopping(Ending { since: SOON, force: false }), None);
    assert_eq!(step(&next_wish, Activity::Running, &halted, SOON), Step::Press { wish: SOON });
}

#[test]
fn another_wish_is_another_press() {
    let pressed = Memory { pressed: Some(Press { run: RUN, wish: THEN, at: SOON, halted: false }), ..Memory::default() };
    let waits = step(&of(State::Running, Some(THEN)), Activity::Running, &pressed, SOON);
    assert_eq!(name(&waits), "PowerOff");
    let stopping = of(State::Stopping(Ending { since: SOON, force: false }), None);
    assert_eq!(step(&stopping, Activity::Running, &pressed, SOON), Step::Press { wish: SOON });
    let last_run = Memory { pressed: Some(Press { run: RUN - 1, wish: THEN, at: SOON, halted: false }), ..Memory::default() };
    assert_eq!(step(&of(State::Running, Some(THEN)), Activity::Running, &last_run, SOON), Step::Press { wish: THEN });
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let ahead = Memory {
        pressed: Some(Press { run: RUN, wish: THEN, at: SOON.plus_millis(3_600_000), halted: false }),
        resumed: Some(SOON.plus_millis(3_600_000)),
        ..Memory::default()
    };
    assert_eq!(name(&step(&of(State::Running, Some(THEN)), Activity::Running, &ahead, SOON)), "press");
    assert_eq!(name(&step(&impaired(), full(), &ahead, SOON)), "resume");
}

#[test]
fn a_paused_guest_is_let_go_on_now_and_then() {
    let resumed = Memory { resumed: Some(SOON), ..Memory::default() };
    let waits = step(&impaired(), full(), &resumed, SOON);
    let why = Some(Why::DiskError { reason: "no space".into() });
    assert_eq!(waits, Step::Wait(Wait { until: Some(SOON.plus_millis(RESUME_AGAIN_MILLIS)), why }));
    assert_eq!(step(&impaired(), full(), &resumed, SOON.plus_millis(RESUME_AGAIN_MILLIS)), Step::Resume);
}

/// Paused by a full disk since [`THEN`].
fn impaired() -> Instance {
    Instance { impairments: [(Impairment::DiskFull, THEN)].into(), ..of(State::Running, None) }
}

#[test]
fn an_impaired_instance_recovers_once_it_went_on_for_a_while() {
    let resumed = Memory { resumed: Some(SOON), ..Memory::default() };
    let later = SOON.plus_millis(RESUME_AGAIN_MILLIS);
    assert!(matches!(step(&impaired(), Activity::Running, &resumed, SOON), Step::Wait(Wait { until: Some(at), .. }) if at == later));
    assert_eq!(name(&step(&impaired(), Activity::Running, &resumed, later)), "impaired by 0");
    assert_eq!(name(&step(&of(State::Running, None), Activity::Running, &resumed, SOON)), "wait");
    let failed = Activity::Paused { cause: Impairment::DiskFailed, reason: "failed".into() };
    assert_eq!(name(&step(&impaired(), failed, &resumed, SOON)), "impaired by 1", "another cause");
}

#[test]
fn the_end_comes_on_time_even_if_nothing_can_be_seen() {
    let stopping = of(State::ShuttingDown(Ending { since: THEN, force: false }), None);
    let deadline = THEN.plus_millis(POWER_OFF_MILLIS);
    let unknown = next(&stopping, None, &Memory::default(), HostBoot::Same, SOON);
    assert_eq!(unknown, Step::Wait(Wait { until: Some(deadline), why: Some(Why::Unknown) }));
    assert_eq!(next(&stopping, None, &Memory::default(), HostBoot::Same, deadline), Step::End);
}

#[test]
fn what_is_over_leaves_nothing() {
    let remains = Memory { remains: true, ..Memory::default() };
    for state in [State::Stopped, State::Terminated { at: THEN }] {
        assert!(!looks(&state));
        assert_eq!(next(&of(state, None), None, &remains, HostBoot::Same, SOON), Step::Clear);
    }
    let over = of(State::Terminated { at: THEN }, None);
    let end = THEN.plus_millis(TERMINATED_VISIBLE_MILLIS);
    assert_eq!(next(&over, None, &Memory::default(), HostBoot::Same, SOON), Step::Wait(Wait { until: Some(end), why: None }));
    assert_eq!(next(&over, None, &Memory::default(), HostBoot::Same, end), Step::Forget);
}

fn image(boot: Boot) -> Image {
    Image {
        id: "ami-00000001".parse::<ImageId>().unwrap(),
        owner: "111122223333".parse().unwrap(),
        name: "image".into(),
        description: None,
        public: false,
        architecture: "x86_64".into(),
        root_device_name: "/dev/xvda".into(),
        snapshot_id: "snap-00000001".parse().unwrap(),
        size_gib: 1,
        boot,
        login_user: "root".into(),
        lost: None,
        created: THEN,
        tags: Tags::default(),
        content: None,
        launch_permissions: BTreeSet::new(),
        source: None,
        root_volume_type: "gp3".into(),
        boot_mode: "legacy-bios".into(),
        imds_v2: false,
    }
}

fn interface() -> NetworkInterface {
    NetworkInterface {
        id: "eni-00000001".parse::<NetworkInterfaceId>().unwrap(),
        vpc_id: "vpc-00000001".parse().unwrap(),
        subnet_id: "subnet-00000001".parse().unwrap(),
        zone: "us-east-1a".into(),
        description: String::new(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        private_ip: "172.31.0.4".parse().unwrap(),
        map_public_ip: false,
        public_ip: None,
        groups: Vec::new(),
        source_dest_check: true,
        attachment: None,
        tags: Tags::default(),
    }
}

#[test]
fn a_machine_is_made_as_the_documents_say() {
    let volume: VolumeId = "vol-00000001".parse().unwrap();
    let wanted = Instance {
        instance_type: "c5d.4xlarge".into(),
        cpu_options: Some((4, 1)),
        volumes: vec![volume.clone()],
        ..of(State::Pending, None)
    };
    let nic = interface();
    let spec = machine_spec(&wanted, &image(Boot::Firmware), &[Arc::new(nic.clone())]).unwrap();
    assert_eq!((spec.run, spec.vcpus, spec.memory_mib, &spec.kernel_command_line), (RUN, 4, 32_768, &None));
    assert_eq!(spec.disks, [Disk::Volume(volume), Disk::InstanceStore { index: 0, bytes: 400_000_000_000 }]);
    assert_eq!(spec.interfaces, [Interface { id: nic.id, mac: nic.mac }]);

    let kernel = image(Boot::Kernel { command_line: "console=ttyS0".into() });
    assert_eq!(machine_spec(&wanted, &kernel, &[]).unwrap().kernel_command_line.as_deref(), Some("console=ttyS0"));
    let unknown = Instance { instance_type: "z9.huge".into(), ..wanted };
    assert!(machine_spec(&unknown, &kernel, &[]).is_err());
}

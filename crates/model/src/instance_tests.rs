//! The state table, tried with every pair of state and event.
#![allow(clippy::unwrap_used)]

use super::*;

pub(crate) const THEN: Timestamp = Timestamp(1_000);
const NOW: Timestamp = Timestamp(1_795_493_259_042);

pub(crate) fn instance(state: State, run: u64, shutdown_behavior: ShutdownBehavior) -> Instance {
    Instance {
        id: "i-00000001".parse().unwrap(),
        reservation_id: "r-00000001".parse().unwrap(),
        launch_index: 0,
        client_token: None,
        image_id: "ami-00000001".parse().unwrap(),
        instance_type: "t3.nano".into(),
        architecture: "x86_64".into(),
        key_name: None,
        public_key: None,
        user_data: None,
        zone: "us-east-1a".into(),
        vpc_id: "vpc-00000001".parse().unwrap(),
        subnet_id: "subnet-00000001".parse().unwrap(),
        private_ip: Ipv4Addr::new(172, 31, 0, 4),
        interfaces: Vec::new(),
        root_device_name: "/dev/xvda".into(),
        volumes: Vec::new(),
        state,
        state_reason: Some(StateReason { code: "old".into(), message: "old".into() }),
        impairments: BTreeMap::new(),
        state_transition_reason: "old".into(),
        run,
        launch_time: THEN,
        reboot_since: Some(THEN),
        disable_api_termination: false,
        disable_api_stop: false,
        shutdown_behavior,
        metadata_options: MetadataOptions { enabled: true, tokens_required: false, hop_limit: 1, tags: false, ipv6: false },
        monitoring: false,
        ebs_optimized: false,
        cpu_options: None,
        credit_specification: None,
        tags: Tags::default(),
    }
}

fn ending(force: bool) -> Ending {
    Ending { since: THEN, force }
}

/// Every state, with each value of its data that the table asks for.
fn states() -> [State; 8] {
    // A new state doesn't compile here: it belongs below, and in the table.
    match State::Pending {
        State::Pending | State::Running | State::Stopping(_) | State::Stopped | State::ShuttingDown(_) | State::Terminated { .. } => {}
    }
    [
        State::Pending,
        State::Running,
        State::Stopping(ending(false)),
        State::Stopping(ending(true)),
        State::Stopped,
        State::ShuttingDown(ending(false)),
        State::ShuttingDown(ending(true)),
        State::Terminated { at: THEN },
    ]
}

/// Every event, likewise.
fn events() -> [Event; 12] {
    match Event::Started {
        Event::Started
        | Event::StartFailed { .. }
        | Event::StartWanted
        | Event::StopWanted { .. }
        | Event::TerminateWanted { .. }
        | Event::GuestPoweredOff
        | Event::MachineDied { .. }
        | Event::Impaired { .. }
        | Event::HostRestarted
        | Event::Gone => {}
    }
    let reason = String::from("why");
    [
        Event::Started,
        Event::StartFailed { reason: reason.clone() },
        Event::StartWanted,
        Event::StopWanted { force: false },
        Event::StopWanted { force: true },
        Event::TerminateWanted { force: false },
        Event::TerminateWanted { force: true },
        Event::GuestPoweredOff,
        Event::MachineDied { reason },
        Event::HostRestarted,
        Event::Gone,
        Event::Impaired { by: BTreeSet::new(), details: String::new() },
    ]
}

/// The table for an instance that ran before and that its guest stops. A row is a state, in the order of [`states`]; a column an
/// event, in the order of [`events`]. `=` is no change, `x` refused, `!` after a state: without asking the guest.
const TABLE: [[&str; 12]; 8] = [
    ["running", "stopping!", "=", "x", "x", "shutting-down", "shutting-down!", "stopping!", "stopping!", "=", "x", "="],
    ["=", "x", "=", "stopping", "stopping!", "shutting-down", "shutting-down!", "stopping!", "stopping!", "=", "x", "="],
    ["=", "=", "x", "=", "stopping!", "shutting-down", "shutting-down!", "=", "=", "=", "stopped", "="],
    ["=", "=", "x", "=", "=", "shutting-down!", "shutting-down!", "=", "=", "=", "stopped", "="],
    ["=", "=", "pending", "=", "=", "shutting-down", "shutting-down!", "=", "=", "=", "=", "="],
    ["=", "=", "x", "x", "x", "=", "shutting-down!", "=", "=", "=", "terminated", "="],
    ["=", "=", "x", "x", "x", "=", "=", "=", "=", "=", "terminated", "="],
    ["=", "=", "x", "x", "x", "=", "=", "=", "=", "=", "=", "="],
];

fn outcome(before: &Instance, event: &Event) -> (String, Instance) {
    let mut after = before.clone();
    let outcome = match after.apply(event, NOW) {
        Ok(false) => "=".into(),
        Err(Refused) => "x".into(),
        Ok(true) => {
            let forced = matches!(&after.state, State::Stopping(e) | State::ShuttingDown(e) if e.force);
            format!("{}{}", after.state.name(), if forced { "!" } else { "" })
        }
    };
    (outcome, after)
}

#[test]
fn every_pair() {
    for (state, row) in states().into_iter().zip(TABLE) {
        for (event, expected) in events().iter().zip(row) {
            let before = instance(state.clone(), 2, ShutdownBehavior::Stop);
            let (found, after) = outcome(&before, event);
            assert_eq!(found, expected, "{state:?} and {event:?}");
            match expected {
                "=" | "x" => assert_eq!(after, before, "{state:?} and {event:?} change nothing"),
                _ => assert_ne!(after.state, before.state),
            }
        }
    }
}

/// A launch that fails leaves nothing; a later start that fails leaves the instance stopped, with its volumes.
#[test]
fn the_first_start_that_fails_ends_the_instance() {
    let before = instance(State::Pending, 1, ShutdownBehavior::Stop);
    let (found, after) = outcome(&before, &Event::StartFailed { reason: "why".into() });
    assert_eq!(found, "shutting-down!");
    assert_eq!(after.state_reason, Some(StateReason::internal_error("why")));
    for (event, expected) in events().iter().zip(TABLE[0]) {
        if !matches!(event, Event::StartFailed { .. }) {
            assert_eq!(outcome(&before, event).0, expected, "{event:?} is the same at the first start");
        }
    }
}

#[test]
fn a_guest_that_powers_itself_off_ends_as_its_owner_chose() {
    for (state, row) in states().into_iter().zip(TABLE) {
        for (event, in_table) in events().iter().zip(row) {
            let own_power_off = *event == Event::GuestPoweredOff && matches!(state, State::Pending | State::Running);
            let expected = if own_power_off { "shutting-down!" } else { in_table };
            let (found, after) = outcome(&instance(state.clone(), 2, ShutdownBehavior::Terminate), event);
            assert_eq!(found, expected, "{state:?} and {event:?}");
            if own_power_off {
                assert_eq!(after.state_reason.unwrap().message, "Client.InstanceInitiatedShutdown: Instance initiated shutdown");
            }
        }
    }
}

#[test]
fn reasons_are_as_aws_gives_them() {
    let reason = |state: &State, event: &Event| {
        let (_, after) = outcome(&instance(state.clone(), 2, ShutdownBehavior::Stop), event);
        (after.state_reason.map(|r| r.code), after.state_transition_reason)
    };
    let code = |text: &str| Some(text.to_owned());
    let by_user = (code("Client.UserInitiatedShutdown"), "User initiated (2026-11-24 04:07:39 GMT)".to_owned());
    assert_eq!(reason(&State::Running, &Event::StopWanted { force: false }), by_user);
    assert_eq!(reason(&State::Stopped, &Event::TerminateWanted { force: false }), by_user);
    assert_eq!(reason(&State::Pending, &Event::Started), (None, "old".into()));
    assert_eq!(reason(&State::Running, &Event::GuestPoweredOff), (code("Client.InstanceInitiatedShutdown"), "old".into()));
    let internal = (code("Server.InternalError"), "Server.InternalError".to_owned());
    assert_eq!(reason(&State::Running, &Event::MachineDied { reason: "why".into() }), internal);
    assert_eq!(reason(&State::Pending, &Event::StartFailed { reason: "why".into() }), internal);
    // How it came to stop stays to be read; a start wipes it.
    assert_eq!(reason(&State::Stopping(ending(true)), &Event::Gone), (code("old"), "old".into()));
    assert_eq!(reason(&State::Stopped, &Event::StartWanted), (code("pending"), String::new()));
}

#[test]
fn a_start_counts_and_an_end_keeps_its_time() {
    let (_, started) = outcome(&instance(State::Stopped, 2, ShutdownBehavior::Stop), &Event::StartWanted);
    assert_eq!((started.run, started.launch_time), (3, NOW));
    let (_, forced) = outcome(&instance(State::Stopping(ending(false)), 2, ShutdownBehavior::Stop), &Event::StopWanted { force: true });
    assert_eq!(forced.state, State::Stopping(Ending { since: THEN, force: true }));
    let (_, over) = outcome(&instance(State::ShuttingDown(ending(false)), 2, ShutdownBehavior::Stop), &Event::Gone);
    assert_eq!(over.state, State::Terminated { at: NOW });
}

/// A reboot that was asked for dies with the run it was asked of.
#[test]
fn no_reboot_outlives_its_run() {
    for state in states() {
        for event in events() {
            let (found, after) = outcome(&instance(state.clone(), 2, ShutdownBehavior::Stop), &event);
            if !matches!(found.as_str(), "=" | "x" | "running") {
                assert_eq!(after.reboot_since, None, "{state:?} and {event:?}");
            }
        }
    }
}

#[test]
fn codes_and_names() {
    let all = states().map(|s| (s.name(), s.code(), s.holds_capacity()));
    let expected = [
        ("pending", 0, true),
        ("running", 16, true),
        ("stopping", 64, true),
        ("stopping", 64, true),
        ("stopped", 80, false),
        ("shutting-down", 32, true),
        ("shutting-down", 32, true),
        ("terminated", 48, false),
    ];
    assert_eq!(all, expected);
}

//! Golden exchanges: what is asked and what is answered, in `testdata/<service>/<Action>/<case>.http`. Each case runs through the gate
//! with signed requests, on a cloud of its own with a fixed clock and fixed chance; every reply of all cases is then checked against
//! AWS's model by botocore (`tests/clients/check_shapes.py`).
//!
//! `UPDATE_GOLDEN=1` writes the replies that came into the files: read the difference before you commit it. It adds no case, and
//! the coverage test counts cases.

#![allow(clippy::unwrap_used)]

mod case;
mod names;
mod pretty;
mod script;
mod world;

use case::{Case, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use world::World;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// Every case, by its path under `testdata`.
fn cases() -> BTreeMap<String, PathBuf> {
    let mut cases = BTreeMap::new();
    let mut folders = vec![testdata()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "http") {
                cases.insert(path.strip_prefix(testdata()).unwrap().display().to_string(), path);
            }
        }
    }
    cases
}

/// Goal: every exchange is answered as it was written down, and every reply is one that AWS's model allows.
#[tokio::test]
async fn exchanges() {
    script::exchanges(cases(), async |case, name| World::new().await.play(case, name).await).await;
}

/// Goal: no action is without a case of success, nor without one that names what another tenant owns (or a file
/// `no-foreign-ids.txt` with the reason why its parameters name nothing).
#[test]
fn every_action_has_its_cases() {
    let (mut succeeded, mut foreign) = (BTreeSet::new(), BTreeSet::new());
    for (name, path) in cases() {
        let case = Case::parse(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut parts = name.split('/').map(str::to_owned);
        let action = (parts.next().unwrap(), parts.next().unwrap());
        let mut bob = false;
        for step in &case.steps {
            match step {
                Step::Do(order) => bob = if let Some(who) = order.strip_prefix("as ") { who.starts_with("bob") } else { bob },
                Step::Call(call) if call.action == action.1 => {
                    if call.status == 200 {
                        succeeded.insert(action.clone());
                    }
                    // A list that is filtered by a foreign id succeeds, too, and is empty.
                    if bob && call.parameters.iter().any(|(_, v)| v.contains("-#")) {
                        foreign.insert(action.clone());
                    }
                }
                Step::Call(_) | Step::Comment(_) => {}
            }
        }
    }
    let missing: Vec<String> = api::actions()
        .map(|(service, name)| (service.to_owned(), name.to_owned()))
        .filter_map(|action| {
            let folder = testdata().join(&action.0).join(&action.1);
            let excused = std::fs::read_to_string(folder.join("no-foreign-ids.txt")).is_ok_and(|reason| reason.trim().len() > 10);
            let lacks = [
                (!succeeded.contains(&action)).then_some("success"),
                (!excused && !foreign.contains(&action)).then_some("another tenant's id"),
            ];
            let lacks: Vec<&str> = lacks.into_iter().flatten().collect();
            (!lacks.is_empty()).then(|| format!("{}:{} lacks {}", action.0, action.1, lacks.join(" and ")))
        })
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Goal: without a signature, with a wrong one, and with an unknown key no action runs at all.
#[tokio::test]
async fn no_action_runs_without_a_good_signature() {
    let world = World::new().await;
    for (service, action) in api::actions() {
        world.refuses(service, action).await;
    }
}

/// Goal: a list read page by page shows each instance once, also when others come and go between; a token is good only for the
/// call it was given out by.
#[tokio::test]
async fn pages() {
    let world = World::new().await;
    let launch = [("ImageId", "ami-00000000000000001"), ("InstanceType", "t3.nano"), ("MinCount", "6"), ("MaxCount", "6")];
    assert_eq!(world.ec2("RunInstances", &launch).await.0, 200);
    let first_six = instances(&world.ec2("DescribeInstances", &[]).await.1);
    let (status, page) = world.ec2("DescribeInstances", &[("MaxResults", "5")]).await;
    let token = between(&page, "<nextToken>", "</nextToken>").expect("there is a sixth").to_owned();
    assert_eq!((status, instances(&page).len()), (200, 5));
    let launch = [("ImageId", "ami-00000000000000001"), ("InstanceType", "t3.nano"), ("MinCount", "1"), ("MaxCount", "1")];
    assert_eq!(world.ec2("RunInstances", &launch).await.0, 200);
    let (_, rest) = world.ec2("DescribeInstances", &[("MaxResults", "5"), ("NextToken", &token)]).await;
    assert!(!rest.contains("<nextToken>"));
    let mut shown = instances(&page);
    shown.extend(instances(&rest));
    assert!(first_six.iter().all(|id| shown.iter().filter(|s| *s == id).count() == 1), "{first_six:?} {shown:?}");
    let filtered = [("NextToken", token.as_str()), ("Filter.1.Name", "instance-type"), ("Filter.1.Value.1", "t3.nano")];
    assert!(world.ec2("DescribeInstances", &filtered).await.1.contains("<Code>InvalidNextToken</Code>"));
}

/// All types come in pages of 100 where a call asks for no size, and each token goes on without one.
#[tokio::test]
async fn pages_without_a_size() {
    let world = World::new().await;
    for (action, element) in [("DescribeInstanceTypes", "<instanceType>"), ("DescribeInstanceTypeOfferings", "<instanceType>")] {
        let (mut count, mut token) = (0, None);
        loop {
            let parameters: Vec<_> = token.iter().map(|t: &String| ("NextToken", t.as_str())).collect();
            let (status, page) = world.ec2(action, &parameters).await;
            assert_eq!(status, 200, "{action}: {page}");
            count += page.matches(element).count();
            token = between(&page, "<nextToken>", "<").map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        assert_eq!(count, model::instance_type::all().len(), "{action}");
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(inner, _)| inner)
}

fn instances(xml: &str) -> Vec<String> {
    xml.split("<instanceId>").skip(1).filter_map(|rest| rest.split_once('<')).map(|(id, _)| id.to_owned()).collect()
}

/// Goal: what changed something and what was refused is in the audit trail with the id that the caller got; what only looked is not.
#[tokio::test]
async fn audit() {
    let world = World::new().await;
    let launch = [("ImageId", "ami-00000000000000001"), ("InstanceType", "t3.nano"), ("MinCount", "1"), ("MaxCount", "1")];
    let (_, launched) = world.ec2("RunInstances", &launch).await;
    world.ec2("DescribeInstances", &[]).await;
    let (_, refused) = world.ec2("StopInstances", &[("InstanceId.1", "i-0123456789abcdef0")]).await;
    let (_, dry) = world.ec2("RunInstances", &[&launch[..], &[("DryRun", "true")]].concat()).await;
    let id = |xml: &str| {
        let id = between(xml, "<requestId>", "<").or_else(|| between(xml, "<RequestID>", "<"));
        id.expect("every reply has its id").to_owned()
    };
    let expected = [
        ("ec2:RunInstances".to_owned(), id(&dry), Some("DryRunOperation".to_owned())),
        ("ec2:StopInstances".to_owned(), id(&refused), Some("InvalidInstanceID.NotFound".to_owned())),
        ("ec2:RunInstances".to_owned(), id(&launched), None),
    ];
    assert_eq!(world.audit().await, expected);
}

/// Goal: what AWS has and isn't built says so with a status that SDKs don't retry; what AWS doesn't have is no action; a body has a limit.
#[tokio::test]
async fn what_is_not_built() {
    let world = World::new().await;
    let (status, body) = world.ec2("CreateCarrierGateway", &[]).await;
    assert!(status == 501 && body.contains("<Code>NotImplemented</Code>"), "{status} {body}");
    let (status, body) = world.ec2("Nonsense", &[]).await;
    assert!(status == 400 && body.contains("<Code>InvalidAction</Code>"), "{status} {body}");
    let (status, body) = world.ec2("DescribeInstances", &[("InstanceId.1", &"x".repeat(api::BODY_BYTES_MAX))]).await;
    assert!(status == 413 && body.contains("<Code>RequestEntityTooLarge</Code>"), "{status}");
    assert_eq!(world.audit().await, []);
}

/// Goal: operations that AWS takes without a signature, and that aren't built, say so with or without one.
#[tokio::test]
async fn unsigned_operations_that_are_not_built() {
    let world = World::new().await;
    for action in ["AssumeRoleWithSAML", "AssumeRoleWithWebIdentity"] {
        let (status, body) = world.without_signature("sts", action).await;
        assert!(status == 501 && body.contains("<Code>NotImplemented</Code>"), "{action}: {status} {body}");
    }
    let (status, body) = world.without_signature("sts", "AssumeRole").await;
    assert!(status == 403 && body.contains("<Code>MissingAuthenticationToken</Code>"), "{status} {body}");
}

/// Goal: a simulation that calls without a signature gets what a signed request gets.
#[tokio::test]
async fn calls_of_a_simulation() {
    let world = World::new().await;
    let launch = "Action=RunInstances&Version=2016-11-15&ImageId=ami-00000000000000001&InstanceType=t3.nano&MinCount=1&MaxCount=1";
    let (status, body) = world.unsigned(launch).await;
    assert_eq!((status, instances(&body).len()), (200, 1), "{body}");
    assert_eq!(instances(&world.ec2("DescribeInstances", &[]).await.1), instances(&body));
    assert_eq!(world.unsigned("Action=Nonsense&Version=2016-11-15").await.0, 400);
}

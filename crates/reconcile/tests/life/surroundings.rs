//! What stands around instances: VPCs, volumes and images, and what nobody wants any more.

use crate::world::{Cloud, World, a_group, a_volume, an_image, an_interface, group_id, id, image_id, scope, volume_id, vpc_id};
use model::ids::{ImageId, VpcId};
use model::image::{DeregisteredImage, Image, ImageTags};
use model::instance::{Event, Instance, ShutdownBehavior};
use model::machine::MachineSpec;
use model::network::VpcWanted;
use model::network_interface::NetworkInterface;
use model::security_group::Traffic;
use model::time::{Clock as _, Timestamp};
use model::volume::{Source, Volume};
use node::directory::Directory as _;
use node::hypervisor::Parts;
use reconcile::directory::StoreDirectory;
use std::path::Path;
use std::sync::Arc;
use store::{IdempotencyToken, TOKEN_KEPT_MILLIS, TokenId};
use tokio::sync::Notify;

fn vpc(world: &World) -> VpcWanted {
    world.network.vpcs()[&vpc_id()].clone()
}

#[tokio::test]
async fn a_vpc_follows_its_interfaces_and_rules() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=2, ShutdownBehavior::Stop).await;
    cloud.settle().await;
    let wanted = vpc(&world);
    assert_eq!(wanted.interfaces.len(), 2);
    assert!(wanted.internet_gateway && wanted.subnets.len() == 1);
    assert_eq!(wanted.groups[&group_id(1)].members.len(), 2);
    let changes = world.network.changes();
    for _ in 0..5 {
        world.later(60_000);
        cloud.settle().await;
    }
    assert_eq!(world.network.changes(), changes, "nothing changed, nothing is done");

    // A rule that names another group brings that group's members.
    cloud
        .write(|tx| {
            tx.put(&scope(), a_group(1, group_id(2)));
            tx.put(&scope(), a_group(2, group_id(2)));
            let outsider = an_interface(9, Timestamp(0));
            tx.put(&scope(), NetworkInterface { groups: vec![group_id(2)], attachment: None, ..outsider });
        })
        .await;
    cloud.settle().await;
    assert_eq!(vpc(&world).groups[&group_id(2)].members, [[172, 31, 0, 19].into()].into());
    assert_eq!(vpc(&world).interfaces.len(), 2, "an interface without a machine has no place on a node");
    assert!(vpc(&world).groups[&group_id(1)].ingress.iter().all(|(traffic, _)| *traffic == Traffic::All));

    cloud.wish(1, Event::StopWanted { force: true }).await;
    cloud.settle().await;
    assert_eq!(vpc(&world).interfaces.len(), 1);
    assert_eq!(vpc(&world).groups[&group_id(1)].members.len(), 2, "a stopped one is a member still");
    cloud.wish(2, Event::StopWanted { force: true }).await;
    cloud.settle().await;
    assert!(world.network.vpcs().is_empty());
}

#[tokio::test]
async fn a_vpc_that_vanishes_is_made_again() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    cloud.settle().await;
    world.network.reboot();
    world.later(60_000);
    cloud.settle().await;
    assert_eq!(vpc(&world).interfaces.len(), 1, "it is compared with what stands now and then");

    // A start finds out by itself, though the VPC was made a moment ago.
    world.network.reboot();
    cloud.wish(1, Event::StopWanted { force: true }).await;
    cloud.launch(2..=2, ShutdownBehavior::Stop).await;
    for _ in 0..5 {
        cloud.pass().await;
    }
    assert_eq!((cloud.state(1), cloud.state(2)), ("stopped", "running"));
}

#[tokio::test]
async fn a_failed_vpc_is_noted_and_only_its_machines_wait() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    for _ in 0..2 {
        world.network.fail_next(node::network::fake::Call::Ensure, node::fake::Failure::Refused);
    }
    cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    cloud.pass().await;
    let notes = cloud.reconciler.notes();
    assert!(notes.iter().any(|n| n.starts_with(vpc_id().as_str()) && n.contains("make the VPC: simulated failure")), "{notes:?}");
    assert_eq!(cloud.state(1), "pending");
    for _ in 0..5 {
        cloud.pass().await;
    }
    assert_eq!(cloud.state(1), "running");
}

#[tokio::test]
async fn what_nobody_wants_is_swept_but_not_at_once() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    cloud.settle().await;
    let drivers = world.drivers(Arc::new(Notify::new()));
    let stray = MachineSpec { id: id(7), kernel_command_line: None, disks: vec![], interfaces: vec![], ..a_spec(&world) };
    drivers.hypervisor.start(&stray, Parts::default()).await.unwrap();
    drivers.volumes.ensure(&volume_id(7), 1, &Source::Blank).await.unwrap();
    let stray_vpc: VpcId = "vpc-00000007".parse().unwrap();
    let other = VpcWanted { id: stray_vpc.clone(), interfaces: [].into(), ..vpc(&world) };
    drivers.network.vpc_ensure(&other).await.unwrap();
    let stray_image: ImageId = "ami-00000007".parse().unwrap();
    drivers.images.adopt(&stray_image, Path::new("/nowhere")).await.unwrap();

    world.later(31_000);
    cloud.settle().await;
    assert_eq!(world.machines.machines().len(), 2, "a machine that was found once is looked for again");
    world.later(11_000);
    cloud.settle().await;
    // It was told to power off, and did.
    world.later(6_000);
    cloud.settle().await;
    assert_eq!(world.machines.machines().keys().collect::<Vec<_>>(), [&id(1)]);
    assert_eq!(world.network.vpcs().keys().collect::<Vec<_>>(), [&vpc_id()]);
    assert_eq!((world.volumes.volumes().len(), world.images.images().len()), (2, 2));
    for _ in 0..25 {
        world.later(31_000);
        cloud.settle().await;
    }
    assert_eq!(world.volumes.volumes().keys().collect::<Vec<_>>(), [&volume_id(1)]);
    assert_eq!(world.images.images(), [image_id()].into());
    assert_eq!(
        (world.volumes.set_aside().len(), world.images.set_aside().len()),
        (1, 1),
        "nothing that this process did not see deleted is deleted"
    );
    assert_eq!(cloud.state(1), "running");
}

fn a_spec(world: &World) -> MachineSpec {
    world.machines.machines()[&id(1)].spec.clone()
}

/// What an earlier process left of a machine whose instance is stopped or terminated.
#[tokio::test]
async fn remains_of_a_stopped_instance_are_swept() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=2, ShutdownBehavior::Stop).await;
    cloud.settle().await;
    let spec = MachineSpec { kernel_command_line: None, disks: vec![], interfaces: vec![], ..a_spec(&world) };
    cloud.wish(1, Event::StopWanted { force: true }).await;
    cloud.wish(2, Event::TerminateWanted { force: true }).await;
    cloud.settle().await;
    assert!(world.machines.machines().is_empty());
    let drivers = world.drivers(Arc::new(Notify::new()));
    for n in [1, 2] {
        drivers.hypervisor.start(&MachineSpec { id: id(n), ..spec.clone() }, Parts::default()).await.unwrap();
    }
    world.later(31_000);
    cloud.settle().await;
    cloud.settle().await;
    assert!(world.machines.machines().is_empty());
    assert_eq!((cloud.state(1), cloud.state(2)), ("stopped", "terminated"));
}

/// Deregisters the image, as an API call does.
async fn deregister(cloud: &Cloud) {
    let gone = |tx: &mut store::SystemTx<'_>| {
        assert!(tx.remove::<Image>(&scope(), &image_id()));
        tx.put(&scope(), DeregisteredImage { id: image_id(), image: an_image(&scope()) });
    };
    cloud.write(gone).await;
}

async fn twelve_minutes(cloud: &Cloud) {
    for _ in 0..25 {
        cloud.world.later(31_000);
        cloud.settle().await;
    }
}

#[tokio::test]
async fn a_deregistered_image_stays_for_its_instances() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    cloud.settle().await;
    deregister(&cloud).await;
    twelve_minutes(&cloud).await;
    assert_eq!(world.images.images().len(), 1);
    cloud.wish(1, Event::StopWanted { force: true }).await;
    cloud.settle().await;
    cloud.wish(1, Event::StartWanted).await;
    cloud.settle().await;
    assert_eq!(cloud.state(1), "running", "it starts again");
    cloud.wish(1, Event::TerminateWanted { force: true }).await;
    twelve_minutes(&cloud).await;
    assert!(world.images.images().is_empty() && world.images.set_aside().is_empty(), "its document was seen deleted");
    assert_eq!(cloud.store.snapshot().all::<DeregisteredImage>().count(), 0);
}

#[tokio::test]
async fn files_stay_while_any_image_stands_on_them() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=1, ShutdownBehavior::Stop).await;
    cloud.wish(1, Event::TerminateWanted { force: true }).await;
    let copy: ImageId = "ami-00000008".parse().unwrap();
    let document = Image { id: copy.clone(), content: Some(image_id()), ..an_image(&scope()) };
    cloud.write(move |tx| tx.put(&scope(), document)).await;
    // Tags that another account gave the image go with it.
    let other = model::scope::Scope { account: "444455556666".parse().unwrap(), ..scope() };
    let tags = ImageTags { id: image_id(), tags: model::tag::Tags::default() };
    cloud.write(move |tx| tx.put(&other, tags)).await;
    twelve_minutes(&cloud).await;
    assert_eq!(cloud.store.snapshot().all::<ImageTags>().count(), 1);
    deregister(&cloud).await;
    twelve_minutes(&cloud).await;
    assert_eq!(world.images.images(), [image_id()].into(), "the copy needs them");
    assert_eq!(cloud.store.snapshot().all::<ImageTags>().count(), 0);
    cloud.write(move |tx| _ = tx.remove::<Image>(&scope(), &copy)).await;
    twelve_minutes(&cloud).await;
    assert!(world.images.images().is_empty());
}

#[tokio::test]
async fn a_volume_that_is_to_go_goes() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    let volume = Volume { source: Source::Blank, attachment: None, ..a_volume(5, world.now()) };
    world.drivers(Arc::new(Notify::new())).volumes.ensure(&volume.id, 1, &Source::Blank).await.unwrap();
    let kept = volume.clone();
    cloud.write(move |tx| tx.put(&scope(), kept)).await;
    cloud.settle().await;
    assert_eq!(world.volumes.volumes().len(), 1);
    cloud.write(move |tx| tx.put(&scope(), Volume { deleting: true, ..volume })).await;
    cloud.settle().await;
    assert!(world.volumes.volumes().is_empty());
    assert_eq!(cloud.store.snapshot().all::<Volume>().count(), 0);
}

#[tokio::test]
async fn old_tokens_are_forgotten() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    let at = world.now();
    cloud
        .write(move |tx| {
            let id = TokenId { action: "RunInstances".into(), token: "t".into() };
            tx.put(&scope(), IdempotencyToken { id, params_hash: "h".into(), result_ids: vec![], at });
        })
        .await;
    let count = || cloud.store.snapshot().all::<IdempotencyToken>().count();
    cloud.settle().await;
    assert_eq!(count(), 1);
    world.later(TOKEN_KEPT_MILLIS);
    cloud.settle().await;
    assert_eq!(count(), 0);
}

#[tokio::test]
async fn the_directory_knows_each_guest_by_its_address() {
    let (world, directory) = (World::default(), tempfile::tempdir().unwrap());
    let cloud = Cloud::open(&world, directory.path());
    cloud.launch(1..=2, ShutdownBehavior::Stop).await;
    let known = StoreDirectory::new(cloud.store.clone());
    let guest = known.guest(&vpc_id(), [172, 31, 0, 12].into()).unwrap();
    assert_eq!(guest.instance_id, id(2));
    assert_eq!(guest.private_dns, "ip-172-31-0-12.ec2.internal");
    assert_eq!(guest.public_dns.as_deref(), Some("ec2-198-18-0-2.compute-1.amazonaws.com"));
    assert_eq!(guest.key, Some(("key".into(), "ssh-ed25519 AAAA".into())));
    assert_eq!(guest.interfaces[0].groups, [(group_id(1), "group 1".into())]);
    assert!(Arc::ptr_eq(&guest, &known.guest(&vpc_id(), [172, 31, 0, 12].into()).unwrap()), "it is put together once a revision");
    assert!(known.guest(&vpc_id(), [172, 31, 0, 99].into()).is_none());
    assert!(known.guest(&"vpc-00000002".parse().unwrap(), [172, 31, 0, 12].into()).is_none());

    // A change shows at once.
    cloud.change(2, |i: &mut Instance| _ = i.tags.0.insert("Name".into(), "two".into())).await;
    assert_eq!(known.guest(&vpc_id(), [172, 31, 0, 12].into()).unwrap().tags.0["Name"], "two");
}

//! The images of a simulated cloud: in every region public ones of the owners and with the names that AWS has, and the first account's
//! `tiny`, which in a real cloud `pileus image build tiny` makes.
//!
//! Their ids follow from region and name, so they are the same in every simulated cloud.

use crate::bootstrap::DEFAULT_ACCOUNT;
use model::ids::{ImageId, SnapshotId};
use model::image::{ARCHITECTURE, BOOT_MODE, Boot, Image, ROOT_VOLUME_TYPE};
use model::scope::{AMAZON, CANONICAL, DEBIAN, REGIONS, Scope};
use model::tag::Tags;
use model::time::Timestamp;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use store::SystemTx;

/// Size of the root disk of the public images, in GiB, as AWS's have it.
const SIZE_GIB: u32 = 8;
const TINY_SIZE_GIB: u32 = 1;
/// The id of the files that all of them share, as far as a simulated cloud has files.
const CONTENT: &str = "ami-00000000000000001";
/// Digits of an id.
const ID_DIGITS: usize = 17;

struct Entry<'a> {
    owner: &'a str,
    name: &'static str,
    description: &'static str,
    architecture: &'static str,
    root_device_name: &'static str,
    root_volume_type: &'static str,
    boot_mode: &'static str,
    imds_v2: bool,
    login_user: &'static str,
    created: Timestamp,
}

/// By owner and name. The newest image of each owner is of x86_64: whoever takes the most recent one can launch it on any usual type.
const ENTRIES: &[Entry<'_>] = &[
    Entry {
        owner: AMAZON,
        name: "al2023-ami-2023.11.20260427.1-kernel-6.1-arm64",
        description: "Amazon Linux 2023 AMI 2023.11.20260427.1 arm64 HVM kernel-6.1",
        architecture: "arm64",
        root_device_name: "/dev/xvda",
        root_volume_type: "gp3",
        boot_mode: "uefi",
        imds_v2: true,
        login_user: "ec2-user",
        created: Timestamp(1_777_501_049_000),
    },
    Entry {
        owner: AMAZON,
        name: "al2023-ami-2023.11.20260427.1-kernel-6.1-x86_64",
        description: "Amazon Linux 2023 AMI 2023.11.20260427.1 x86_64 HVM kernel-6.1",
        architecture: "x86_64",
        root_device_name: "/dev/xvda",
        root_volume_type: "gp3",
        boot_mode: "uefi-preferred",
        imds_v2: true,
        login_user: "ec2-user",
        created: Timestamp(1_777_501_109_000),
    },
    Entry {
        owner: AMAZON,
        name: "amzn2-ami-hvm-2.0.20260427.1-arm64-gp2",
        description: "Amazon Linux 2 LTS Arm64 AMI 2.0.20260427.1 arm64 HVM gp2",
        architecture: "arm64",
        root_device_name: "/dev/xvda",
        root_volume_type: "gp2",
        boot_mode: "uefi",
        imds_v2: false,
        login_user: "ec2-user",
        created: Timestamp(1_777_495_931_000),
    },
    Entry {
        owner: AMAZON,
        name: "amzn2-ami-hvm-2.0.20260427.1-x86_64-gp2",
        description: "Amazon Linux 2 AMI 2.0.20260427.1 x86_64 HVM gp2",
        architecture: "x86_64",
        root_device_name: "/dev/xvda",
        root_volume_type: "gp2",
        boot_mode: "legacy-bios",
        imds_v2: false,
        login_user: "ec2-user",
        created: Timestamp(1_777_495_991_000),
    },
    Entry {
        owner: AMAZON,
        name: "amzn2-ami-kernel-5.10-hvm-2.0.20260427.1-arm64-gp2",
        description: "Amazon Linux 2 LTS Arm64 Kernel 5.10 AMI 2.0.20260427.1 arm64 HVM gp2",
        architecture: "arm64",
        root_device_name: "/dev/xvda",
        root_volume_type: "gp2",
        boot_mode: "uefi",
        imds_v2: false,
        login_user: "ec2-user",
        created: Timestamp(1_777_496_620_000),
    },
    Entry {
        owner: AMAZON,
        name: "amzn2-ami-kernel-5.10-hvm-2.0.20260427.1-x86_64-gp2",
        description: "Amazon Linux 2 Kernel 5.10 AMI 2.0.20260427.1 x86_64 HVM gp2",
        architecture: "x86_64",
        root_device_name: "/dev/xvda",
        root_volume_type: "gp2",
        boot_mode: "legacy-bios",
        imds_v2: false,
        login_user: "ec2-user",
        created: Timestamp(1_777_496_680_000),
    },
    Entry {
        owner: CANONICAL,
        name: "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260421",
        description: "Canonical, Ubuntu, 24.04, amd64 noble image",
        architecture: "x86_64",
        root_device_name: "/dev/sda1",
        root_volume_type: "gp3",
        boot_mode: "uefi-preferred",
        imds_v2: false,
        login_user: "ubuntu",
        created: Timestamp(1_776_751_428_000),
    },
    Entry {
        owner: CANONICAL,
        name: "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-20260421",
        description: "Canonical, Ubuntu, 24.04, arm64 noble image",
        architecture: "arm64",
        root_device_name: "/dev/sda1",
        root_volume_type: "gp3",
        boot_mode: "uefi",
        imds_v2: false,
        login_user: "ubuntu",
        created: Timestamp(1_776_751_368_000),
    },
    Entry {
        owner: CANONICAL,
        name: "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20260420",
        description: "Canonical, Ubuntu, 22.04, amd64 jammy image",
        architecture: "x86_64",
        root_device_name: "/dev/sda1",
        root_volume_type: "gp2",
        boot_mode: "uefi-preferred",
        imds_v2: false,
        login_user: "ubuntu",
        created: Timestamp(1_776_663_132_000),
    },
    Entry {
        owner: CANONICAL,
        name: "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-arm64-server-20260420",
        description: "Canonical, Ubuntu, 22.04, arm64 jammy image",
        architecture: "arm64",
        root_device_name: "/dev/sda1",
        root_volume_type: "gp2",
        boot_mode: "uefi",
        imds_v2: false,
        login_user: "ubuntu",
        created: Timestamp(1_776_663_072_000),
    },
    Entry {
        owner: DEBIAN,
        name: "debian-12-amd64-20260413-2447",
        description: "Debian 12 (20260413-2447)",
        architecture: "x86_64",
        root_device_name: "/dev/xvda",
        root_volume_type: "gp3",
        boot_mode: "uefi-preferred",
        imds_v2: false,
        login_user: "admin",
        created: Timestamp(1_776_121_915_000),
    },
    Entry {
        owner: DEBIAN,
        name: "debian-12-arm64-20260413-2447",
        description: "Debian 12 (20260413-2447)",
        architecture: "arm64",
        root_device_name: "/dev/xvda",
        root_volume_type: "gp3",
        boot_mode: "uefi",
        imds_v2: false,
        login_user: "admin",
        created: Timestamp(1_776_121_855_000),
    },
    Entry {
        owner: DEBIAN,
        name: "debian-13-amd64-20260413-2447",
        description: "Debian 13 (20260413-2447)",
        architecture: "x86_64",
        root_device_name: "/dev/xvda",
        root_volume_type: "gp3",
        boot_mode: "uefi-preferred",
        imds_v2: false,
        login_user: "admin",
        created: Timestamp(1_776_122_720_000),
    },
    Entry {
        owner: DEBIAN,
        name: "debian-13-arm64-20260413-2447",
        description: "Debian 13 (20260413-2447)",
        architecture: "arm64",
        root_device_name: "/dev/xvda",
        root_volume_type: "gp3",
        boot_mode: "uefi",
        imds_v2: false,
        login_user: "admin",
        created: Timestamp(1_776_122_660_000),
    },
];

/// The setting that says which edition of the catalogue the cloud has got.
const EDITION_SETTING: &str = "image_catalogue";
/// To be raised with every change of the catalogue.
const EDITION: &str = "1";

/// Makes the catalogue's images, once: what is deregistered later stays so.
pub fn catalogue_ensure(tx: &mut SystemTx<'_>, now: Timestamp) {
    if tx.setting(EDITION_SETTING) == Some(EDITION) {
        return;
    }
    tx.setting_put(EDITION_SETTING, EDITION);
    let first = tx.accounts().find(|a| a.name == DEFAULT_ACCOUNT).map(|a| a.id.to_string());
    let tiny = first.as_deref().map(|owner| tiny(owner, now));
    for region in REGIONS {
        for (entry, size_gib) in ENTRIES.iter().map(|e| (e, SIZE_GIB)).chain(tiny.iter().map(|e| (e, TINY_SIZE_GIB))) {
            let scope = Scope {
                account: entry.owner.parse().expect("the owners are accounts"),
                region: region.parse().expect("a listed region is one"),
            };
            let image = image(&scope, entry, size_gib);
            let is_free = tx.find::<Image>(&image.id).is_none() && tx.of(&scope).list::<Image>().all(|i| i.name != image.name);
            if is_free {
                tx.put(&scope, image);
            }
        }
    }
}

/// Makes the catalogue's images that are missing, also those that were deregistered.
pub fn catalogue_renew(tx: &mut SystemTx<'_>, now: Timestamp) {
    tx.setting_put(EDITION_SETTING, "");
    catalogue_ensure(tx, now);
}

/// The first account's image, as `pileus image build tiny` would make it.
fn tiny(owner: &str, now: Timestamp) -> Entry<'_> {
    Entry {
        owner,
        name: "tiny",
        description: "An image without content, for simulated instances",
        architecture: ARCHITECTURE,
        root_device_name: "/dev/xvda",
        root_volume_type: ROOT_VOLUME_TYPE,
        boot_mode: BOOT_MODE,
        imds_v2: false,
        login_user: "root",
        created: now,
    }
}

fn image(scope: &Scope, entry: &Entry<'_>, size_gib: u32) -> Image {
    let digits = |of: &str| -> String {
        let digest = Sha256::digest(format!("{of}\n{}\n{}", scope.region, entry.name));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        hex[..ID_DIGITS].into()
    };
    let id: ImageId = format!("ami-{}", digits("image")).parse().expect("17 hexadecimal digits make an id");
    let snapshot_id: SnapshotId = format!("snap-{}", digits("snapshot")).parse().expect("17 hexadecimal digits make an id");
    Image {
        id,
        owner: scope.account.clone(),
        name: entry.name.into(),
        description: Some(entry.description.into()),
        public: true,
        architecture: entry.architecture.into(),
        root_device_name: entry.root_device_name.into(),
        snapshot_id,
        size_gib,
        boot: Boot::Firmware,
        login_user: entry.login_user.into(),
        lost: None,
        created: entry.created,
        tags: Tags::default(),
        content: Some(CONTENT.parse().expect("the id is well-formed")),
        launch_permissions: BTreeSet::new(),
        source: None,
        root_volume_type: entry.root_volume_type.into(),
        boot_mode: entry.boot_mode.into(),
        imds_v2: entry.imds_v2,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::scope::AccountId;
    use std::sync::Arc;
    use store::{Mode, Store};

    #[tokio::test]
    async fn every_region_gets_the_catalogue_once() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("state.db"), Mode::Simulated, Arc::new(model::fault::NoFaults)).unwrap();
        let ensure = |now| {
            store.write(move |tx| {
                crate::bootstrap::account_ensure_default(tx, Timestamp(1), &mut rand::rng())?;
                catalogue_ensure(tx, Timestamp(now));
                Ok::<_, crate::bootstrap::AccountError>(())
            })
        };
        ensure(1).await.unwrap().unwrap();
        let stranger: AccountId = "111122223333".parse().unwrap();
        let seen = |region: &str| -> Vec<(String, String)> {
            let (snapshot, scope) = (store.snapshot(), Scope { account: stranger.clone(), region: region.parse().unwrap() });
            snapshot.of(&scope).images().map(|i| (i.id.to_string(), i.name.clone())).collect()
        };
        let all: BTreeSet<String> = REGIONS.iter().flat_map(|region| seen(region)).map(|(id, _)| id).collect();
        assert_eq!(all.len(), REGIONS.len() * (ENTRIES.len() + 1), "each region has all, under ids of its own");
        // Another start makes nothing anew, not even what was deregistered.
        let gone = seen("eu-west-1")[0].clone();
        let id = gone.0.parse().unwrap();
        store.write(move |tx| crate::operator::image_deregister(tx, &id, false)).await.unwrap().unwrap();
        ensure(2).await.unwrap().unwrap();
        assert!(!seen("eu-west-1").contains(&gone));
        assert_eq!(seen("eu-west-1").len(), ENTRIES.len());
        let renewed = store.write(|tx| {
            crate::account::reset(tx);
            catalogue_renew(tx, Timestamp(3));
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = renewed.await.unwrap();
        assert!(seen("eu-west-1").contains(&gone) && seen("eu-west-1").iter().any(|(_, name)| name == "tiny"));
    }

    #[test]
    fn the_newest_image_of_each_owner_runs_on_usual_types() {
        for owner in [AMAZON, CANONICAL, DEBIAN] {
            let newest = ENTRIES.iter().filter(|e| e.owner == owner).max_by_key(|e| e.created).unwrap();
            assert_eq!(newest.architecture, "x86_64", "{}", newest.name);
        }
    }
}

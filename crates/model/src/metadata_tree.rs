//! The tree of the metadata service: which path answers what ("Instance metadata categories", EC2 User Guide).
//!
//! A folder's answer is the list of what is in it, one a line, no line feed at the end, sub-folders with a slash; asking with or
//! without a trailing slash is the same, for values too (botocore asks for `availability-zone/`). Absent on purpose, and so 404:
//! `iam/` and `identity-credentials/` (no roles yet), `spot/`, and the signatures of the identity document (no published key).

use crate::metadata::{Guest, GuestInterface};
use std::collections::BTreeMap;

/// The versions that AWS lists at `/`, oldest first; `latest` is added to them.
pub const VERSIONS: &[&str] = &[
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-09-24",
    "2024-04-11",
];

const LATEST: &str = "latest";

/// What a path answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A list or a value, `text/plain`.
    Text(String),
    /// User data as it was given, `application/octet-stream`.
    Bytes(Vec<u8>),
}

enum Entry {
    Folder(Folder),
    Value(String),
}

/// A folder for one reader: what is newer than the version it asked for isn't put in.
struct Folder {
    version: &'static str,
    /// By name; the text is how the entry is listed.
    entries: BTreeMap<String, (String, Entry)>,
}

impl Folder {
    fn new(version: &'static str) -> Self {
        Self { version, entries: BTreeMap::new() }
    }

    /// Puts a value in, if the version knows it. `since` is the version that brought it.
    fn value(&mut self, name: &str, since: &str, value: impl Into<String>) {
        if self.knows(since) {
            self.entries.insert(name.into(), (name.into(), Entry::Value(value.into())));
        }
    }

    /// Puts a folder in, if the version knows it and there is anything in it.
    fn folder(&mut self, name: &str, since: &str, fill: impl FnOnce(&mut Self)) {
        self.folder_listed(name, &format!("{name}/"), since, fill);
    }

    fn folder_listed(&mut self, name: &str, listed: &str, since: &str, fill: impl FnOnce(&mut Self)) {
        let mut folder = Self::new(self.version);
        fill(&mut folder);
        if self.knows(since) && !folder.entries.is_empty() {
            self.entries.insert(name.into(), (listed.into(), Entry::Folder(folder)));
        }
    }

    fn knows(&self, since: &str) -> bool {
        // The forms are such that the order of texts is the order of time: `1.0` < dates < `latest`.
        since <= self.version
    }

    fn list(&self) -> String {
        self.entries.values().map(|(listed, _)| listed.as_str()).collect::<Vec<_>>().join("\n")
    }

    fn find(&self, path: &[&str]) -> Option<String> {
        let Some((first, rest)) = path.split_first() else { return Some(self.list()) };
        match &self.entries.get(*first)?.1 {
            Entry::Folder(folder) => folder.find(rest),
            Entry::Value(value) => rest.is_empty().then(|| value.clone()),
        }
    }
}

/// What `path` answers to `guest`, or `None` for 404. The path begins with a slash and is already percent-decoded; empty parts
/// count for nothing (`ec2-metadata` asks for `/latest//meta-data/…`).
#[must_use]
pub fn answer(guest: &Guest, path: &str) -> Option<Answer> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let Some((version, rest)) = parts.split_first() else {
        return Some(Answer::Text(VERSIONS.iter().copied().chain([LATEST]).collect::<Vec<_>>().join("\n")));
    };
    let version = if *version == LATEST { LATEST } else { VERSIONS.iter().copied().find(|v| v == version)? };
    match rest {
        ["user-data"] => guest.user_data.clone().map(Answer::Bytes),
        [] => {
            let mut root = root(guest, version);
            if guest.user_data.is_some() {
                root.value("user-data", "1.0", "");
            }
            Some(Answer::Text(root.list()))
        }
        rest => root(guest, version).find(rest).map(Answer::Text),
    }
}

fn root(guest: &Guest, version: &'static str) -> Folder {
    let mut root = Folder::new(version);
    root.folder_listed("meta-data", "meta-data", "1.0", |f| meta_data(guest, f));
    root.folder_listed("dynamic", "dynamic", "2009-04-04", |f| {
        f.folder("instance-identity", "2009-04-04", |f| f.value("document", "2009-04-04", identity_document(guest)));
    });
    root
}

fn meta_data(guest: &Guest, f: &mut Folder) {
    f.value("ami-id", "1.0", guest.image_id.as_str());
    f.value("ami-launch-index", "1.0", guest.launch_index.to_string());
    f.value("ami-manifest-path", "1.0", "(unknown)");
    f.folder("block-device-mapping", "2007-12-15", |f| {
        f.value("ami", "2007-12-15", guest.root_device_name.as_str());
        f.value("root", "2007-12-15", guest.root_device_name.as_str());
        for (name, device) in &guest.block_devices {
            f.value(name, "2007-12-15", device.as_str());
        }
    });
    f.folder("events", "2018-08-17", |f| {
        f.folder("maintenance", "2018-08-17", |f| {
            f.value("history", "2018-08-17", "[]");
            f.value("scheduled", "2018-08-17", "[]");
        });
    });
    f.value("hostname", "1.0", guest.private_dns.as_str());
    f.value("instance-action", "2008-09-01", "none");
    f.value("instance-id", "1.0", guest.instance_id.as_str());
    f.value("instance-life-cycle", "2019-10-01", "on-demand");
    f.value("instance-type", "2007-08-29", guest.instance_type.as_str());
    f.value("local-hostname", "2007-01-19", guest.private_dns.as_str());
    f.folder("placement", "2008-02-01", |f| placement(guest, f));
    f.value("profile", "2012-01-12", "default-hvm");
    if let Some((name, public_key)) = &guest.key {
        f.folder("public-keys", "1.0", |f| {
            f.folder_listed("0", &format!("0={name}"), "1.0", |f| f.value("openssh-key", "1.0", public_key.as_str()));
        });
    }
    f.value("reservation-id", "1.0", guest.reservation_id.as_str());
    f.folder("services", "2014-02-25", |f| {
        f.value("domain", "2014-02-25", "amazonaws.com");
        f.value("partition", "2015-10-20", "aws");
    });
    f.value("system", "2022-09-24", "nitro");
    if guest.options.tags {
        f.folder("tags", "2021-03-23", |f| {
            f.folder("instance", "2021-03-23", |f| {
                for (key, value) in &guest.tags.0 {
                    f.value(key, "2021-03-23", value.as_str());
                }
            });
        });
    }
    network(guest, f);
}

fn placement(guest: &Guest, f: &mut Folder) {
    f.value("availability-zone", "2008-02-01", guest.zone.as_str());
    if let Some(id) = guest.region.zone_id(&guest.zone) {
        f.value("availability-zone-id", "2019-10-01", id);
    }
    f.value("region", "2020-10-27", guest.region.as_str());
}

fn network(guest: &Guest, f: &mut Folder) {
    let Some(primary) = guest.interfaces.first() else { return };
    f.value("local-ipv4", "1.0", primary.private_ip.to_string());
    f.value("mac", "2011-01-01", primary.mac.to_string());
    f.value("security-groups", "1.0", lines(primary.groups.iter().map(|(_, name)| name)));
    if let Some(name) = &guest.public_dns {
        f.value("public-hostname", "2007-01-19", name.as_str());
    }
    if let Some(address) = primary.public_ip {
        f.value("public-ipv4", "2007-01-19", address.to_string());
    }
    f.folder("network", "2011-01-01", |f| {
        f.folder("interfaces", "2011-01-01", |f| {
            f.folder("macs", "2011-01-01", |f| {
                for interface in &guest.interfaces {
                    f.folder(&interface.mac.to_string(), "2011-01-01", |f| one_interface(guest, interface, f));
                }
            });
        });
    });
}

fn one_interface(guest: &Guest, interface: &GuestInterface, f: &mut Folder) {
    const SINCE: &str = "2011-01-01";
    f.value("device-number", SINCE, interface.device_index.to_string());
    f.value("interface-id", SINCE, interface.id.as_str());
    f.value("local-hostname", SINCE, guest.region.private_name(interface.private_ip));
    f.value("local-ipv4s", SINCE, interface.private_ip.to_string());
    f.value("mac", SINCE, interface.mac.to_string());
    f.value("owner-id", SINCE, guest.account.as_str());
    if let Some(public) = interface.public_ip {
        f.folder("ipv4-associations", SINCE, |f| f.value(&public.to_string(), SINCE, interface.private_ip.to_string()));
        f.value("public-hostname", SINCE, guest.region.public_name(public));
        f.value("public-ipv4s", SINCE, public.to_string());
    }
    f.value("security-group-ids", SINCE, lines(interface.groups.iter().map(|(id, _)| id.as_str())));
    f.value("security-groups", SINCE, lines(interface.groups.iter().map(|(_, name)| name)));
    f.value("subnet-id", SINCE, interface.subnet_id.as_str());
    f.value("subnet-ipv4-cidr-block", SINCE, interface.subnet_cidr.to_string());
    f.value("vpc-id", SINCE, interface.vpc_id.as_str());
    f.value("vpc-ipv4-cidr-block", SINCE, interface.vpc_cidr.to_string());
    f.value("vpc-ipv4-cidr-blocks", "2016-06-30", interface.vpc_cidr.to_string());
}

fn lines<T: AsRef<str>>(items: impl Iterator<Item = T>) -> String {
    items.map(|i| i.as_ref().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The identity document, with AWS's members and spacing ("Instance identity documents for Amazon EC2 instances").
fn identity_document(guest: &Guest) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let null = || "null".to_owned();
    let address = guest.interfaces.first().map_or_else(null, |i| text(&i.private_ip.to_string()));
    let members = [
        ("accountId", text(guest.account.as_str())),
        ("architecture", text(&guest.architecture)),
        ("availabilityZone", text(&guest.zone)),
        ("billingProducts", null()),
        ("devpayProductCodes", null()),
        ("marketplaceProductCodes", null()),
        ("imageId", text(guest.image_id.as_str())),
        ("instanceId", text(guest.instance_id.as_str())),
        ("instanceType", text(&guest.instance_type)),
        ("kernelId", null()),
        ("pendingTime", text(&guest.launch_time.iso8601_seconds())),
        ("privateIp", address),
        ("ramdiskId", null()),
        ("region", text(guest.region.as_str())),
        ("version", text("2017-09-30")),
    ];
    let members: Vec<String> = members.iter().map(|(name, value)| format!("  \"{name}\" : {value}")).collect();
    format!("{{\n{}\n}}", members.join(",\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metadata::MetadataOptions;
    use crate::network_interface::Mac;
    use crate::tag::Tags;
    use crate::time::Timestamp;

    fn guest() -> Guest {
        let interface = |id: &str, index, mac, ip: &str, public: Option<&str>| GuestInterface {
            id: id.parse().unwrap(),
            device_index: index,
            mac: Mac([2, 0, 0, 0, 0, mac]),
            private_ip: ip.parse().unwrap(),
            public_ip: public.map(|p| p.parse().unwrap()),
            subnet_id: "subnet-0123456789abcdef0".parse().unwrap(),
            subnet_cidr: "172.31.16.0/20".parse().unwrap(),
            vpc_id: "vpc-0123456789abcdef0".parse().unwrap(),
            vpc_cidr: "172.31.0.0/16".parse().unwrap(),
            groups: vec![
                ("sg-0123456789abcdef0".parse().unwrap(), "default".into()),
                ("sg-0123456789abcdef1".parse().unwrap(), "web".into()),
            ],
        };
        Guest {
            account: "123456789012".parse().unwrap(),
            region: "us-east-1".parse().unwrap(),
            zone: "us-east-1b".into(),
            instance_id: "i-0123456789abcdef0".parse().unwrap(),
            instance_type: "t3.nano".into(),
            image_id: "ami-0123456789abcdef0".parse().unwrap(),
            architecture: "x86_64".into(),
            reservation_id: "r-0123456789abcdef0".parse().unwrap(),
            launch_index: 3,
            launch_time: Timestamp(1_795_493_259_042),
            key: Some(("my-key".into(), "ssh-ed25519 AAAA my-key".into())),
            user_data: Some(b"#!/bin/sh\n\xff".to_vec()),
            root_device_name: "/dev/xvda".into(),
            block_devices: vec![("ebs1".into(), "sdb".into())],
            private_dns: "ip-172-31-16-4.ec2.internal".into(),
            public_dns: Some("ec2-198-18-0-1.compute-1.amazonaws.com".into()),
            interfaces: vec![
                interface("eni-0123456789abcdef0", 0, 1, "172.31.16.4", Some("198.18.0.1")),
                interface("eni-0123456789abcdef1", 1, 2, "172.31.16.5", None),
            ],
            tags: Tags(BTreeMap::from([("Name".into(), "a \"b\"".into()), ("k".into(), String::new())])),
            options: MetadataOptions { enabled: true, tokens_required: false, hop_limit: 1, tags: true, ipv6: false },
        }
    }

    fn text(guest: &Guest, path: &str) -> String {
        match answer(guest, path) {
            Some(Answer::Text(text)) => text,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn values() {
        let g = guest();
        for (path, want) in [
            ("ami-id", "ami-0123456789abcdef0"),
            ("ami-launch-index", "3"),
            ("ami-manifest-path", "(unknown)"),
            ("block-device-mapping/", "ami\nebs1\nroot"),
            ("block-device-mapping/ami", "/dev/xvda"),
            ("block-device-mapping/ebs1", "sdb"),
            ("events/maintenance/scheduled", "[]"),
            ("hostname", "ip-172-31-16-4.ec2.internal"),
            ("instance-id", "i-0123456789abcdef0"),
            ("local-ipv4", "172.31.16.4"),
            ("mac", "02:00:00:00:00:01"),
            ("network/interfaces/macs/", "02:00:00:00:00:01/\n02:00:00:00:00:02/"),
            ("network/interfaces/macs/02:00:00:00:00:01/ipv4-associations/", "198.18.0.1"),
            ("network/interfaces/macs/02:00:00:00:00:01/ipv4-associations/198.18.0.1", "172.31.16.4"),
            ("network/interfaces/macs/02:00:00:00:00:01/security-groups", "default\nweb"),
            ("network/interfaces/macs/02:00:00:00:00:02/device-number", "1"),
            ("network/interfaces/macs/02:00:00:00:00:02/local-hostname", "ip-172-31-16-5.ec2.internal"),
            ("network/interfaces/macs/02:00:00:00:00:02/subnet-ipv4-cidr-block", "172.31.16.0/20"),
            ("placement/", "availability-zone\navailability-zone-id\nregion"),
            ("placement/availability-zone/", "us-east-1b"),
            ("placement/availability-zone-id", "use1-az2"),
            ("placement/region", "us-east-1"),
            ("public-ipv4", "198.18.0.1"),
            ("public-keys/", "0=my-key"),
            ("public-keys", "0=my-key"),
            ("public-keys/0", "openssh-key"),
            ("public-keys/0/openssh-key", "ssh-ed25519 AAAA my-key"),
            ("services/domain", "amazonaws.com"),
            ("tags/instance", "Name\nk"),
            ("tags/instance/Name", "a \"b\""),
            ("tags/instance/k", ""),
        ] {
            assert_eq!(text(&g, &format!("/latest/meta-data/{path}")), want, "{path}");
        }
        assert_eq!(text(&g, "/latest//meta-data/reservation-id"), "r-0123456789abcdef0");
    }

    #[test]
    fn lists_have_no_last_line_feed() {
        let g = guest();
        let list = text(&g, "/");
        assert!(list.starts_with("1.0\n2007-01-19\n") && list.ends_with("\nlatest"));
        assert_eq!(text(&g, "/latest/"), "dynamic\nmeta-data\nuser-data");
        assert_eq!(text(&g, "/latest/dynamic/instance-identity"), "document");
        assert_eq!(text(&g, "/latest/meta-data"), text(&g, "/latest/meta-data/"));
        assert_eq!(
            text(&g, "/latest/meta-data/"),
            "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nevents/\nhostname\ninstance-action\ninstance-id\n\
             instance-life-cycle\ninstance-type\nlocal-hostname\nlocal-ipv4\nmac\nnetwork/\nplacement/\nprofile\npublic-hostname\n\
             public-ipv4\npublic-keys/\nreservation-id\nsecurity-groups\nservices/\nsystem\ntags/"
        );
    }

    #[test]
    fn what_a_guest_lacks_is_not_found() {
        let mut g = guest();
        g.key = None;
        g.user_data = None;
        g.options.tags = false;
        g.public_dns = None;
        g.interfaces[0].public_ip = None;
        assert_eq!(text(&g, "/latest"), "dynamic\nmeta-data");
        for path in [
            "/latest/user-data",
            "/latest/meta-data/public-keys/",
            "/latest/meta-data/tags/instance",
            "/latest/meta-data/public-ipv4",
            "/latest/meta-data/public-hostname",
            "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:01/public-ipv4s",
            "/latest/meta-data/iam/security-credentials/",
            "/latest/meta-data/spot/instance-action",
            "/latest/meta-data/ami-id/x",
            "/latest/dynamic/instance-identity/pkcs7",
            "/latest/meta-data/../../",
            "/2009-04-05/meta-data/",
            "/x",
        ] {
            assert_eq!(answer(&g, path), None, "{path}");
        }
    }

    #[test]
    fn user_data_is_given_byte_for_byte() {
        assert_eq!(answer(&guest(), "/2009-04-04/user-data"), Some(Answer::Bytes(b"#!/bin/sh\n\xff".to_vec())));
    }

    #[test]
    fn old_versions_know_less() {
        let g = guest();
        assert_eq!(text(&g, "/1.0"), "meta-data\nuser-data");
        assert!(answer(&g, "/1.0/meta-data/instance-id").is_some());
        assert!(answer(&g, "/1.0/meta-data/mac").is_none());
        assert!(answer(&g, "/2009-04-04/meta-data/network/").is_none());
        assert!(answer(&g, "/2018-09-24/meta-data/tags/").is_none());
        assert!(answer(&g, "/2021-03-23/meta-data/tags/").is_some());
    }

    #[test]
    fn identity_document_is_aws_json() {
        let document = text(&guest(), "/latest/dynamic/instance-identity/document");
        assert!(document.starts_with("{\n  \"accountId\" : \"123456789012\",\n  \"architecture\" : \"x86_64\",\n"), "{document}");
        let value: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(value["pendingTime"], "2026-11-24T04:07:39Z");
        assert_eq!(value["privateIp"], "172.31.16.4");
        assert_eq!(value["version"], "2017-09-30");
        assert!(value["kernelId"].is_null());
    }

    /// Goal: a reader that follows every list, as cloud-init does, finds everything that the lists name, in every version.
    #[test]
    fn every_listed_path_answers() {
        fn crawl(guest: &Guest, folder: &str, found: &mut usize) {
            for line in text(guest, folder).lines() {
                if line.ends_with('/') {
                    crawl(guest, &format!("{folder}{line}"), found);
                } else {
                    let leaf = line.split_once('=').map_or(line.to_owned(), |(number, _)| format!("{number}/openssh-key"));
                    text(guest, &format!("{folder}{leaf}"));
                    *found += 1;
                }
            }
        }
        let g = guest();
        for version in VERSIONS.iter().chain(&[LATEST]) {
            let mut found = 0;
            crawl(&g, &format!("/{version}/meta-data/"), &mut found);
            assert!(found >= 8, "{version}: {found}");
        }
    }
}

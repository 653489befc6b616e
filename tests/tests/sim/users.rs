//! The simulated users: each has its own instances, names and ports in an account and region, and draws what it does next.

use crate::client::{Answer, Client};
use crate::hosts::Rng;
use crate::ledger::{Facts, Launch, Ledger, Possible, Wish, fact_asked};
use model::ids::{ImageId, InstanceId};
use model::scope::Scope;
use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Longest time between two calls of a user, in milliseconds.
const PAUSE_MILLIS_MAX: u64 = 8_000;

/// A public key in OpenSSH's form, in base64. It is imported, since making one takes a thread whose pace no seed decides.
const PUBLIC_KEY: &str =
    "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUpieURUbWpVbk15YnNTV1ZWQUFEK3BJV1RwMHI1aWNuSzdkZzhUTTBnMEYgc2ltCg==";

/// The ledger, as the users share it.
#[derive(Clone, Default)]
pub(crate) struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    pub(crate) fn get(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Parameters = Vec<(String, String)>;

/// One user. It outlives the cloud's crashes.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) number: u16,
    pub(crate) scope: Scope,
    pub(crate) access_key: (String, String),
    pub(crate) image: ImageId,
    pub(crate) launches: u32,
}

/// A user at work on one life of the cloud.
pub(crate) struct Session {
    pub(crate) user: Arc<Mutex<User>>,
    pub(crate) client: Client,
    pub(crate) ledger: SharedLedger,
    pub(crate) rng: Rng,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Session {
    /// Sends again what an earlier life of the cloud didn't answer, then calls again and again.
    pub(crate) async fn live(mut self) {
        let prefix = format!("{}-", self.user().name);
        let open = self.ledger.get().launches_open();
        for (token, launch) in open.iter().filter(|(token, _)| token.starts_with(&prefix)) {
            self.launch_send(token, launch).await;
        }
        while !*self.stopping.borrow() {
            self.pause().await;
            match self.rng.random_range(0..100) {
                0..30 => self.launch().await,
                30..70 => self.change_instances().await,
                70..80 => self.key_pair().await,
                80..88 => self.tag().await,
                88..94 => self.port().await,
                _ => self.describe().await,
            }
        }
    }

    async fn pause(&mut self) {
        let millis = self.rng.random_range(0..PAUSE_MILLIS_MAX);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    fn user(&self) -> User {
        self.user.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls, and gives the answer or the error's code, which must be one of `refusals`.
    async fn call(&self, action: &str, parameters: &[(String, String)], refusals: &[&str]) -> Result<String, String> {
        let user = self.user();
        self.ledger.get().calls(&user.scope, action).sent += 1;
        match self.client.call(&user, action, parameters).await {
            Answer::Xml(xml) => {
                self.ledger.get().calls(&user.scope, action).answered += 1;
                Ok(xml)
            }
            Answer::Refused { code, message } => {
                assert!(refusals.contains(&code.as_str()), "{action} {parameters:?} was refused: {code}: {message}");
                self.ledger.get().calls(&user.scope, action).refused += 1;
                Err(code)
            }
        }
    }

    async fn launch(&mut self) {
        let number = {
            let mut user = self.user.lock().unwrap_or_else(PoisonError::into_inner);
            user.launches += 1;
            user.launches
        };
        let user = self.user();
        let token = format!("{}-{number}", user.name);
        let (min, more) = (self.rng.random_range(1..=2), self.rng.random_range(0..=1));
        let kind = ["t3.nano", "t3.micro", "m5.large"].choose(&mut self.rng).copied().unwrap_or("t3.nano");
        let mut parameters: Parameters = [
            ("ImageId", user.image.to_string()),
            ("InstanceType", kind.into()),
            ("MinCount", min.to_string()),
            ("MaxCount", (min + more).to_string()),
            ("ClientToken", token.clone()),
        ]
        .map(|(k, v)| (k.to_owned(), v))
        .into();
        if self.rng.random_bool(0.25) {
            parameters.push(("InstanceInitiatedShutdownBehavior".into(), "terminate".into()));
        }
        if self.rng.random_bool(0.3) {
            parameters.push(("KeyName".into(), key_name(&user, &mut self.rng)));
        }
        if self.rng.random_bool(0.3) {
            let zone = user.scope.region.zones().choose(&mut self.rng).unwrap_or_default();
            parameters.push(("Placement.AvailabilityZone".into(), zone));
        }
        let launch = Launch { scope: user.scope, parameters, min, max: min + more, answer: None, refused: false };
        self.ledger.get().launch_asked(&token, launch.clone());
        self.launch_send(&token, &launch).await;
        // As an SDK does when it lost the answer.
        if self.rng.random_bool(0.2) {
            self.launch_send(&token, &launch).await;
        }
    }

    /// Sends a launch, for the first time or again.
    pub(crate) async fn launch_send(&self, token: &str, launch: &Launch) {
        let refusals = ["InsufficientInstanceCapacity", "InvalidKeyPair.NotFound", "InsufficientAddressCapacity"];
        match self.call("RunInstances", &launch.parameters, &refusals).await {
            Ok(xml) => {
                let ids = instance_ids(&xml);
                let reservation = text_of(&xml, "reservationId").next().expect("a launch's answer has a reservation");
                let terminates = launch.parameters.iter().any(|(_, value)| value == "terminate");
                self.ledger.get().launch_answered(token, reservation, &ids, terminates);
            }
            Err(_) => self.ledger.get().launch_refused(token),
        }
    }

    /// The user's instances that it has not ended.
    fn instances(&self) -> Vec<InstanceId> {
        let user = self.user();
        let ledger = self.ledger.get();
        let own = ledger.launches.iter().filter(|(token, _)| token.starts_with(&format!("{}-", user.name)));
        let ids = own.filter_map(|(_, l)| l.answer.as_ref()).flat_map(|(_, ids)| ids.clone());
        ids.filter(|id| ledger.instances[id].wish.0 != [Wish::Terminate].into()).collect()
    }

    async fn change_instances(&mut self) {
        let count = self.rng.random_range(1..=3);
        let ids = self.instances().into_iter().sample(&mut self.rng, count);
        if ids.is_empty() {
            return;
        }
        let mut parameters = id_parameters(&ids);
        let (action, wish) = match self.rng.random_range(0..100) {
            0..30 => ("StartInstances", Some(Wish::Run)),
            30..60 => ("StopInstances", Some(Wish::Stop)),
            60..75 => ("RebootInstances", None),
            _ => ("TerminateInstances", Some(Wish::Terminate)),
        };
        if action == "StopInstances" && self.rng.random_bool(0.3) {
            parameters.push(("Force".into(), "true".into()));
        }
        let refusals = ["IncorrectInstanceState", "InvalidInstanceID.NotFound", "InsufficientInstanceCapacity", "IncorrectState"];
        let before = self.ledger.get().wishes(&ids);
        if let Some(wish) = wish {
            self.ledger.get().wish_asked(&ids, wish);
        }
        match (self.call(action, &parameters, &refusals).await, wish) {
            (Ok(_), Some(wish)) => self.ledger.get().wish_answered(&ids, wish),
            (Err(_), Some(_)) => self.ledger.get().wishes_restore(before),
            (Ok(_) | Err(_), None) => {}
        }
    }

    async fn key_pair(&mut self) {
        let user = self.user();
        let name = key_name(&user, &mut self.rng);
        let key = (user.scope, name.clone());
        let mut parameters = vec![("KeyName".to_owned(), name)];
        let create = self.rng.random_bool(0.6);
        let action = if create { "ImportKeyPair" } else { "DeleteKeyPair" };
        if create {
            parameters.push(("PublicKeyMaterial".into(), PUBLIC_KEY.into()));
        }
        self.change(action, &parameters, &["InvalidKeyPair.Duplicate"], |l| &mut l.key_pairs, &key, create).await;
    }

    async fn tag(&mut self) {
        let Some(id) = self.instances().into_iter().choose(&mut self.rng) else { return };
        let tag = format!("k{}", self.rng.random_range(0..3));
        let mut parameters = vec![("ResourceId.1".to_owned(), id.to_string()), ("Tag.1.Key".to_owned(), tag.clone())];
        let value = self.rng.random_bool(0.7).then(|| format!("v{}", self.rng.random_range(0..1000)));
        let action = if value.is_some() { "CreateTags" } else { "DeleteTags" };
        if let Some(value) = &value {
            parameters.push(("Tag.1.Value".into(), value.clone()));
        }
        self.change(action, &parameters, &["InvalidInstanceID.NotFound"], |l| &mut l.tags, &(id, tag), value).await;
    }

    async fn port(&mut self) {
        let user = self.user();
        let port = 1000 * (user.number + 1) + self.rng.random_range(0..3);
        let parameters: Parameters = [
            ("GroupName", "default".to_owned()),
            ("IpPermissions.1.IpProtocol", "tcp".into()),
            ("IpPermissions.1.FromPort", port.to_string()),
            ("IpPermissions.1.ToPort", port.to_string()),
            ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0".into()),
        ]
        .map(|(k, v)| (k.to_owned(), v))
        .into();
        let open = self.rng.random_bool(0.6);
        let action = if open { "AuthorizeSecurityGroupIngress" } else { "RevokeSecurityGroupIngress" };
        let refusals = ["InvalidPermission.Duplicate", "InvalidPermission.NotFound"];
        self.change(action, &parameters, &refusals, |l| &mut l.ports, &(user.scope, port), open).await;
    }

    /// A call that makes one thing so.
    async fn change<K: Ord + Clone, T: Ord + Clone + Default>(
        &self,
        action: &str,
        parameters: &[(String, String)],
        refusals: &[&str],
        facts: impl Fn(&mut Ledger) -> &mut Facts<K, T>,
        key: &K,
        value: T,
    ) {
        let before = fact_asked(facts(&mut self.ledger.get()), key, value.clone());
        let after = match self.call(action, parameters, refusals).await {
            Ok(_) => Possible::only(value),
            Err(_) => before,
        };
        facts(&mut self.ledger.get()).insert(key.clone(), after);
    }

    /// Reads back what was answered, and looks for what is another tenant's.
    async fn describe(&mut self) {
        let user = self.user();
        let mine = self.instances();
        let foreign: Vec<InstanceId> = {
            let ledger = self.ledger.get();
            ledger.instances.iter().filter(|(_, k)| k.scope != user.scope).map(|(id, _)| id.clone()).collect()
        };
        if let Some(id) = foreign.into_iter().choose(&mut self.rng) {
            let action = ["DescribeInstances", "TerminateInstances", "StopInstances"].choose(&mut self.rng).copied().unwrap_or_default();
            let refused = self.call(action, &id_parameters(&[id]), &["InvalidInstanceID.NotFound"]).await;
            assert!(refused.is_err(), "{action} answered for another tenant's instance");
        }
        let listed = self.call("DescribeInstances", &[], &[]).await.unwrap_or_default();
        let listed = instance_ids(&listed);
        for id in mine {
            let may_be_over = {
                let ledger = self.ledger.get();
                ledger.failures || ledger.disturbed.contains(&id) || ledger.instances[&id].wish.0.contains(&Wish::Terminate)
            };
            assert!(listed.contains(&id) || may_be_over, "{id} is not described");
        }
    }
}

fn key_name(user: &User, rng: &mut Rng) -> String {
    format!("{}-key-{}", user.name, rng.random_range(0..3))
}

fn id_parameters(ids: &[InstanceId]) -> Parameters {
    ids.iter().zip(1..).map(|(id, n)| (format!("InstanceId.{n}"), id.to_string())).collect()
}

/// The texts of all elements of a name, in order. Enough for replies whose form other tests check.
pub(crate) fn text_of<'a>(xml: &'a str, element: &str) -> impl Iterator<Item = &'a str> {
    let open = format!("<{element}>");
    xml.match_indices(&open)
        .map(|(at, open)| {
            let rest = &xml[at + open.len()..];
            &rest[..rest.find('<').unwrap_or(rest.len())]
        })
        .collect::<Vec<_>>()
        .into_iter()
}

fn instance_ids(xml: &str) -> Vec<InstanceId> {
    let mut ids: Vec<InstanceId> = text_of(xml, "instanceId").filter_map(|id| id.parse().ok()).collect();
    ids.dedup();
    ids
}

//! The gate: the one way in. What isn't allowed here, by name, doesn't happen.
//!
//! In this order: the request's protocol, its signature, the account and region it is for, whether AWS has the operation and whether
//! it is built, whether the caller may do it, its parameters; then it runs and its reply is encoded. What changes something is
//! audited, together with the change; what was refused is audited, too.

use crate::action::{Call, Desk, Entry, internal};
use crate::cloud::Cloud;
use crate::ports::Ports;
use crate::{ec2, sts};
use bytes::Bytes;
use http::{Response, StatusCode};
use model::fault::panic_text;
use model::scope::{AccountId, Region, Scope};
use model::time::{Clock, Timestamp};
use rand::rngs::StdRng;
use rand::{CryptoRng, RngExt as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use store::Store;
use tracing::Instrument as _;
use wire::sigv4::Key;
use wire::{ApiError, Dialect, Parameters, Protocol, Reply};

/// Longest body of a request, in bytes. EC2's largest parameters (16 KiB of user data, 1,000 ids) fit many times.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// How much is logged of a region that is none, in bytes.
const REGION_SHOWN_BYTES: usize = 64;

/// What a retry or a next page may say differently: see [`Call::fingerprint`].
const VOLATILE: [&str; 4] = ["ClientToken", "DryRun", "MaxResults", "NextToken"];

/// Actions that cut pages even where a call asks for no `MaxResults`.
const PAGED_ALWAYS: [&str; 2] = ["ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes"];

/// Operations that AWS takes without a signature: their callers are about to get their credentials.
const UNSIGNED: [(&str, &str); 2] = [("sts", "AssumeRoleWithSAML"), ("sts", "AssumeRoleWithWebIdentity")];

/// The gate. It holds no state but its source of chance.
pub struct Gate {
    store: Store,
    clock: Arc<dyn Clock>,
    rng: Mutex<StdRng>,
    ports: Arc<dyn Ports>,
    cloud: Arc<Cloud>,
    /// By service and name: the action, and both names as one.
    entries: HashMap<(&'static str, &'static str), (&'static Entry, Arc<str>)>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("cloud", &self.cloud).finish_non_exhaustive()
    }
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    ec2::ACTIONS.iter().chain(sts::ACTIONS).copied().flatten()
}

/// The actions that are built: each one's service, by signing name, and its name.
pub fn actions() -> impl Iterator<Item = (&'static str, &'static str)> {
    entries().map(|e| (e.service, e.name))
}

/// Who calls.
struct Caller {
    account: AccountId,
    /// Whether it is the account's root user, whose keys are the only ones yet.
    root: bool,
}

/// Whether a call may happen, and the reason, for the caller's own eyes.
struct Verdict {
    allowed: bool,
    reason: &'static str,
}

/// The one place that decides whether a caller may do something. Identity and policies (IAM) go in here.
fn authorize(caller: &Caller, _action: &str) -> Verdict {
    if caller.root {
        return Verdict { allowed: true, reason: "the account's root user may do everything in its account" };
    }
    Verdict { allowed: false, reason: "nothing allows it" }
}

impl Gate {
    /// A gate in front of a store.
    pub fn new(store: Store, clock: Arc<dyn Clock>, mut rng: impl CryptoRng, ports: Arc<dyn Ports>, cloud: Cloud) -> Self {
        let entries = entries().map(|e| ((e.service, e.name), (e, format!("{}:{}", e.service, e.name).into()))).collect();
        let rng = Mutex::new(StdRng::from_rng(&mut rng));
        Self { store, clock, rng, ports, cloud: Arc::new(cloud), entries }
    }

    /// Answers a request.
    pub async fn handle(&self, request: http::Request<Bytes>) -> Response<Bytes> {
        let (rng, request_id) = self.chance();
        let handled = async { Ok(self.handle_known(request, &request_id, rng).await) };
        unpanicked(&request_id, handled).await.unwrap_or_else(|error| plain(&request_id).error(&error))
    }

    async fn handle_known(&self, request: http::Request<Bytes>, request_id: &str, rng: StdRng) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let request = wire::Request::read(&parts, &body);
        let envelope = request.envelope(request_id);
        // By itself, too, since its caller can be told in the protocol of the request.
        let answer = unpanicked(request_id, async {
            let now = self.clock.now();
            if let Ok((service, operation)) = request.operation()
                && UNSIGNED.contains(&(service.signing_name, operation))
            {
                return Err(wire::not_implemented(service, operation));
            }
            let (caller, region) = self.caller(&request, body.len(), now)?;
            self.answer(&request, caller, region, (now, request_id, rng)).await
        });
        answer.await.map_or_else(|error| envelope.error(&error), |reply| reply.into_response(&envelope))
    }

    /// Answers a form (`Action=…&Version=…&…`) of a caller who was made sure of already, as the root user of the scope's account: what
    /// a simulation calls. All but the signature is as in [`Gate::handle`].
    pub async fn call(&self, scope: &Scope, form: String) -> Response<Bytes> {
        let request = http::Request::post("/").header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(());
        let (parts, ()) = request.expect("this request is well formed").into_parts();
        let request = wire::Request::read(&parts, form.as_bytes());
        let (rng, request_id) = self.chance();
        let caller = Caller { account: scope.account.clone(), root: true };
        let answer = self.answer(&request, caller, scope.region.clone(), (self.clock.now(), &request_id, rng)).await;
        let envelope = request.envelope(&request_id);
        answer.map_or_else(|error| envelope.error(&error), |reply| reply.into_response(&envelope))
    }

    /// The answer to a request whose body could not be read: too long, too slow. It is in the protocol of the service that its headers name.
    #[must_use]
    pub fn refuse(&self, head: &http::request::Parts, status: StatusCode, text: &str) -> Response<Bytes> {
        let (_, request_id) = self.chance();
        let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "RequestEntityTooLarge" } else { "InvalidRequest" };
        wire::Request::read(head, &[]).envelope(&request_id).error(&ApiError::with_status(code, status.as_u16(), text))
    }

    /// Chance for one call, and its id.
    fn chance(&self) -> (StdRng, String) {
        // A panic while it was locked can't have left it half drawn.
        let mut rng = StdRng::from_rng(&mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner));
        let request_id = uuid(rng.random());
        (rng, request_id)
    }

    /// Who signed the request, and for which region.
    fn caller(&self, request: &wire::Request<'_>, body_bytes: usize, now: Timestamp) -> Result<(Caller, Region), ApiError> {
        if body_bytes > BODY_BYTES_MAX {
            return Err(ApiError::new("RequestEntityTooLarge", format!("The request body is longer than {BODY_BYTES_MAX} bytes")));
        }
        let snapshot = self.store.snapshot();
        let is_region = |name: &str| {
            let is_one = name.parse::<Region>().is_ok();
            if !is_one {
                // EC2 tells the client nothing of it, so the operator is told.
                tracing::info!(region = ?name.get(..REGION_SHOWN_BYTES).unwrap_or(name), "a request is signed for a region that isn't AWS's");
            }
            is_one
        };
        let lookup = |id: &str| snapshot.access_key(id).map(|k| Key { secret: k.secret.clone(), session: None });
        let verified = request.verify(&is_region, wire::Timestamp(now.0), lookup)?;
        let key = snapshot.access_key(&verified.access_key).ok_or_else(ApiError::internal)?;
        let region = verified.region.parse().map_err(|e| internal(&e))?;
        Ok((Caller { account: key.account.clone(), root: true }, region))
    }

    /// Runs what a caller asks for.
    async fn answer(
        &self,
        request: &wire::Request<'_>,
        caller: Caller,
        region: Region,
        (now, request_id, rng): (Timestamp, &str, StdRng),
    ) -> Result<Reply, ApiError> {
        let (service, operation) = request.operation()?;
        let unbuilt = || wire::not_implemented(service, operation);
        let (entry, action) = self.entries.get(&(service.signing_name, operation)).ok_or_else(unbuilt)?;
        let span = tracing::info_span!("call", %action, account = %caller.account, %region, request_id);
        let verdict = authorize(&caller, action);
        let short = entry.writes && self.cloud.space.is_short() && !crate::short::frees(operation);
        let scope = Scope { account: caller.account, region };
        let answer = unpanicked(request_id, async {
            if !verdict.allowed {
                return Err(denied(request.protocol, verdict.reason));
            }
            if short {
                return Err(crate::short::refusal(operation));
            }
            let parameters = request.parameters()?.clone();
            let call = Call {
                now,
                scope: scope.clone(),
                request_id: request_id.into(),
                rng,
                cloud: self.cloud.clone(),
                dry_run: parameters.dialect() == Dialect::Ec2 && parameters.get("DryRun").is_some_and(is_true),
                action: action.clone(),
                fingerprint: fingerprint(&scope, action, &parameters),
            };
            let desk = Desk { call, store: self.store.clone(), ports: self.ports.clone() };
            (entry.run)(desk, parameters).await
        });
        let answer = answer.instrument(span).await;
        // The audit trail would grow by what is refused for want of space.
        if let (Err(error), true) = (&answer, entry.writes && !short) {
            self.audit_refused(&scope, now, action.clone(), request_id, &error.code).await;
        }
        answer
    }

    /// A refusal that can't be recorded is answered all the same: nothing happened.
    async fn audit_refused(&self, scope: &Scope, now: Timestamp, action: Arc<str>, request_id: &str, code: &str) {
        let (id, request_id, code) = (request_id, request_id.to_owned(), code.to_owned());
        let written = self.store.write_account(scope, move |tx| {
            tx.audit(now, &action, &request_id, Some(&code));
            Ok::<_, ApiError>(())
        });
        if let Err(error) = written.await {
            tracing::error!(%error, request_id = id, "a refusal could not be audited");
        }
    }
}

fn denied(protocol: Protocol, reason: &str) -> ApiError {
    tracing::info!(reason, "denied");
    let ec2 = protocol == Protocol::Ec2;
    ApiError::new(if ec2 { "UnauthorizedOperation" } else { "AccessDenied" }, "You are not authorized to perform this operation.")
}

fn is_true(text: &str) -> bool {
    text == "1" || text.eq_ignore_ascii_case("true")
}

/// Only needed where a token is taken or given.
fn fingerprint(scope: &Scope, action: &str, parameters: &Parameters) -> String {
    if !PAGED_ALWAYS.contains(&action) && !VOLATILE.iter().any(|name| *name != "DryRun" && parameters.get(name).is_some()) {
        return String::new();
    }
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        // With lengths, so that no two lists of texts look the same.
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    [scope.account.as_str(), scope.region.as_str(), action].into_iter().for_each(&mut add);
    for (name, value) in parameters.iter().filter(|(name, _)| !VOLATILE.contains(name)) {
        add(name);
        add(value);
    }
    use std::fmt::Write as _;
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// A random UUID (RFC 9562, version 4).
fn uuid(random: u128) -> String {
    let bits = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The envelope of what answers a request that could not be read.
fn plain(request_id: &str) -> wire::Envelope<'_> {
    wire::Envelope { protocol: Protocol::Query, namespace: "".into(), request_id }
}

/// A call that panics costs its caller an `InternalError`, and nobody else anything.
async fn unpanicked<T>(request_id: &str, answering: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    let mut answering = std::pin::pin!(answering);
    let poll = |cx: &mut std::task::Context<'_>| match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(panic) => {
            let (request_id, text) = (request_id.to_owned(), panic_text(panic.as_ref()).to_owned());
            Poll::Ready(Err(internal(&Panicked { request_id, text })))
        }
    };
    std::future::poll_fn(poll).await
}

#[derive(Debug, thiserror::Error)]
#[error("the call {request_id} panicked: {text}")]
struct Panicked {
    request_id: String,
    text: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_root_is_allowed_and_every_verdict_has_a_reason() {
        let verdict = |root| authorize(&Caller { account: AccountId::cloud(), root }, "ec2:RunInstances");
        assert!(verdict(true).allowed && !verdict(false).allowed);
        assert!(!verdict(true).reason.is_empty() && !verdict(false).reason.is_empty());
        assert_eq!(denied(Protocol::Ec2, "x").code, "UnauthorizedOperation");
        assert_eq!(denied(Protocol::Query, "x").code, "AccessDenied");
    }

    #[test]
    fn request_ids_are_uuids() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn a_fingerprint_is_of_what_is_asked() {
        let scope = Scope { account: AccountId::cloud(), region: "us-east-1".parse().unwrap() };
        let print = |form: &str| fingerprint(&scope, "ec2:X", &Parameters::parse(Dialect::Ec2, &[form.as_bytes()]).unwrap());
        let one = print("Action=X&A=1&B=2&ClientToken=t&DryRun=false");
        assert_eq!(one.len(), 64);
        assert_eq!(one, print("B=2&A=1&ClientToken=u&MaxResults=5&Version=2016-11-15"));
        assert_ne!(one, print("A=1&B=3&ClientToken=t"));
        assert_ne!(one, print("A=1B=2&ClientToken=t"));
        assert_eq!(print("A=1"), "");
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let error = unpanicked("r", async { if true { panic!("secret") } else { Ok(()) } }).await.unwrap_err();
        assert_eq!((error.code.as_ref(), error.status), ("InternalError", 500));
        assert!(!error.message.contains("secret"));
    }

    /// Panics whenever it is asked: outside of any action.
    struct Broken;

    impl Clock for Broken {
        fn now(&self) -> Timestamp {
            panic!("secret")
        }
    }

    #[async_trait::async_trait]
    impl Ports for Broken {
        async fn console(&self, _: &model::ids::InstanceId) -> Result<Option<crate::ports::Console>, crate::ports::PortError> {
            Ok(None)
        }
    }

    #[tokio::test]
    async fn a_panic_outside_of_an_action_is_an_internal_error_too() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("state.db"), store::Mode::Simulated, Arc::new(model::fault::NoFaults)).unwrap();
        let cloud = Cloud {
            host: model::capacity::Host { vcpus: 1, memory_mib: 1, disk_bytes: 1 },
            overcommit: model::capacity::Overcommit { vcpus: 1.0, memory: 1.0, memory_reserve_mib: 0 },
            space: model::space::Space::unlimited(),
            public_pool: "198.18.0.0/16".parse().unwrap(),
            simulated: true,
        };
        let gate = Gate::new(store, Arc::new(Broken), rand::rng(), Arc::new(Broken), cloud);
        for (uri, root) in [("/?Action=DescribeVpcs&Version=2016-11-15", "<Response><Errors>"), ("/?Action=X", "<ErrorResponse")] {
            let response = gate.handle(http::Request::get(uri).body(Bytes::new()).unwrap()).await;
            let id = response.headers()["x-amzn-requestid"].to_str().unwrap();
            let body = std::str::from_utf8(response.body()).unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert!(body.contains(root) && body.contains("InternalError") && id.len() == 36 && body.contains(id), "{body}");
            assert!(!body.contains("secret"), "{body}");
        }
    }
}

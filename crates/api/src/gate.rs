//! The one way in: whatever is asked passes here, and nothing runs that wasn't allowed here.
//!
//! In this order: which service is claimed (for the words of a refusal), the signature, the operation's name, the region and account, the
//! permission, the action. What may not be told to the caller goes to the log.

use crate::action::{Answering, Call, Desk, Entry, internal};
use crate::cloud::Cloud;
use crate::ports::Ports;
use bytes::Bytes;
use http::{Request, Response};
use model::scope::{Region, Scope};
use model::time::Clock;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use store::{AuditRecord, Store};
use wire::operations::{self, Service};
use wire::sigv4::{self, Key, Rules, Signed};
use wire::{ApiError, Dialect, Envelope, Parameters, Protocol};

/// Parameters that may differ when the same thing is asked again.
const NOT_IN_FINGERPRINT: [&str; 4] = ["ClientToken", "DryRun", "MaxResults", "NextToken"];

/// The gate.
pub struct Gate {
    store: Store,
    clock: Arc<dyn Clock>,
    rng: Mutex<StdRng>,
    ports: Arc<dyn Ports>,
    cloud: Arc<Cloud>,
    entries: HashMap<(&'static str, &'static str), &'static Entry>,
}

/// The actions that are built: service and name.
pub fn actions() -> impl Iterator<Item = (&'static str, &'static str)> {
    entries().map(|e| (e.service, e.name))
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    crate::ec2::ACTIONS.iter().chain(crate::sts::ACTIONS).flat_map(|a| a.iter())
}

/// Who asks for what, once it is believed.
struct Asked {
    entry: &'static Entry,
    scope: Scope,
    parameters: Parameters,
}

impl Gate {
    /// Puts a gate before a store. `rng` is where all chance of the API comes from.
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>, rng: StdRng, ports: Arc<dyn Ports>, cloud: Cloud) -> Self {
        let entries = entries().map(|e| ((e.service, e.name), e)).collect();
        Self { store, clock, rng: Mutex::new(rng), ports, cloud: Arc::new(cloud), entries }
    }

    /// Answers a request whose body has been read.
    pub async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let mut rng = self.fork();
        let request_id = request_id(&mut rng);
        let signed = Signed::of(&parts, &body);
        let service = claimed(&signed);
        let envelope = envelope(service, &request_id);
        let answer = match self.admit(&signed, service, envelope.protocol) {
            Ok(asked) => self.run(asked, rng, &request_id).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(reply) => reply.into_response(&envelope),
            Err(error) => envelope.error(&error),
        }
    }

    /// Runs an action of a caller who is known already, as the simulation does: all but the signature is the same.
    ///
    /// # Errors
    /// What the caller would be answered.
    pub async fn call(&self, scope: Scope, service: &str, body: &str) -> Result<Response<Bytes>, ApiError> {
        let mut rng = self.fork();
        let request_id = request_id(&mut rng);
        let known = operations::by_signing_name(service).next();
        let envelope = envelope(known, &request_id);
        let parameters = Parameters::parse(dialect(envelope.protocol), &[body.as_bytes()])?;
        let entry = self.entry(known, &parameters)?;
        let reply = self.run(Asked { entry, scope, parameters }, rng, &request_id).await?;
        Ok(reply.into_response(&envelope))
    }

    /// An answer to a request that could not even be read.
    #[must_use]
    pub fn refuse(&self, status: http::StatusCode, code: &'static str, text: &str) -> Response<Bytes> {
        let request_id = request_id(&mut self.fork());
        envelope(None, &request_id).error(&ApiError::with_status(code, status.as_u16(), text))
    }

    fn fork(&self) -> StdRng {
        StdRng::from_rng(&mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Believes a request, or refuses it.
    fn admit(&self, signed: &Signed<'_>, service: Option<&'static Service>, protocol: Protocol) -> Result<Asked, ApiError> {
        let snapshot = self.store.snapshot();
        let rules = Rules {
            protocol,
            service: None,
            region: &|name| name.parse::<Region>().is_ok(),
            now: wire::Timestamp(self.clock.now().0),
        };
        let verified =
            sigv4::verify(signed, &rules, |id| snapshot.access_key(id).map(|k| Key { secret: k.secret.clone(), session: None }))?;
        let key = snapshot.access_key(&verified.access_key).ok_or_else(ApiError::internal)?;
        let region = verified.region.parse::<Region>().map_err(|_| ApiError::internal())?;
        if !protocol.is_form() {
            return Err(unbuilt(signed, service, protocol));
        }
        let form = signed.headers.get("content-type").and_then(|v| v.to_str().ok());
        let form = form.is_some_and(|v| v.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
        let body = if form { signed.body } else { b"" };
        let parameters = Parameters::parse(dialect(protocol), &[signed.query.as_bytes(), body])?;
        let entry = self.entry(service, &parameters)?;
        let scope = Scope { account: key.account.clone(), region };
        authorize(&scope, entry)?;
        Ok(Asked { entry, scope, parameters })
    }

    /// The action that the parameters name.
    fn entry(&self, service: Option<&'static Service>, parameters: &Parameters) -> Result<&'static Entry, ApiError> {
        let Some(name) = parameters.get("Action").filter(|n| !n.is_empty()) else {
            return Err(ApiError::new("MissingAction", "The request must contain the parameter Action"));
        };
        let service = service.ok_or_else(|| unknown_action(name, parameters))?;
        if let Some(version) = parameters.get("Version")
            && service.id != "ec2"
            && !service.versions.contains(&version)
        {
            return Err(ApiError::new("NoSuchVersion", format!("The requested version ({version}) of service {} does not exist", service.id)));
        }
        let known = service.operation(name).ok_or_else(|| unknown_action(name, parameters))?;
        self.entries.get(&(service.signing_name, known)).copied().ok_or_else(|| not_implemented(service, known))
    }

    async fn run(&self, asked: Asked, rng: StdRng, request_id: &str) -> Result<wire::Reply, ApiError> {
        let Asked { entry, scope, parameters } = asked;
        let call = Call {
            now: self.clock.now(),
            scope: scope.clone(),
            request_id: request_id.to_owned(),
            rng,
            cloud: self.cloud.clone(),
            dry_run: parameters.get("DryRun") == Some("true"),
            action: entry.name,
            fingerprint: fingerprint(&scope, entry, &parameters),
        };
        let answering: Answering = (entry.run)(Desk { call, store: self.store.clone(), ports: self.ports.clone() }, parameters);
        let answer = answering.await;
        if let Err(error) = &answer {
            tracing::debug!(action = entry.name, code = %error.code, request_id, "refused");
            if entry.writes {
                self.audit_refusal(&scope, entry, request_id, &error.code).await;
            }
        }
        answer
    }

    /// A refused write leaves its trace, too. That the trace can't be written doesn't change the answer.
    async fn audit_refusal(&self, scope: &Scope, entry: &'static Entry, request_id: &str, code: &str) {
        let record = AuditRecord {
            time: self.clock.now(),
            scope: scope.clone(),
            action: entry.name.into(),
            request_id: request_id.into(),
            error: Some(code.into()),
        };
        let written = self.store.write(move |tx| {
            tx.audit(record);
            Ok::<_, ApiError>(())
        });
        if let Err(error) = written.await {
            internal(&error);
        }
    }
}

/// Whether the caller may. An account's key speaks for its root user, who may do all to what is the account's own; actions see nothing
/// else, since they run in a transaction of that account.
fn authorize(_scope: &Scope, _entry: &Entry) -> Result<(), ApiError> {
    Ok(())
}

/// The service that a request claims to be for.
fn claimed(signed: &Signed<'_>) -> Option<&'static Service> {
    let name = sigv4::claimed_service(signed)?;
    let target = signed.headers.get("x-amz-target").and_then(|v| v.to_str().ok()).and_then(|t| t.split_once('.'));
    let by_target = target.and_then(|(prefix, operation)| operations::by_target(prefix, operation));
    by_target.or_else(|| operations::by_signing_name(&name).next())
}

fn envelope<'a>(service: Option<&'static Service>, request_id: &'a str) -> Envelope<'a> {
    let protocol = service.and_then(|s| s.protocols.first().copied()).unwrap_or(Protocol::Ec2);
    let namespace = match service {
        Some(s) if s.id == "ec2" => wire::shapes::ec2::XML_NAMESPACE,
        Some(s) => s.xml_namespace.unwrap_or_default(),
        None => wire::shapes::ec2::XML_NAMESPACE,
    };
    Envelope { protocol, namespace: namespace.into(), request_id }
}

fn dialect(protocol: Protocol) -> Dialect {
    if protocol == Protocol::Ec2 { Dialect::Ec2 } else { Dialect::Query }
}

fn unknown_action(name: &str, parameters: &Parameters) -> ApiError {
    let version = parameters.get("Version").unwrap_or_default();
    ApiError::new("InvalidAction", format!("The action {name} is not valid for this web service. (version {version})"))
}

fn not_implemented(service: &Service, operation: &str) -> ApiError {
    // 501 is not tried again by the SDKs, as 500 and 503 are.
    ApiError::with_status("NotImplemented", 501, format!("{operation} of {} is not built in this cloud", service.id))
}

/// An operation of a service that speaks another protocol: none of them is built.
fn unbuilt(signed: &Signed<'_>, service: Option<&'static Service>, protocol: Protocol) -> ApiError {
    let Some(service) = service else { return ApiError::new("InvalidAction", "The service is not known") };
    let target = signed.headers.get("x-amz-target").and_then(|v| v.to_str().ok()).and_then(|t| t.split_once('.'));
    let cbor = signed.path.rsplit_once("/operation/").map(|(_, name)| name);
    let named = match protocol {
        Protocol::Json10 | Protocol::Json11 => target.and_then(|(_, name)| service.operation(name)),
        Protocol::RpcV2Cbor => target.map(|(_, name)| name).or(cbor).and_then(|name| service.operation(name)),
        Protocol::RestJson | Protocol::RestXml => service.route(signed.method, signed.path, signed.query),
        Protocol::Ec2 | Protocol::Query => None,
    };
    match named {
        Some(operation) => not_implemented(service, operation),
        None => ApiError::with_status("UnknownOperationException", 404, "The operation is not known"),
    }
}

/// What is asked, by whom: equal for a call and its retry.
fn fingerprint(scope: &Scope, entry: &Entry, parameters: &Parameters) -> String {
    let mut hash = Sha256::new();
    for part in [scope.account.as_str(), scope.region.as_str(), entry.name] {
        hash.update(part);
        hash.update([0]);
    }
    for (name, value) in parameters.iter().filter(|(name, _)| !NOT_IN_FINGERPRINT.contains(name)) {
        for part in [name, value] {
            hash.update(part);
            hash.update([0]);
        }
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A random UUID (RFC 9562, version 4).
fn request_id(rng: &mut StdRng) -> String {
    let mut b = [0u8; 16];
    rng.fill_bytes(&mut b);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex = b.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

//! The way in: what is S3's, what s3s is not asked, and what every answer gets.

use crate::access;
use crate::access_log::Begun;
use crate::answer::{self, Asked};
use crate::body::{Broken, Drained, Patient, Trouble};
use crate::budget::{Budget, Held};
use crate::caller::Verified;
use crate::control::{self, Control};
use crate::cors;
use crate::form;
use crate::host::{Hosts, Named, Strangers};
use crate::integrity::Document;
use crate::precheck;
use crate::route::Routes;
use crate::service::S3;
use crate::settings::Settings;
use crate::signature::Signed;
use crate::split::Split;
use crate::target::{self, Target};
use crate::time;
use crate::website;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use model::scope::DEFAULT_REGION;
use model::time::Clock;
use objects::Objects;
use rand::rngs::StdRng;
use rand::{CryptoRng, RngExt as _, SeedableRng as _};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, dto, s3_error};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use store::Store;

/// How far a presigned URL's date may be ahead, in seconds.
const SKEW_SECONDS: u32 = 900;

/// Where a request came from; an extension of each.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// A request's id; an extension of each.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// S3's front.
pub struct Front {
    pub(crate) s3: S3,
    service: S3Service,
    hosts: Hosts,
    strangers: Strangers,
    budget: Budget,
    rng: Mutex<StdRng>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// The service in the credential's scope, of the header or of a presigned URL.
fn signed_service(head: &Parts) -> Option<String> {
    precheck::credential(head)?.0.rsplit('/').nth(1).map(str::to_owned)
}

/// A parameter of the query, decoded.
fn query<'a>(head: &'a Parts, name: &str) -> Option<Cow<'a, str>> {
    let (_, value) = target::parameters(head).find(|(n, _)| *n == name)?;
    percent_encoding::percent_decode_str(value).decode_utf8().ok()
}

/// Whether it is signed by the older way, which this cloud refuses.
fn is_v2(head: &Parts) -> bool {
    let header = head.headers.get(header::AUTHORIZATION).is_some_and(|v| v.as_bytes().starts_with(b"AWS "));
    header || (query(head, "AWSAccessKeyId").is_some() && query(head, "Signature").is_some())
}

/// Writes the date of a signed request where s3s looks for it. AWS also takes it from `Date` ("Authenticating Requests: Using the
/// Authorization Header"); what is added here is no part of what was signed, and the signature binds the date all the same.
fn date_add(headers: &mut http::HeaderMap) {
    if headers.contains_key("x-amz-date") || !headers.contains_key(header::AUTHORIZATION) {
        return;
    }
    let Some(date) = headers.get(header::DATE).and_then(|date| date.to_str().ok()) else { return };
    // botocore writes the zone as mail does.
    let date =
        date.strip_suffix("-0000").or_else(|| date.strip_suffix("+0000")).map_or_else(|| date.to_owned(), |date| format!("{date}GMT"));
    let Ok(read) = dto::Timestamp::parse(dto::TimestampFormat::HttpDate, &date) else { return };
    let basic: String = time::iso_date(time::read(&read)).split('.').next().unwrap_or_default().replace(['-', ':'], "");
    if let Ok(value) = HeaderValue::from_str(&format!("{basic}Z")) {
        headers.insert("x-amz-date", value);
    }
}

/// Whether the client waits for `100 Continue` before it sends its body. Answered without it, for a body that is empty or refused unread,
/// botocore takes the answer's status for that of the connection's next request too: such an answer ends the connection.
fn waits_to_send(head: &Parts) -> bool {
    let expects = head.headers.get(header::EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    expects && head.version < http::Version::HTTP_2
}

/// Runs what looks at a request's headers before s3s does.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz_readers(head: &mut Parts) {
    _ = (signed_service(head), is_v2(head), waits_to_send(head));
    date_add(&mut head.headers);
}

impl Front {
    /// A front before an engine; the store has the accounts and their keys.
    pub fn new(objects: Objects, store: Store, clock: Arc<dyn Clock>, mut rng: impl CryptoRng, settings: Settings) -> Self {
        let rng = Mutex::new(StdRng::from_rng(&mut rng));
        let hosts = Hosts(settings.domains.clone());
        let s3 = S3::new(objects, store, clock, settings);
        let mut config = S3Config::default();
        config.xml_max_body_size = precheck::XML_BYTES_MAX;
        // Forms don't come to s3s.
        config.post_object_max_file_size = 0;
        config.presigned_url_max_skew_time_secs = SKEW_SECONDS;
        let config = Arc::new(StaticConfigProvider::new(Arc::new(config)));
        let builder = || {
            let mut builder = S3ServiceBuilder::new(s3.clone());
            builder.set_config(config.clone());
            builder.set_host(hosts.clone());
            builder.set_validation(crate::bucket::Names);
            builder
        };
        let open = builder().build();
        let mut builder = builder();
        builder.set_auth(s3.clone());
        builder.set_access(s3.clone());
        builder.set_route(Routes { s3: s3.clone(), open });
        let service = builder.build();
        let (strangers, budget) = (Strangers::default(), Budget::default());
        Self { s3, service, hosts, strangers, budget, rng }
    }

    /// Whether a request is for S3: by the service that its signature names, its host, or its form. Without a signature, S3 gets
    /// what can't be a call of another service.
    #[must_use]
    pub fn wants(&self, head: &Parts) -> bool {
        if let Some(service) = signed_service(head) {
            return service == "s3";
        }
        if head.headers.contains_key("x-amz-target") {
            return false;
        }
        self.named(head).is_some_and(|n| n.s3 || n.bucket.is_some()) || is_v2(head) || head.uri.path() != "/"
    }

    /// What the request's host says. Before the endpoint of S3 Control stands an account and no bucket.
    fn named<'a>(&self, head: &'a Parts) -> Option<Named<'a>> {
        if control::is_control(head) {
            return Some(Named { bucket: None, website: false, s3: true });
        }
        head.headers.get(header::HOST).and_then(|h| h.to_str().ok()).map(|h| self.hosts.read(h))
    }

    fn is_website(&self, head: &Parts) -> bool {
        head.method != Method::OPTIONS && self.named(head).is_some_and(|n| n.website && n.bucket.is_some())
    }

    /// Answers a request of S3's.
    pub async fn call<B>(&self, request: Request<B>, peer: SocketAddr) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let (mut head, body) = request.into_parts();
        // An empty one names nobody.
        if head.headers.get(header::AUTHORIZATION).is_some_and(|value| value.as_bytes().trim_ascii().is_empty()) {
            head.headers.remove(header::AUTHORIZATION);
        }
        let id = self.request_id();
        let verified = head.extensions.get_or_insert_default::<Verified>().clone();
        head.extensions.insert(Peer(peer));
        let (waits, empty) = (waits_to_send(&head), body.is_end_stream());
        let body = Drained::new(body, waits);
        head.extensions.insert(RequestId(id.clone()));
        let is_control = control::is_control(&head);
        if is_control {
            head.extensions.insert(Control);
            head.uri = control::sorted(&head.uri);
        }
        let target = if is_control { None } else { Target::new(&head, self.named(&head).and_then(|n| n.bucket).as_deref()) };
        let bucket = target.as_ref().map(|target| target.bucket.clone());
        let asked = Asked::new(id, &head, target.clone(), self.s3.now());
        if let Some(target) = target {
            head.extensions.insert(target);
        }
        let bucket_in_host = self.named(&head).is_some_and(|n| n.bucket.is_some());
        let host = head.headers.get(header::HOST).filter(|_| bucket_in_host).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let begun = Begun::new(&self.s3, bucket.as_deref(), &head, bucket_in_host, self.is_website(&head), peer.ip());
        if let Some(begun) = &begun {
            head.extensions.insert(begun.batched());
            head.extensions.insert(begun.acl_required());
        }
        let cross = cors::Cross::of(&head);
        let mut answer = match self.refusal(&head) {
            Some(error) => error_response(error),
            None if self.is_website(&head) => website::answer(self, &head, bucket.as_deref().unwrap_or_default()).await,
            None if head.method == Method::OPTIONS => cors::preflight(&self.s3, &head, bucket.as_deref()).unwrap_or_else(error_response),
            None if form::is_form(&head, bucket_in_host) => {
                let body = Body::http_body_unsync(Patient::new(body, Trouble::default()));
                form::answer(self, head, body, bucket.as_deref().unwrap_or_default()).await
            }
            None => self.document_or_object(head, body, self.budget.held(verified.clone(), peer.ip())).await,
        };
        if let Some(cross) = cross {
            cors::headers_add(&self.s3, &cross, bucket.as_deref(), answer.headers_mut());
        }
        if bucket_in_host
            && answer.status() == StatusCode::NOT_FOUND
            && let (Some(host), Some(bucket)) = (&host, &bucket)
            && self.s3.objects.bucket(bucket).is_none()
        {
            self.strangers.tell(host, bucket);
        }
        answer::finish(&mut answer, &asked);
        if let Some(begun) = begun {
            begun.end(&self.s3, verified.get(), &asked.id, &answer);
        }
        if waits && (empty || !answer.status().is_success()) {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// Answers what s3s is asked. Until there is an answer, a document is `held`.
    async fn document_or_object<B>(&self, mut head: Parts, body: B, held: Held) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let trouble = Trouble::default();
        let chunked = head.headers.get("x-amz-content-sha256").is_some_and(|v| v.as_bytes().starts_with(b"STREAMING-"));
        let bucket_in_host = self.named(&head).is_some_and(|n| n.bucket.is_some());
        match Document::new(&head, bucket_in_host, Split::new(&head, Patient::new(body, trouble.clone())), held.clone()) {
            Ok((body, refusal)) => {
                date_add(&mut head.headers);
                let signed = Signed::new(&head);
                let mut answer = self.run(Request::from_parts(head, Body::http_body_unsync(body))).await;
                if let Some(signed) = signed {
                    signed.explain(&self.s3.store, &mut answer);
                }
                refusal.take().map_or_else(|| blamed(answer, trouble.get(), chunked), error_response)
            }
            Err(refusal) => error_response(refusal),
        }
    }

    /// Asks s3s; a panic costs its caller an `InternalError`.
    pub(crate) async fn run(&self, request: Request<Body>) -> Response<Body> {
        match AssertUnwindSafe(self.service.call(request)).catch_unwind().await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => error_response(crate::error::internal(&anyhow::anyhow!("{error:?}"))),
            Err(_) => error_response(crate::error::internal(&anyhow::anyhow!("an operation panicked"))),
        }
    }

    /// What is refused before s3s sees it.
    fn refusal(&self, head: &Parts) -> Option<S3Error> {
        if is_v2(head) {
            return Some(precheck::v2(head, self.s3.now()));
        }
        // Only temporary keys have tokens, and there are none yet.
        if head.headers.contains_key("x-amz-security-token") || query(head, "X-Amz-Security-Token").is_some() {
            return Some(s3_error!(InvalidToken, "The provided token is malformed or otherwise invalid."));
        }
        let bucket_in_host = self.named(head).is_some_and(|n| n.bucket.is_some());
        let refused = precheck::refusal(head, bucket_in_host).or_else(|| self.odd_region(head));
        refused.or_else(|| crate::unbuilt::refusal(head, bucket_in_host))
    }

    /// The refusal of a request whose signature is for what can be no region: what a region that is another's gets.
    fn odd_region(&self, head: &Parts) -> Option<S3Error> {
        let (region, signed) = precheck::odd_region(head)?;
        let bucket = head.extensions.get::<Target>().and_then(|target| self.s3.objects.bucket(&target.bucket));
        Some(access::wrong_region(&region, bucket.as_ref().map_or(DEFAULT_REGION, |bucket| &bucket.region), signed))
    }

    fn request_id(&self) -> String {
        // A panic while it was locked can't have left it half drawn.
        format!("{:016X}", self.rng.lock().unwrap_or_else(PoisonError::into_inner).random::<u64>())
    }
}

pub(crate) fn error_response(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut bare = Response::new(Body::empty());
        *bare.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        bare
    })
}

/// An answer, unless it takes a fault of the client's for one of ours: s3s says `InternalError`, without a message, of a document
/// whose body broke off or whose chunks are malformed.
fn blamed(answer: Response<Body>, broken: Option<Broken>, chunked: bool) -> Response<Body> {
    let bare = |text: Bytes| !text.windows(9).any(|w| w == b"<Message>");
    if answer.status() != StatusCode::INTERNAL_SERVER_ERROR || !answer.body().bytes().is_some_and(bare) {
        return answer;
    }
    match broken {
        Some(Broken::Stalled) => error_response(crate::intake::stalled()),
        Some(Broken::Off) => error_response(crate::intake::incomplete()),
        None if chunked => error_response(crate::intake::incomplete()),
        None => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_found_in_either_header() {
        let date = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = pairs.iter().map(|(n, v)| (header::HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
            date_add(&mut headers);
            headers.get("x-amz-date").and_then(|v| v.to_str().ok()).map(str::to_owned)
        };
        let signed = ("authorization", "AWS4-HMAC-SHA256 x");
        assert_eq!(date(&[signed, ("date", "Tue, 24 Nov 2026 14:02:04 GMT")]).as_deref(), Some("20261124T140204Z"));
        assert_eq!(date(&[signed, ("date", "Tue, 24 Nov 2026 14:02:04 -0000")]).as_deref(), Some("20261124T140204Z"));
        assert_eq!(date(&[signed, ("date", "Tue, 24 Nov 2026 14:02:04 GMT"), ("x-amz-date", "1")]).as_deref(), Some("1"));
        assert_eq!(date(&[signed, ("date", "today")]), None);
        assert_eq!(date(&[("date", "Tue, 24 Nov 2026 14:02:04 GMT")]), None);
    }
}

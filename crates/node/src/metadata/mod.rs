//! The metadata service of a VPC: HTTP at 169.254.169.254, port 80, on a socket that was opened in the VPC's namespace.
//!
//! Who asks is decided by the source address alone, which the namespace's rules keep honest. What a path answers is decided by
//! [`model::metadata_tree`]. Here are the protocol of both versions ("Use the Instance Metadata Service", EC2 User Guide) and the
//! limits. Each connection carries one request, as AWS closes it after each answer.

mod limits;
mod token;

use crate::directory::Directory;
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use limits::{Limits, Refusal};
use model::ids::VpcId;
use model::metadata::Guest;
use model::metadata_tree::{Answer, answer};
use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub use token::Tokens;
use tokio::net::{TcpListener, TcpStream};

/// The path that gives out tokens.
const TOKEN_PATH: &str = "/latest/api/token";
const TTL_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const FORWARDED_HEADER: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Longest life of a token, in seconds.
const TOKEN_TTL_SECONDS_MAX: u32 = 21_600;
/// Longest request head, in bytes. (hyper allows no less.)
const HEAD_BYTES_MAX: usize = 8_192;
/// Most headers of a request.
const HEADERS_MAX: usize = 50;
/// Longest request body, which is read only so that the answer isn't lost in a reset, in bytes.
const BODY_BYTES_MAX: usize = 4_096;
/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may live.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after the host had no room for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves one VPC until `stop` is ready; then open connections are dropped.
pub async fn serve(listener: &TcpListener, vpc: VpcId, directory: Arc<dyn Directory>, tokens: Tokens, stop: impl Future<Output = ()>) {
    let service = Arc::new(Service { vpc, directory, tokens, limits: Limits::new() });
    let mut connections = tokio::task::JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = {
            let accept = pin!(listener.accept());
            match select(stop.as_mut(), accept).await {
                Either::Left(((), _)) => return,
                Either::Right((accepted, _)) => accepted,
            }
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, SocketAddr::V4(peer))) => {
                let service = Arc::clone(&service);
                connections.spawn(async move { service.connection(stream, *peer.ip()).await });
            }
            Ok((_, SocketAddr::V6(_))) => {}
            Err(error) => {
                tracing::warn!(vpc = %service.vpc, %error, "metadata service can't accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Service {
    vpc: VpcId,
    directory: Arc<dyn Directory>,
    tokens: Tokens,
    limits: Limits,
}

impl Service {
    async fn connection(&self, stream: TcpStream, peer: Ipv4Addr) {
        let Some(_place) = self.limits.connect(peer, Instant::now()) else {
            tracing::debug!(vpc = %self.vpc, %peer, "metadata service: too many connections");
            return;
        };
        // A second handle of the same socket, since hyper owns the first: the hop limit is set between request and answer.
        let socket = match stream.as_fd().try_clone_to_owned() {
            Ok(fd) => std::net::TcpStream::from(fd),
            Err(error) => {
                tracing::warn!(vpc = %self.vpc, %error, "metadata service can't copy a socket's handle");
                return;
            }
        };
        let handler = hyper::service::service_fn(|request| async {
            let (answer, hop_limit) = self.request(request, peer).await;
            if let Some(hops) = hop_limit
                && let Err(error) = socket.set_ttl(hops.into())
            {
                tracing::warn!(vpc = %self.vpc, %error, "metadata service can't set a hop limit");
                return Ok(page(StatusCode::SERVICE_UNAVAILABLE));
            }
            Ok::<_, Infallible>(answer)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .keep_alive(false)
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), handler);
        match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(vpc = %self.vpc, %peer, %error, "metadata connection failed"),
            Err(_) => tracing::debug!(vpc = %self.vpc, %peer, "metadata connection took too long"),
        }
    }

    /// The answer, and the hop limit it is sent with, if not the system's.
    async fn request(&self, request: Request<Incoming>, peer: Ipv4Addr) -> (Response<Full<Bytes>>, Option<u8>) {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let mut hop_limit = None;
        let mut response = match body {
            Err(error) if error.is::<LengthLimitError>() => page(StatusCode::PAYLOAD_TOO_LARGE),
            Err(_) => page(StatusCode::BAD_REQUEST),
            Ok(_) => match self.directory.guest(&self.vpc, peer) {
                None => page(StatusCode::NOT_FOUND),
                Some(guest) => match self.limits.request(peer, Instant::now()) {
                    Err(Refusal) => page(StatusCode::SERVICE_UNAVAILABLE),
                    Ok(()) if !guest.options.enabled => page(StatusCode::FORBIDDEN),
                    Ok(()) => {
                        let path = collapse(head.uri.path());
                        if path == TOKEN_PATH {
                            hop_limit = Some(guest.options.hop_limit);
                            self.token(&guest, &head.method, &head.headers)
                        } else {
                            self.data(&guest, &head.method, &path, &head.headers)
                        }
                    }
                },
            },
        };
        response.headers_mut().insert(header::SERVER, HeaderValue::from_static("EC2ws"));
        (response, hop_limit)
    }

    /// `PUT /latest/api/token`.
    fn token(&self, guest: &Guest, method: &Method, headers: &HeaderMap) -> Response<Full<Bytes>> {
        if method != Method::PUT {
            return not_allowed("OPTIONS, PUT");
        }
        if headers.contains_key(FORWARDED_HEADER) {
            return page(StatusCode::FORBIDDEN);
        }
        let ttl = headers.get(TTL_HEADER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u32>().ok());
        let Some(ttl) = ttl.filter(|ttl| (1..=TOKEN_TTL_SECONDS_MAX).contains(ttl)) else {
            return page(StatusCode::BAD_REQUEST);
        };
        let mut response = plain("text/plain", self.tokens.issue(&guest.instance_id, ttl));
        response.headers_mut().insert(TTL_HEADER, ttl.into());
        response
    }

    fn data(&self, guest: &Guest, method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return not_allowed("OPTIONS, GET, HEAD");
        }
        let life = match headers.get(TOKEN_HEADER) {
            None if guest.options.tokens_required => return page(StatusCode::UNAUTHORIZED),
            None => None,
            Some(token) => match token.to_str().ok().and_then(|t| self.tokens.check(&guest.instance_id, t)) {
                None => return page(StatusCode::UNAUTHORIZED),
                life => life,
            },
        };
        let Ok(path) = percent_encoding::percent_decode_str(path).decode_utf8() else {
            return page(StatusCode::NOT_FOUND);
        };
        let mut response = match answer(guest, &path) {
            None => page(StatusCode::NOT_FOUND),
            Some(Answer::Text(text)) => plain("text/plain", text),
            Some(Answer::Bytes(bytes)) => plain("application/octet-stream", bytes),
        };
        if let Some(life) = life {
            response.headers_mut().insert(TTL_HEADER, life.into());
        }
        response
    }
}

/// The path with each run of slashes made one.
fn collapse(path: &str) -> String {
    let mut collapsed = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !collapsed.ends_with('/') {
            collapsed.push(c);
        }
    }
    collapsed
}

fn plain(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // AWS sends a Last-Modified, too. We have no such time: the answer is made from the newest state, of which no client's copy is good.
    response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    response
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = page(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

/// The page that AWS answers an error with.
fn page(status: StatusCode) -> Response<Full<Bytes>> {
    let title = format!("{} - {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
         <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n\
         \t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
         <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
    );
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

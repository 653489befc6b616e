//! The API's port: HTTP with limits, one task a connection.

use crate::any_credentials::AnyCredentials;
use crate::places::{Busy, Place, Places};
use crate::stream::Impatient;
use crate::wait::Awaited;
use anyhow::Result;
use api::{BODY_BYTES_MAX, Gate};
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections at one time. A further one takes the place of who has been idle longest or, while all are busy, of a call of who has most of
/// them; see [`Places`].
pub(crate) const CONNECTIONS_MAX: usize = 1024;
/// How long to wait after a connection could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A request's headers: their number, and the bytes of all.
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 64 << 10;
/// How long a client may take to send its headers, or its body.
const HEADER_TIME: Duration = Duration::from_secs(15);
const BODY_TIME: Duration = Duration::from_secs(30);
/// How long connections may finish what they are at when the server stops.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Who answers.
pub(crate) struct Services {
    /// All services but S3.
    pub(crate) gate: Gate,
    pub(crate) s3: s3::Front,
    /// With `--any-credentials` only.
    pub(crate) any_credentials: Option<AnyCredentials>,
}

/// Answers, on so many connections at one time, until `stop` turns true; then lets the open calls finish.
pub(crate) async fn serve(
    listener: TcpListener,
    services: Arc<Services>,
    connections_max: usize,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let places = Places::new(connections_max);
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let place = tokio::select! {
            place = places.take() => place,
            () = stopped(&mut stop) => break,
        };
        open.spawn(connection(stream, peer, services.clone(), place, stop.clone()));
        while open.try_join_next().is_some() {}
    }
    let all = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIME, all).await.is_err() {
        tracing::warn!("connections were still open after {DRAIN_TIME:?}; they are cut");
    }
    Ok(())
}

/// Bears that a connection could not be taken: out of file descriptors, or a client that was gone at once; neither ends the cloud.
pub(crate) async fn accept_failed(error: &Error) {
    tracing::warn!(%error, "can't accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Waits until `stop` turns true, or nobody can turn it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Dropped at once: what this gives is a lock, which must not be held over another await.
    drop(stop.wait_for(|s| *s).await);
}

async fn connection(stream: TcpStream, peer: SocketAddr, services: Arc<Services>, place: Arc<Place>, mut stop: watch::Receiver<bool>) {
    let taken = place.clone();
    let service = service_fn(move |request| {
        let (services, busy) = (services.clone(), taken.busy());
        async move {
            // Its place has just been given up: the request came too late, and is not begun.
            let busy = busy.ok_or(ErrorKind::ConnectionAborted)?;
            Ok::<_, Error>(answer(&services, request, peer, &busy).await.map(|body| Held { body, _busy: busy }))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_headers(HEADERS_MAX).max_buf_size(HEADER_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(Impatient::new(stream, place.clone())), service);
    tokio::pin!(connection);
    let done = tokio::select! {
        done = &mut connection => Some(done),
        () = stopped(&mut stop) => None,
        () = place.given_up() => return tracing::debug!("a connection was closed to make place"),
    };
    let done = match done {
        Some(done) => done,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A body that keeps its place busy for as long as it is being sent.
struct Held<B> {
    body: B,
    _busy: Busy,
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<std::result::Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn answer(
    services: &Services,
    request: http::Request<Incoming>,
    peer: SocketAddr,
    busy: &Busy,
) -> http::Response<Either<Full<Bytes>, s3::Body>> {
    let (mut head, body) = request.into_parts();
    let mut body = Awaited::new(body, busy.wait.clone());
    head.extensions.insert(busy.owner.clone());
    let mut secret = None;
    if let Some(any) = &services.any_credentials {
        if AnyCredentials::is_reset(&head) {
            let (status, text) = any.reset().await;
            let mut answer = http::Response::new(Either::Left(Full::new(text.into())));
            *answer.status_mut() = status;
            return answer;
        }
        secret = any.secret(&head).await;
    }
    if services.s3.wants(&head) {
        if let Some(secret) = secret {
            // What is signed of the body is in a header.
            wire::sigv4::resign(&mut head, &[], &secret);
        }
        return services.s3.call(http::Request::from_parts(head, body), peer).await.map(Either::Right);
    }
    let gate = &services.gate;
    let read = tokio::time::timeout(BODY_TIME, Limited::new(&mut body, BODY_BYTES_MAX).collect()).await;
    let answer = match read {
        Ok(Ok(body)) => {
            let body = body.to_bytes();
            if let Some(secret) = secret {
                wire::sigv4::resign(&mut head, &body, &secret);
            }
            gate.handle(http::Request::from_parts(head, body)).await
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            tokio::spawn(discard(body));
            gate.refuse(&head, http::StatusCode::PAYLOAD_TOO_LARGE, "The request body is too large")
        }
        Ok(Err(_)) => gate.refuse(&head, http::StatusCode::BAD_REQUEST, "The request body could not be read"),
        Err(_) => gate.refuse(&head, http::StatusCode::REQUEST_TIMEOUT, "The request body did not arrive in time"),
    };
    answer.map(|body| Either::Left(Full::new(body)))
}

/// Reads what is left of a body that was refused. A connection that is closed with bytes unread is reset, and a client that sends its whole
/// request first then sees the reset instead of the answer.
async fn discard(mut body: impl Body + Unpin) {
    let all = async { while body.frame().await.is_some_and(|frame| frame.is_ok()) {} };
    _ = tokio::time::timeout(BODY_TIME, all).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::account::AccessKey;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const PLACES: usize = 8;
    const SIMULATION: crate::parts::Simulation = crate::parts::Simulation { on: true, any_credentials: false };
    /// Far below [`HEADER_TIME`].
    const AT_ONCE: Duration = Duration::from_secs(3);
    /// After which the server has seen what was sent, on a busy machine too.
    const SETTLED: Duration = Duration::from_millis(150);

    /// Asks, and reads an answer of some status to its end.
    async fn asked(stream: &mut TcpStream, request: &str) -> std::io::Result<String> {
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        let is_whole = |text: &str| {
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head.split_once("content-length: ")?.1.lines().next()?;
            (body.len() >= length.parse().ok()?).then_some(())
        };
        while is_whole(&text).is_none() {
            let mut bytes = [0; 4096];
            match tokio::time::timeout(AT_ONCE, stream.read(&mut bytes)).await? {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                read => text.push_str(std::str::from_utf8(&bytes[..read?]).unwrap()),
            }
        }
        Ok(text)
    }

    /// Whether the server has closed it.
    async fn is_closed(stream: &mut TcpStream) -> bool {
        let read = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut [0])).await;
        !matches!(read, Err(_) | Ok(Ok(1)))
    }

    #[tokio::test]
    async fn idle_connections_give_way_and_busy_ones_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let (_, gate) = crate::parts::build(scratch.path(), crate::config::Config::default(), SIMULATION, String::new()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let server = tokio::spawn(serve(listener, Arc::new(gate), PLACES, stopping));
        let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nAction=X";
        let (first, rest) = request.split_at(request.len() - 4);

        // One that is idle after a call, one that is in the middle of a call, and six that never say anything.
        let mut oldest = TcpStream::connect(address).await.unwrap();
        asked(&mut oldest, request).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(first.as_bytes()).await.unwrap();
        let mut silent = Vec::new();
        for _ in 0..PLACES - 2 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(!is_closed(&mut oldest).await);

        // A call makes it the one that has been idle shortest.
        asked(&mut oldest, request).await.unwrap();
        let mut new = TcpStream::connect(address).await.unwrap();
        assert!(asked(&mut new, request).await.unwrap().starts_with("HTTP/1.1 4"));
        assert!(is_closed(&mut silent.remove(0)).await);
        assert!(!is_closed(&mut silent[0]).await && !is_closed(&mut oldest).await);

        // However many come and stay, who comes is answered at once, and the busy one goes on.
        for _ in 0..4 * PLACES {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(asked(&mut TcpStream::connect(address).await.unwrap(), request).await.is_ok());
        assert!(is_closed(&mut oldest).await);
        assert!(asked(&mut busy, rest).await.is_ok());

        drop((silent, new, busy));
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Nobody signed what keeps all busy: for each who comes, the one that has waited longest gives way.
        let mut all = Vec::new();
        for _ in 0..PLACES {
            let mut one = TcpStream::connect(address).await.unwrap();
            one.write_all(first.as_bytes()).await.unwrap();
            all.push(one);
        }
        assert!(!is_closed(&mut all[0]).await);
        assert!(asked(&mut TcpStream::connect(address).await.unwrap(), request).await.is_ok());
        assert!(is_closed(&mut all[0]).await);
        for one in &mut all[1..] {
            assert!(asked(one, rest).await.is_ok());
        }
        stop.send_replace(true);
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_answered_before_the_connection_is_cut() {
        let scratch = tempfile::tempdir().unwrap();
        let (_, services) = crate::parts::build(scratch.path(), crate::config::Config::default(), SIMULATION, String::new()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let server = tokio::spawn(serve(listener, Arc::new(services), PLACES, stopping));
        let length = 100 << 20;
        let claim = "AWS4-HMAC-SHA256 Credential=AKIA/20261124/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0\r\n\
                     x-amz-date: 20261124T040739Z";
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\nauthorization: {claim}\r\ncontent-length: {length}\r\n\r\n");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // As most clients do: everything is sent before anything is read.
        let piece = vec![b'a'; 1 << 20];
        for _ in 0..length / piece.len() {
            stream.write_all(&piece).await.unwrap();
        }
        let answer = asked(&mut stream, "").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains("<Errors><Error><Code>RequestEntityTooLarge</Code>"), "{answer}");
        // What came of the body has been read: the connection is good for another call.
        assert!(asked(&mut stream, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nAction=X").await.is_ok());
        stop.send_replace(true);
        server.await.unwrap().unwrap();
    }

    /// An account's key; signs puts of buckets and objects.
    struct Tenant(AccessKey);

    impl Tenant {
        async fn new(parts: &crate::parts::Parts, name: &'static str) -> Self {
            let now = parts.clock.now();
            let made = parts.store.write(move |tx| api::bootstrap::account_create(tx, name, now, &mut rand::rng())).await;
            Self(made.unwrap().unwrap().1)
        }

        fn put(&self, path: &str, length: usize) -> String {
            use sha2::Digest as _;
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let mac = |key: &[u8], text: &str| {
                use hmac::{KeyInit as _, Mac as _};
                hmac::Hmac::<sha2::Sha256>::new_from_slice(key).unwrap().chain_update(text).finalize().into_bytes().to_vec()
            };
            let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
            let date = model::time::Timestamp(i64::try_from(since).unwrap()).iso8601();
            let date = format!("{}Z", date.split('.').next().unwrap().replace(['-', ':'], ""));
            let scope = format!("{}/{}/s3/aws4_request", &date[..8], crate::config::Config::default().region);
            let (names, says) = ("host;x-amz-content-sha256;x-amz-date", "UNSIGNED-PAYLOAD");
            let canonical = format!("PUT\n{path}\n\nhost:x\nx-amz-content-sha256:{says}\nx-amz-date:{date}\n\n{names}\n{says}");
            let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&sha2::Sha256::digest(canonical)));
            let key = scope.split('/').fold(format!("AWS4{}", self.0.secret).into_bytes(), |key, word| mac(&key, word));
            let credential = format!("Credential={}/{scope}, SignedHeaders={names}", self.0.id);
            let signed = format!("AWS4-HMAC-SHA256 {credential}, Signature={}", hex(&mac(&key, &text)));
            let headers = format!("x-amz-date: {date}\r\nx-amz-content-sha256: {says}\r\nauthorization: {signed}");
            format!("PUT {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\ncontent-length: {length}\r\n\r\n")
        }
    }

    #[tokio::test]
    async fn one_tenants_half_sent_puts_leave_another_its_place() {
        let scratch = tempfile::tempdir().unwrap();
        let (parts, gate) = crate::parts::build(scratch.path(), crate::config::Config::default(), SIMULATION, String::new()).await.unwrap();
        let (one, other) = (Tenant::new(&parts, "one").await, Tenant::new(&parts, "other").await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let server = tokio::spawn(serve(listener, Arc::new(gate), PLACES, stopping));
        let ok = async |stream: &mut TcpStream, text: &str| {
            let answer = asked(stream, text).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        };
        for (tenant, bucket) in [(&one, "/bucket-of-one"), (&other, "/bucket-of-other")] {
            ok(&mut TcpStream::connect(address).await.unwrap(), &tenant.put(bucket, 0)).await;
        }

        // More than there are places for: its own make place for them.
        let mut half = Vec::new();
        for n in 0..PLACES + 3 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("{}ha", one.put(&format!("/bucket-of-one/{n}"), 4)).as_bytes()).await.unwrap();
            half.push(stream);
            tokio::time::sleep(SETTLED).await;
        }
        let mut alive = Vec::new();
        for (n, stream) in half.iter_mut().enumerate() {
            if !is_closed(stream).await {
                alive.push(n);
            }
        }
        assert_eq!(alive, (3..PLACES + 3).collect::<Vec<_>>());

        // Another's are answered, each on a connection of its own, and take their places from those that have waited longest.
        let mut kept = Vec::new();
        for n in 0..3 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("{}ha", other.put(&format!("/bucket-of-other/{n}"), 4)).as_bytes()).await.unwrap();
            tokio::time::sleep(SETTLED).await;
            kept.push(stream);
        }
        for stream in &mut half[3..6] {
            assert!(is_closed(stream).await);
        }
        for stream in kept.iter_mut().chain(&mut half[6..]) {
            ok(stream, "lf").await;
        }
        stop.send_replace(true);
        server.await.unwrap().unwrap();
    }
}

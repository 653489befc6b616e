//! A try to tell a destination: a POST of the JSON to the address that the operator gave it.

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a destination may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of a try.
#[derive(Debug)]
pub(super) enum Tried {
    /// It is told.
    Taken,
    /// It doesn't want it, now or later.
    Refused(StatusCode),
    /// It may take it later.
    Failed(anyhow::Error),
}

/// Tells a destination once.
pub(super) async fn tell(address: &Uri, arn: &str, body: &str) -> Tried {
    let silent = |_| anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs());
    match tokio::time::timeout(PATIENCE, post(address, arn, body)).await.map_err(silent).flatten() {
        Ok(status) if status.is_success() => Tried::Taken,
        Ok(status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)) => {
            Tried::Failed(anyhow::anyhow!("it answered {status}"))
        }
        Ok(status) if status.is_client_error() => Tried::Refused(status),
        Ok(status) => Tried::Failed(anyhow::anyhow!("it answered {status}")),
        Err(error) => Tried::Failed(error),
    }
}

async fn post(address: &Uri, arn: &str, body: &str) -> anyhow::Result<StatusCode> {
    let host = address.host().context("no host")?;
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), address.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender.
    tokio::spawn(connection);
    let path = address.path_and_query().map_or("/", |path| path.as_str());
    let authority = address.authority().context("no host")?;
    let request = Request::post(path)
        .header(header::HOST, authority.as_str())
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(header::USER_AGENT, HeaderValue::from_static("Amazon Simple Storage Service via Pileus"))
        .header("x-pileus-destination", arn)
        .body(Full::new(Bytes::from(body.to_owned())))?;
    Ok(sender.send_request(request).await?.status())
}

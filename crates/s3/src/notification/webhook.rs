//! Delivers notices to the addresses that the operator gave to destinations: a POST of the JSON, tried again for a while.

use super::Notice;
use crate::service::S3;
use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Notices that wait for one destination; what comes then is dropped.
const QUEUE_NOTICES: usize = 10_000;
/// How often a notice is tried.
const ATTEMPTS: u32 = 5;
/// How long the first try waits for the second; each next one waits twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a destination may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a destination's address can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWebhook {
    /// The name is none of a topic, queue or function.
    #[error("{0:?} is no ARN of an SNS topic, SQS queue or Lambda function")]
    Arn(String),
    /// The address is none that can be asked.
    #[error("{0:?} is no address like http://127.0.0.1:8080/path")]
    Address(String),
}

/// Checks an entry of the operator's list.
///
/// # Errors
/// [`BadWebhook`].
pub fn webhook_check(arn: &str, address: &str) -> Result<(), BadWebhook> {
    if !["arn:aws:sns:", "arn:aws:sqs:", "arn:aws:lambda:"].iter().any(|start| arn.starts_with(start)) {
        return Err(BadWebhook::Arn(arn.to_owned()));
    }
    let uri = address.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
    uri.map(drop).ok_or_else(|| BadWebhook::Address(address.to_owned()))
}

/// Hears the bus and hands each notice to its destination's own task, so that a slow one holds up nobody else.
pub(crate) async fn deliver(s3: S3, mut notices: Receiver<Arc<Notice>>, mut stopping: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    let mut queues: BTreeMap<String, mpsc::Sender<Arc<Notice>>> = BTreeMap::new();
    for (arn, address) in &s3.settings.webhooks {
        let Ok(address) = address.parse::<Uri>() else { continue };
        let (sender, queue) = mpsc::channel(QUEUE_NOTICES);
        queues.insert(arn.clone(), sender);
        tasks.spawn(destination(address, queue));
    }
    loop {
        let heard = tokio::select! {
            heard = notices.recv() => heard,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        match heard {
            Ok(notice) => {
                // Without an address, only the bus is told.
                let Some(queue) = queues.get(&notice.arn) else { continue };
                if let Err(TrySendError::Full(notice)) = queue.try_send(notice) {
                    tracing::error!(destination = notice.arn, "too many notifications wait for their destination: one is lost");
                }
            }
            Err(RecvError::Lagged(lost)) => tracing::error!(lost, "notifications came faster than they were handed on"),
            Err(RecvError::Closed) => break,
        }
    }
    let waiting: usize = queues.values().map(|queue| QUEUE_NOTICES - queue.capacity()).sum();
    if waiting > 0 {
        tracing::warn!(waiting, "notifications are not delivered any more");
    }
    tasks.shutdown().await;
}

/// Delivers what is for one destination, in its order.
async fn destination(address: Uri, mut queue: mpsc::Receiver<Arc<Notice>>) {
    while let Some(notice) = queue.recv().await {
        if let Err(error) = persist(&address, &notice).await {
            tracing::error!(destination = notice.arn, error = format!("{error:#}"), "a notification was given up");
        }
    }
}

/// Tries until it is taken, refused for good, or tried often enough.
async fn persist(address: &Uri, notice: &Notice) -> anyhow::Result<()> {
    let mut pause = PAUSE;
    for attempt in 1.. {
        let tried = tokio::time::timeout(PATIENCE, post(address, notice)).await.map_err(anyhow::Error::new).and_then(|done| done);
        let error = match tried {
            Ok(status) if status.is_success() => return Ok(()),
            Ok(status) => {
                let error = anyhow::anyhow!("{address} answered {status}");
                let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
                if status.is_client_error() && !later {
                    return Err(error);
                }
                error
            }
            Err(error) => error.context(format!("{address} can't be told")),
        };
        if attempt == ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

async fn post(address: &Uri, notice: &Notice) -> anyhow::Result<StatusCode> {
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
        .header("x-pileus-destination", &notice.arn)
        .body(Full::new(Bytes::from(notice.body.clone())))?;
    Ok(sender.send_request(request).await?.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_destination() {
        assert_eq!(webhook_check("arn:aws:sqs:us-east-1:000000000000:q", "http://[::1]:8080/x?y"), Ok(()));
        for (arn, address) in [
            ("arn:aws:s3:::b", "http://127.0.0.1"),
            ("arn:aws:sns:us-east-1:1:t", "https://example.com"),
            ("arn:aws:sns:us-east-1:1:t", "/path"),
            ("arn:aws:sns:us-east-1:1:t", "not an address"),
        ] {
            assert!(webhook_check(arn, address).is_err(), "{arn} {address}");
        }
    }
}

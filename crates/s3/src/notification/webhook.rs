//! Delivers events to the addresses that the operator gave to destinations: a POST of the JSON, tried again for a while.

use crate::configuration::notification_rules;
use crate::service::S3;
use crate::settings::Settings;
use crate::upkeep::rest;
use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use model::scope::AccountId;
use objects::{Bucket, Waiting};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Events of a bucket that are read together, and told twice at most after a crash.
const PAGE_EVENTS: u32 = 32;
/// How often a notice is tried.
const ATTEMPTS: u32 = 5;
/// How long the first try waits for the second; each next one waits twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// Buckets that name others' webhooks and are told of one by one, at each start.
const FOREIGN_TOLD_MAX: usize = 100;
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
    if destination_owner(arn).is_none() {
        return Err(BadWebhook::Arn(arn.to_owned()));
    }
    let uri = address.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
    uri.map(drop).ok_or_else(|| BadWebhook::Address(address.to_owned()))
}

/// The account in the ARN of a topic, queue or function; nothing if it isn't one's ARN.
pub(crate) fn destination_owner(arn: &str) -> Option<AccountId> {
    let mut parts = ["arn:aws:sns:", "arn:aws:sqs:", "arn:aws:lambda:"].iter().find_map(|start| arn.strip_prefix(start))?.splitn(3, ':');
    let (region, account, name) = (parts.next()?, parts.next()?, parts.next()?);
    if region.is_empty() || name.is_empty() { None } else { account.parse().ok() }
}

/// Says what of the operator's list and the buckets' settings doesn't go together, and gives up what waits for destinations that are no
/// longer there for the bucket.
async fn settle(s3: &S3) {
    let settings = s3.settings.clone();
    let snapshot = s3.store.snapshot();
    for arn in settings.webhooks.keys().filter(|arn| !settings.webhooks_for_all.contains(*arn)) {
        if destination_owner(arn).is_none_or(|owner| snapshot.account(&owner).is_none()) {
            tracing::warn!(destination = arn, "no bucket can name this webhook: it isn't in webhooks_for_all, and its account isn't there");
        }
    }
    let foreign = foreign(&settings, &s3.objects.buckets_all());
    for (bucket, destination) in foreign.iter().take(FOREIGN_TOLD_MAX) {
        tracing::warn!(bucket, destination, "a bucket's notifications go to nobody: the webhook that they name is another account's");
    }
    if foreign.len() > FOREIGN_TOLD_MAX {
        tracing::warn!(buckets = foreign.len(), "more notifications name webhooks of other accounts");
    }
    match s3.objects.events_keep(move |owner, arn| settings.has_destination(owner, arn)).await {
        Ok(0) => {}
        Ok(lost) => tracing::warn!(lost, "notifications for destinations that are no longer there are given up"),
        Err(error) => failed(&error),
    }
}

/// The buckets whose owners named somebody else's webhook, and that.
fn foreign(settings: &Settings, buckets: &[Arc<Bucket>]) -> Vec<(String, String)> {
    let named = |bucket: &Arc<Bucket>| {
        // Why they can't be read is in the log.
        let rules = notification_rules(bucket).ok().flatten().unwrap_or_default();
        let foreign = |arn: &&String| settings.webhooks.contains_key(*arn) && !settings.has_destination(&bucket.owner, arn);
        let arns: BTreeSet<String> = rules.iter().map(|rule| &rule.arn).filter(foreign).cloned().collect();
        arns.into_iter().map(|arn| (bucket.name.clone(), arn)).collect::<Vec<_>>()
    };
    buckets.iter().flat_map(named).collect()
}

/// Delivers what waits, each destination's by a task of its own, so that a slow one holds up nobody else.
pub(crate) async fn deliver(s3: S3, stopping: watch::Receiver<bool>) {
    settle(&s3).await;
    let mut tasks = JoinSet::new();
    for (arn, address) in &s3.settings.webhooks {
        let Ok(address) = address.parse::<Uri>() else { continue };
        tasks.spawn(destination(s3.clone(), arn.clone(), address, stopping.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

/// Delivers what is for one destination: of each bucket in its order, some of one and then of the next. What it was told is forgotten
/// only then, so that a crash tells it again.
async fn destination(s3: S3, arn: String, address: Uri, mut stopping: watch::Receiver<bool>) {
    let mut news = s3.objects.events_news();
    let mut after = 0;
    while !*stopping.borrow() {
        let page = match s3.objects.events(&arn, after, PAGE_EVENTS).await {
            Ok(page) => page,
            Err(error) => {
                failed(&error);
                rest(PAUSE, &mut stopping).await;
                continue;
            }
        };
        let Some(Waiting { bucket, events }) = page else {
            if after > 0 {
                after = 0;
                continue;
            }
            tokio::select! {
                // The engine outlives its clones.
                _ = news.changed() => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
            continue;
        };
        after = bucket;
        let mut told = None;
        for (number, body) in events {
            tokio::select! {
                done = persist(&address, &arn, &body) => {
                    if let Err(error) = done {
                        tracing::error!(destination = arn, error = format!("{error:#}"), "a notification was given up");
                    }
                    told = Some(number);
                }
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        if let Some(told) = told
            && let Err(error) = s3.objects.events_done(&arn, bucket, told).await
        {
            failed(&error);
            rest(PAUSE, &mut stopping).await;
        }
    }
}

fn failed(error: &objects::Error) {
    tracing::error!(error = error as &dyn std::error::Error, "waiting notifications can't be read or forgotten");
}

/// Tries until it is taken, refused for good, or tried often enough.
async fn persist(address: &Uri, arn: &str, body: &str) -> anyhow::Result<()> {
    let mut pause = PAUSE;
    for attempt in 1.. {
        let tried = tokio::time::timeout(PATIENCE, post(address, arn, body)).await.map_err(anyhow::Error::new).and_then(|done| done);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_destination() {
        assert_eq!(webhook_check("arn:aws:sqs:us-east-1:000000000000:q", "http://[::1]:8080/x?y"), Ok(()));
        for (arn, address) in [
            ("arn:aws:s3:::b", "http://127.0.0.1"),
            ("arn:aws:sns:us-east-1:1:t", "http://127.0.0.1"),
            ("arn:aws:sns:us-east-1:000000000000:", "http://127.0.0.1"),
            ("arn:aws:sns:us-east-1:000000000000:t", "https://example.com"),
            ("arn:aws:sns:us-east-1:000000000000:t", "/path"),
            ("arn:aws:sns:us-east-1:000000000000:t", "not an address"),
        ] {
            assert!(webhook_check(arn, address).is_err(), "{arn} {address}");
        }
    }
}

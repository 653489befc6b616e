//! Delivers what waits, each destination's by a task of its own: one that is down holds up nobody else.

use super::destination;
use super::webhook::{Tried, tell};
use crate::service::S3;
use crate::upkeep::rest;
use http::Uri;
use model::time::Timestamp;
use objects::Waiting;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Events of a bucket that are read together, and told twice at most after a crash.
const PAGE_EVENTS: u32 = 32;
/// How long a bucket's events wait after a first failed try; after each next one twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// How long they wait at most.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a destination that has just failed isn't looked at again, whatever happens meanwhile.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// How old an event gets that can't be told, in milliseconds: a day.
const AGE_MS_MAX: i64 = 86_400_000;
/// Failed tries in a row after which a destination is down.
const DOWN_TRIES: u32 = 5;
/// How often the log says that a destination's events are given up.
const SAID_PAUSE: Duration = Duration::from_secs(60);

/// How a destination fares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fare {
    /// When the first of the tries was that failed without one between them that didn't.
    failing: Option<Timestamp>,
    /// How many these are.
    tries: u32,
    /// Events that were too old or refused, since the start.
    pub(crate) given_up: u64,
}

impl Fare {
    /// Since when it is down.
    pub(crate) fn down(&self) -> Option<Timestamp> {
        self.failing.filter(|_| self.tries >= DOWN_TRIES)
    }
}

/// How all destinations fare that were tried since the start.
#[derive(Clone, Default)]
pub(crate) struct Fares(Arc<Mutex<BTreeMap<String, Fare>>>);

impl Fares {
    pub(crate) fn of(&self, arn: &str) -> Fare {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(arn).copied().unwrap_or_default()
    }

    fn set(&self, arn: &str, fare: Fare) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(arn.to_owned(), fare);
    }
}

/// Delivers until it is time to stop.
pub(crate) async fn deliver(s3: S3, stopping: watch::Receiver<bool>) {
    destination::settle(&s3).await;
    let mut tasks = JoinSet::new();
    for (arn, address) in &s3.settings.webhooks {
        let Ok(address) = address.parse::<Uri>() else { continue };
        tasks.spawn(Delivery::new(s3.clone(), arn.clone(), address, stopping.clone()).run());
    }
    while tasks.join_next().await.is_some() {}
}

/// Says why what waits can't be read or forgotten.
pub(super) fn failed(error: &objects::Error) {
    tracing::error!(error = error as &dyn std::error::Error, "waiting notifications can't be read or forgotten");
}

/// How long a bucket's events wait, since they could not be told.
struct Wait {
    until: Instant,
    pause: Duration,
}

/// What the log said of events that were given up.
#[derive(Default)]
struct Said {
    events: u64,
    at: Option<Instant>,
}

/// What is for one destination.
struct Delivery {
    s3: S3,
    arn: String,
    address: Uri,
    fare: Fare,
    /// By bucket. At most as many as have events.
    waits: BTreeMap<i64, Wait>,
    said: Said,
    stopping: watch::Receiver<bool>,
}

impl Delivery {
    fn new(s3: S3, arn: String, address: Uri, stopping: watch::Receiver<bool>) -> Self {
        Self { s3, arn, address, fare: Fare::default(), waits: BTreeMap::new(), said: Said::default(), stopping }
    }

    /// Tells of each bucket in its order, some of one and then of the next. What can't be told now is tried again later, while other
    /// buckets' events are told. What was told is forgotten only then, so that a crash tells it again.
    async fn run(mut self) {
        let mut news = self.s3.objects.events_news();
        while !*self.stopping.borrow() {
            match self.round().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    failed(&error);
                    rest(PAUSE, &mut self.stopping).await;
                    continue;
                }
            }
            let next = self.waits.values().map(|wait| wait.until).min();
            if next.is_some() {
                rest(PAUSE_MIN, &mut self.stopping).await;
            }
            tokio::select! {
                // The engine outlives its clones.
                _ = news.changed() => {}
                () = until(next) => {}
                _ = self.stopping.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Looks at each bucket once that needn't wait. Whether there was any.
    async fn round(&mut self) -> objects::Result<bool> {
        let (mut after, mut any, began) = (0, false, Instant::now());
        while !*self.stopping.borrow() {
            let now = Instant::now();
            let waiting = self.waits.iter().filter(|(_, wait)| wait.until > now).map(|(bucket, _)| *bucket).collect();
            let Some(page) = self.s3.objects.events(&self.arn, after, waiting, PAGE_EVENTS).await? else {
                // Who needn't have waited and had nothing to tell has nothing left: it got too old.
                self.waits.retain(|_, wait| wait.until > began);
                break;
            };
            (after, any) = (page.bucket, true);
            self.page(page).await?;
        }
        Ok(any)
    }

    async fn page(&mut self, page: Waiting) -> objects::Result<()> {
        let (mut done, mut failure) = (None, None);
        for (number, body) in &page.events {
            let tried = tokio::select! {
                tried = tell(&self.address, &self.arn, body) => tried,
                _ = self.stopping.wait_for(|stop| *stop) => break,
            };
            match tried {
                Tried::Taken => self.answered(),
                Tried::Refused(status) => {
                    self.answered();
                    self.give_up(1, &format!("it answered {status}"));
                }
                Tried::Failed(error) => {
                    failure = Some(error);
                    break;
                }
            }
            done = Some(*number);
        }
        let before = self.waits.remove(&page.bucket).filter(|_| done.is_none());
        if let Some(error) = &failure {
            let pause = before.map_or(PAUSE, |wait| (wait.pause * 2).min(PAUSE_MAX));
            self.waits.insert(page.bucket, Wait { until: Instant::now() + pause, pause });
            self.failed(error);
        }
        if let Some(done) = done {
            self.s3.objects.events_done(&self.arn, page.bucket, done).await?;
        }
        let old = match failure {
            Some(_) => self.s3.objects.events_expire(&self.arn, page.bucket, self.s3.now().plus_millis(-AGE_MS_MAX)).await?,
            None => 0,
        };
        self.give_up(old as u64, "they could not be told for a day");
        Ok(())
    }

    /// It answered.
    fn answered(&mut self) {
        if let Some(since) = self.fare.down() {
            tracing::info!(destination = self.arn, since = since.iso8601_seconds(), "a destination of notifications is up again");
        }
        if self.fare.failing.is_some() {
            (self.fare.failing, self.fare.tries) = (None, 0);
            self.s3.fares.set(&self.arn, self.fare);
        }
    }

    fn failed(&mut self, error: &anyhow::Error) {
        let was_down = self.fare.down().is_some();
        self.fare.failing.get_or_insert(self.s3.now());
        self.fare.tries = self.fare.tries.saturating_add(1);
        self.s3.fares.set(&self.arn, self.fare);
        if let Some(since) = self.fare.down().filter(|_| !was_down) {
            let (since, error) = (since.iso8601_seconds(), format!("{error:#}"));
            tracing::warn!(destination = self.arn, since, error, "a destination of notifications is down: its events wait");
        }
    }

    /// Counts events that are given up, and says so now and then; those too that had to go for newer ones.
    fn give_up(&mut self, events: u64, why: &str) {
        if events > 0 {
            self.fare.given_up += events;
            self.s3.fares.set(&self.arn, self.fare);
        }
        let all = self.fare.given_up + self.s3.objects.events_lost(&self.arn);
        let fresh = all - self.said.events;
        if fresh > 0 && self.said.at.is_none_or(|at| at.elapsed() >= SAID_PAUSE) {
            let why = if events > 0 { why } else { "too many of a bucket waited" };
            tracing::error!(destination = self.arn, events = fresh, why, "notifications were given up");
            self.said = Said { events: all, at: Some(Instant::now()) };
        }
    }
}

/// Waits for a time, if there is one.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;

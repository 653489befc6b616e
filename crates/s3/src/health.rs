//! What the operator should know of what S3 does by itself.

use crate::front::Front;
use crate::service::S3;
use model::time::Timestamp;

/// A destination of notifications, and how it fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its ARN.
    pub arn: String,
    /// Since when no try to tell it has worked, if it is down.
    pub down_since: Option<Timestamp>,
    /// Events that wait for it.
    pub waiting: u64,
    /// Events that it will not be told of, since the start: too many waited, they got too old, or it refused them.
    pub given_up: u64,
}

/// A bucket's access log that can't be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTrouble {
    /// The bucket that the log is about.
    pub bucket: String,
    /// The bucket that should take it.
    pub target: String,
    /// Since when.
    pub since: Timestamp,
    /// Why the last lines weren't.
    pub why: String,
    /// Lines that are gone for good.
    pub lines_lost: u64,
}

/// What S3 tells the operator.
#[derive(Clone)]
pub struct Health(S3);

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

impl Front {
    /// What tells how S3 fares.
    #[must_use]
    pub fn health(&self) -> Health {
        Health(self.s3.clone())
    }
}

impl Health {
    /// Access logs that can't be delivered, by bucket.
    #[must_use]
    pub fn log_troubles(&self) -> Vec<LogTrouble> {
        let all = self.0.log.troubles.all().into_iter();
        all.map(|((bucket, target), t)| LogTrouble { bucket, target, since: t.since, why: t.why, lines_lost: t.lines_lost }).collect()
    }

    /// The operator's destinations by ARN.
    ///
    /// # Errors
    /// [`objects::Error::Io`].
    pub async fn destinations(&self) -> objects::Result<Vec<Destination>> {
        let S3 { objects, settings, fares, .. } = &self.0;
        let mut all = Vec::with_capacity(settings.webhooks.len());
        for arn in settings.webhooks.keys() {
            let (fare, waiting) = (fares.of(arn), objects.events_waiting(arn).await?);
            let given_up = fare.given_up + objects.events_lost(arn);
            all.push(Destination { arn: arn.clone(), down_since: fare.down(), waiting, given_up });
        }
        Ok(all)
    }
}

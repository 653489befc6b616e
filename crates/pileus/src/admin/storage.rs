//! How the object store fares: what `pileus status` says of it.

use crate::config::S3;
use crate::parts::Parts;
use serde::{Deserialize, Serialize};

/// Access logs that are told of one by one, at most.
const LOGS_TOLD_MAX: usize = 10;

/// A destination of notifications.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Destination {
    pub(crate) arn: String,
    /// ISO 8601; nothing while it is up.
    pub(crate) down_since: Option<String>,
    pub(crate) events_waiting: u64,
    /// Since the start: too many waited, they got too old, or it refused them.
    pub(crate) events_given_up: u64,
}

impl Destination {
    /// What the operator should know, if there is anything.
    fn note(&self) -> Option<String> {
        let down = self.down_since.as_ref().map(|since| format!("down since {since}, {} events wait", self.events_waiting));
        let given_up = (self.events_given_up > 0).then(|| format!("{} events given up since the start", self.events_given_up));
        let said: Vec<String> = down.into_iter().chain(given_up).collect();
        (!said.is_empty()).then(|| format!("notifications to {}: {}", self.arn, said.join(", ")))
    }
}

/// A bucket's access log that can't be delivered.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogTrouble {
    pub(crate) bucket: String,
    pub(crate) target: String,
    /// ISO 8601.
    pub(crate) since: String,
    pub(crate) why: String,
    pub(crate) lines_lost: u64,
}

impl LogTrouble {
    fn note(&self) -> String {
        let Self { bucket, target, since, why, lines_lost } = self;
        format!("access log of {bucket} to {target}: not delivered since {since}, {lines_lost} lines lost: {why}")
    }
}

/// How the object store fares, and notes of what needs the operator's eye.
pub(crate) struct Health {
    pub(crate) destinations: Vec<Destination>,
    pub(crate) log_troubles: Vec<LogTrouble>,
    pub(crate) notes: Vec<String>,
}

/// What is said where days of lifecycle rules are shorter than days.
pub(crate) fn short_days(config: &S3) -> Option<String> {
    let seconds = config.lifecycle_debug_day_seconds;
    let text = "objects end that much sooner; s3.lifecycle_debug_day_seconds is for tests";
    (seconds > 0).then(|| format!("a day of lifecycle rules has {seconds} seconds: {text}"))
}

/// Destinations as they are shown, and notes of them. An index that can't be read is a note: the rest of the status is wanted then.
fn destinations(found: objects::Result<Vec<s3::Destination>>) -> (Vec<Destination>, Vec<String>) {
    let shown = |of: s3::Destination| Destination {
        arn: of.arn,
        down_since: of.down_since.map(model::time::Timestamp::iso8601_seconds),
        events_waiting: of.waiting,
        events_given_up: of.given_up,
    };
    match found {
        Ok(all) => {
            let all: Vec<Destination> = all.into_iter().map(shown).collect();
            let notes = all.iter().filter_map(Destination::note).collect();
            (all, notes)
        }
        Err(error) => (Vec::new(), vec![format!("notifications: what waits can't be counted: {:#}", anyhow::Error::new(error))]),
    }
}

/// Looks.
pub(crate) async fn health(parts: &Parts) -> Health {
    let (destinations, of_destinations) = destinations(parts.s3_health.destinations().await);
    let shown = |of: s3::LogTrouble| LogTrouble {
        bucket: of.bucket,
        target: of.target,
        since: of.since.iso8601_seconds(),
        why: of.why,
        lines_lost: of.lines_lost,
    };
    let log_troubles: Vec<LogTrouble> = parts.s3_health.log_troubles().into_iter().map(shown).collect();
    let mut notes: Vec<String> = short_days(&parts.config.s3).into_iter().collect();
    notes.extend(of_destinations);
    notes.extend(log_troubles.iter().take(LOGS_TOLD_MAX).map(LogTrouble::note));
    if log_troubles.len() > LOGS_TOLD_MAX {
        notes.push(format!("access logs: {} more are not delivered", log_troubles.len() - LOGS_TOLD_MAX));
    }
    Health { destinations, log_troubles, notes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_days_are_told_of() {
        assert_eq!(short_days(&S3::default()), None);
        let said = short_days(&S3 { lifecycle_debug_day_seconds: 10, ..S3::default() });
        assert!(said.is_some_and(|said| said.starts_with("a day of lifecycle rules has 10 seconds")));
    }

    #[test]
    fn an_index_that_cant_be_read_is_a_note() {
        let (shown, notes) = destinations(Err(objects::Error::Full));
        assert!(shown.is_empty() && notes.len() == 1 && notes[0].starts_with("notifications: what waits can't be counted: "), "{notes:?}");
    }

    #[test]
    fn only_trouble_is_noted() {
        let of = |down: Option<&str>, events_waiting, events_given_up| {
            Destination { arn: "arn:x".into(), down_since: down.map(str::to_owned), events_waiting, events_given_up }.note()
        };
        assert_eq!(of(None, 3, 0), None);
        assert_eq!(of(Some("T"), 3, 0).as_deref(), Some("notifications to arn:x: down since T, 3 events wait"));
        assert_eq!(of(None, 0, 2).as_deref(), Some("notifications to arn:x: 2 events given up since the start"));
    }
}

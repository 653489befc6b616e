//! Access logs that can't be delivered: said once when it begins and once when it ends, and kept for the operator between.

use model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most that are kept, and told of one by one.
const TROUBLES_MAX: usize = 1000;

/// The bucket that lines are about, and the one that should take them.
type Way = (String, String);

/// What becomes of the lines of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) since: Timestamp,
    /// Of the last try.
    pub(crate) why: String,
    pub(crate) lines_lost: u64,
}

/// All of them.
#[derive(Clone, Default)]
pub(crate) struct Troubles(Arc<Mutex<BTreeMap<Way, Trouble>>>);

impl Troubles {
    /// Lines could not be delivered. `lost`: how many of them are gone for good.
    pub(crate) fn failed(&self, bucket: &str, target: &str, why: &str, lost: u64, now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let way = (bucket.to_owned(), target.to_owned());
        if let Some(trouble) = all.get_mut(&way) {
            trouble.why = why.to_owned();
            trouble.lines_lost += lost;
            return;
        }
        if all.len() >= TROUBLES_MAX {
            tracing::debug!(bucket, target, why, "an access log is not delivered, as many others");
            return;
        }
        tracing::warn!(bucket, target, why, "an access log is not delivered");
        all.insert(way, Trouble { since: now, why: why.to_owned(), lines_lost: lost });
    }

    /// Lines were delivered.
    pub(crate) fn worked(&self, bucket: &str, target: &str) {
        let ended = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(bucket.to_owned(), target.to_owned()));
        if let Some(Trouble { since, lines_lost, .. }) = ended {
            let since = since.iso8601_seconds();
            tracing::info!(bucket, target, since, lines_lost, "an access log is delivered again");
        }
    }

    /// Forgets what nobody wants any more.
    pub(crate) fn keep(&self, wanted: impl Fn(&str, &str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(bucket, target), _| wanted(bucket, target));
    }

    /// All of them, by bucket and target.
    pub(crate) fn all(&self) -> BTreeMap<Way, Trouble> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn trouble_lasts_until_it_works_or_nobody_wants_it() {
        let (troubles, now) = (Troubles::default(), Timestamp);
        troubles.failed("a", "logs", "gone", 3, now(1));
        troubles.failed("a", "logs", "denied", 4, now(2));
        troubles.failed("b", "logs", "denied", 0, now(3));
        let found = troubles.all();
        let first = found.values().next().unwrap();
        assert_eq!(*first, Trouble { since: now(1), why: "denied".into(), lines_lost: 7 });
        troubles.worked("a", "logs");
        troubles.keep(|bucket, target| (bucket, target) == ("b", "logs"));
        assert_eq!(troubles.all().len(), 1);
        troubles.keep(|_, _| false);
        assert!(troubles.all().is_empty());
    }

    #[test]
    fn there_is_a_limit() {
        let troubles = Troubles::default();
        (0..TROUBLES_MAX + 5).for_each(|n| troubles.failed(&n.to_string(), "logs", "gone", 1, Timestamp(1)));
        assert_eq!(troubles.all().len(), TROUBLES_MAX);
    }
}

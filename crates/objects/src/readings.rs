//! What was read out of a bucket's documents, kept beside that state of the bucket.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// What a caller has made of a bucket's documents, so that it need not be made for each request. No part of the bucket: it is not
/// stored, all are equal, and a copy begins with none, so that a changed bucket is never read by what it was.
#[derive(Default)]
pub struct Readings(RwLock<BTreeMap<&'static str, Arc<dyn Any + Send + Sync>>>);

impl Readings {
    /// What was kept under this name, or what `make` makes, which is kept. What another type was kept as is made anew.
    ///
    /// # Errors
    /// What `make` refuses with; that is not kept.
    pub fn get<T: Any + Send + Sync, E>(&self, name: &'static str, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(Ok(kept)) = kept.map(Arc::downcast) {
            return Ok(kept);
        }
        let made = Arc::new(make()?);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, made.clone());
        Ok(made)
    }
}

impl Clone for Readings {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Readings {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Readings {}

impl fmt::Debug for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readings")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_never_copied() {
        let readings = Readings::default();
        assert_eq!(readings.get("a", || Err::<u8, _>("refused")), Err("refused"));
        assert_eq!(*readings.get("a", || Ok::<u8, ()>(1)).unwrap(), 1);
        assert_eq!(*readings.get("a", || Ok::<u8, ()>(2)).unwrap(), 1, "kept");
        assert_eq!(*readings.get("b", || Ok::<u8, ()>(3)).unwrap(), 3, "by name");
        assert_eq!(*readings.clone().get("a", || Ok::<u8, ()>(4)).unwrap(), 4, "a copy has none");
    }
}

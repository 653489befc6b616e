//! What became of each object of a DeleteObjects: "BATCH.DELETE.OBJECT" in access logs.

use super::Request;
use std::sync::{Arc, Mutex, PoisonError};

/// One object of many.
pub(crate) struct One {
    pub(crate) key: String,
    /// As it was asked for.
    pub(crate) version: Option<String>,
    /// Bytes of what was deleted.
    pub(crate) size: Option<u64>,
    pub(crate) status: u16,
    pub(crate) error: Option<String>,
    /// Whether a list of grants let it through.
    pub(crate) acl_required: bool,
}

impl One {
    /// As Amazon writes it: of the request it repeats who sent it, from where and how it was signed.
    pub(super) fn line<'a>(&'a self, request: &Request<'a>) -> Request<'a> {
        Request {
            operation: "BATCH.DELETE.OBJECT".into(),
            key: Some(&self.key),
            uri: None,
            status: Some(self.status),
            error: self.error.clone(),
            sent: None,
            size: self.size,
            took: None,
            referer: None,
            agent: None,
            version: self.version.as_deref(),
            acl_required: self.acl_required,
            ..request.clone()
        }
    }
}

/// Goes with a request that somebody wants a line of. At most as many as one DeleteObjects may name.
#[derive(Clone, Default)]
pub(crate) struct Batched(Arc<Mutex<Vec<One>>>);

impl Batched {
    pub(crate) fn add(&self, one: One) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    }

    pub(super) fn take(&self) -> Vec<One> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

//! `pileus serve --simulate --any-credentials`: each unknown access key is an account of its own, and its signatures are not judged.
//!
//! Such a request is signed anew with the secret that the cloud drew for its key, before anything else looks at it: all that checks
//! signatures stays as it is.

use crate::reset;
use http::Method;
use http::request::Parts;
use model::time::Clock;
use objects::Objects;
use std::sync::Arc;
use store::Store;

/// Where a test suite resets the cloud.
const RESET_PATH: &str = "/_pileus/reset";

/// What takes any credentials.
pub(crate) struct AnyCredentials {
    pub(crate) store: Store,
    pub(crate) objects: Objects,
    pub(crate) clock: Arc<dyn Clock>,
}

impl AnyCredentials {
    /// The secret to sign a request anew with, if its key is one that any secret is taken for. Its account is made now if there is none.
    pub(crate) async fn secret(&self, head: &Parts) -> Option<String> {
        let id = wire::sigv4::claimed_access_key(&wire::sigv4::Signed::of(head, &[]))?;
        if let Some(known) = self.store.snapshot().access_key(&id) {
            return known.any_secret.then(|| known.secret.clone());
        }
        let now = self.clock.now();
        match self.store.write(move |tx| api::account::key_admit(tx, &id, now, &mut rand::rng())).await {
            Ok(Ok(key)) => Some(key.secret),
            Ok(Err(error)) => {
                tracing::info!(%error, "an unknown access key gets no account");
                None
            }
            Err(error) => {
                tracing::error!(%error, "an unknown access key gets no account");
                None
            }
        }
    }

    /// Whether a request asks for a reset.
    pub(crate) fn is_reset(head: &Parts) -> bool {
        head.method == Method::POST && head.uri.path() == RESET_PATH
    }

    /// Resets the cloud; says how that ended.
    pub(crate) async fn reset(&self) -> (http::StatusCode, String) {
        match reset::reset(&self.store, &self.objects, self.clock.now()).await {
            Ok(()) => (http::StatusCode::OK, "{\"status\":\"ok\"}".into()),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "a reset failed");
                (http::StatusCode::INTERNAL_SERVER_ERROR, serde_json::json!({ "status": "failed", "error": error }).to_string())
            }
        }
    }
}

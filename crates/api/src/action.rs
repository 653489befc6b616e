//! What an action is, and how the gate runs one.
//!
//! An action is one `impl`: of [`Read`] (answers from a snapshot), [`Write`] (changes documents in one transaction) or [`Slow`] (waits
//! for something besides the store). Its file lists it once, with [`actions!`]. Everything else (signature, decoding, authorization,
//! `DryRun`, audit, encoding) happens here and in the gate, the same for all.

use crate::bootstrap;
use crate::cloud::Cloud;
use crate::ports::Ports;
use model::scope::Scope;
use model::time::Timestamp;
use model::vpc::Vpc;
use rand::rngs::StdRng;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use store::{AccountTx, Store, StoreError, View};
use wire::{ApiError, Decode, Encode};

/// What is known of a call besides its parameters.
pub(crate) struct Call {
    /// When it came.
    pub(crate) now: Timestamp,
    /// Whose it is, and where.
    pub(crate) scope: Scope,
    /// Its id, as the caller gets it.
    pub(crate) request_id: String,
    /// Chance for this call only.
    pub(crate) rng: StdRng,
    /// What the cloud is made of.
    pub(crate) cloud: Arc<Cloud>,
    /// Only whether it would succeed is asked.
    pub(crate) dry_run: bool,
    /// `ec2:RunInstances`, as policies and the audit trail name it.
    pub(crate) action: Arc<str>,
    /// See [`Call::fingerprint`].
    pub(crate) fingerprint: String,
}

impl Call {
    /// A hash over the tenant, the action and the parameters, but for those that differ when the same thing is asked again
    /// (`ClientToken`, `NextToken`, `MaxResults`, `DryRun`): what an idempotent retry and a next page must have in common.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// An action that only looks.
pub(crate) trait Read: Send + 'static {
    /// The service's signing name.
    const SERVICE: &'static str;
    /// AWS's name of the action.
    const NAME: &'static str;
    /// Whether the tenant's default VPC has to be there first.
    const NEEDS_DEFAULT_VPC: bool = false;
    /// The parameters.
    type Input: Decode + Send + 'static;
    /// The reply.
    type Output: Encode + Send + 'static;

    /// Answers from one tenant's part of a snapshot.
    fn run(call: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError>;
}

/// An action that changes something, in one transaction of one tenant. It runs on the store's writer: no waiting, no heavy work.
pub(crate) trait Write: Send + 'static {
    /// The service's signing name.
    const SERVICE: &'static str;
    /// AWS's name of the action.
    const NAME: &'static str;
    /// Whether the tenant's default VPC has to be there first. It is made in the same transaction.
    const NEEDS_DEFAULT_VPC: bool = false;
    /// The parameters.
    type Input: Decode + Send + 'static;
    /// The reply.
    type Output: Encode + Send + 'static;

    /// Changes documents. After an error nothing of it is kept.
    fn run(call: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError>;
}

/// An action that waits for something besides the store: a host, or a long computation.
pub(crate) trait Slow: Send + 'static {
    /// The service's signing name.
    const SERVICE: &'static str;
    /// AWS's name of the action.
    const NAME: &'static str;
    /// Whether it writes (then what was refused is audited, too).
    const WRITES: bool;
    /// The parameters.
    type Input: Decode + Send + 'static;
    /// The reply.
    type Output: Encode + Send + 'static;

    /// Answers. What is to be written goes through [`Desk::write`].
    fn run(desk: Desk, input: Self::Input) -> impl Future<Output = Result<Self::Output, ApiError>> + Send;
}

/// A call, and what it can reach.
pub(crate) struct Desk {
    pub(crate) call: Call,
    pub(crate) store: Store,
    pub(crate) ports: Arc<dyn Ports>,
}

impl Desk {
    /// Runs a closure in a transaction of the caller's, with the audit record of success. For a dry run nothing of it is kept.
    ///
    /// # Errors
    /// The closure's, or `InternalError` if it can't be committed.
    pub(crate) async fn write<T, F>(self, closure: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Call, &mut AccountTx<'_>) -> Result<T, ApiError> + Send + 'static,
    {
        let Self { mut call, store, ports: _ } = self;
        let scope = call.scope.clone();
        let written = store.write_account(&scope, move |tx| {
            let done = closure(&mut call, tx)?;
            if call.dry_run {
                return Err(dry_run());
            }
            tx.audit(call.now, &call.action, &call.request_id, None);
            Ok(done)
        });
        written.await.map_err(|e| internal(&e))?
    }

    /// Makes the tenant's default VPC, if it has none, before an action that only looks.
    async fn default_vpc_ensure(&mut self) -> Result<(), ApiError> {
        if self.store.snapshot().of(&self.call.scope).count::<Vpc>() > 0 {
            return Ok(());
        }
        let mut rng: StdRng = rand::SeedableRng::from_rng(&mut self.call.rng);
        let made = self.store.write_account(&self.call.scope, move |tx| {
            bootstrap::default_vpc_ensure(tx, &mut rng);
            Ok::<_, ApiError>(())
        });
        made.await.map_err(|e: StoreError| internal(&e))?
    }
}

/// `DryRunOperation`: it would have succeeded.
fn dry_run() -> ApiError {
    ApiError::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
}

/// `InternalError`: what went wrong goes to the log with all its causes, and the caller learns nothing of it.
pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> ApiError {
    let causes = std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    tracing::error!(error = causes, "a call failed");
    ApiError::internal()
}

/// What the documents promise each other was not so.
#[derive(Debug, thiserror::Error)]
#[error("broken promise: {0}")]
pub(crate) struct Broken(pub(crate) &'static str);

/// An action as the gate keeps it.
pub(crate) struct Entry {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    /// Whether it is audited when it is refused.
    pub(crate) writes: bool,
    pub(crate) run: fn(Desk, wire::Parameters) -> Answering,
}

/// An action under way, and in the end its encoded reply.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<wire::Reply, ApiError>> + Send>>;

/// Runs a [`Read`].
pub(crate) fn read<A: Read>(mut desk: Desk, parameters: wire::Parameters) -> Answering {
    Box::pin(async move {
        let input = A::Input::decode(&parameters)?;
        if A::NEEDS_DEFAULT_VPC {
            desk.default_vpc_ensure().await?;
        }
        let snapshot = desk.store.snapshot();
        let output = A::run(&desk.call, snapshot.of(&desk.call.scope), input)?;
        if desk.call.dry_run { Err(dry_run()) } else { Ok(wire::Reply::new(A::NAME, &output)) }
    })
}

/// Runs a [`Write`].
pub(crate) fn write<A: Write>(desk: Desk, parameters: wire::Parameters) -> Answering {
    Box::pin(async move {
        let input = A::Input::decode(&parameters)?;
        let written = desk.write(move |call, tx| {
            if A::NEEDS_DEFAULT_VPC {
                bootstrap::default_vpc_ensure(tx, &mut call.rng);
            }
            A::run(call, tx, input)
        });
        Ok(wire::Reply::new(A::NAME, &written.await?))
    })
}

/// Runs a [`Slow`].
pub(crate) fn slow<A: Slow>(desk: Desk, parameters: wire::Parameters) -> Answering {
    Box::pin(async move {
        let input = A::Input::decode(&parameters)?;
        let dry = desk.call.dry_run;
        let output = A::run(desk, input).await?;
        if dry { Err(dry_run()) } else { Ok(wire::Reply::new(A::NAME, &output)) }
    })
}

/// Lists a file's actions: `actions![read DescribeThings, write CreateThing, slow FetchThing];`.
macro_rules! actions {
    ($($kind:ident $action:path,)*) => {
        /// The actions of this file.
        pub(super) const ACTIONS: &[$crate::action::Entry] = &[$($crate::action::actions!(@$kind $action)),*];
    };
    (@read $action:path) => {
        $crate::action::actions!(@entry $action, Read, read, false)
    };
    (@write $action:path) => {
        $crate::action::actions!(@entry $action, Write, write, true)
    };
    (@slow $action:path) => {
        $crate::action::actions!(@entry $action, Slow, slow, <$action as $crate::action::Slow>::WRITES)
    };
    (@entry $action:path, $kind:ident, $run:ident, $writes:expr) => {
        $crate::action::Entry {
            service: <$action as $crate::action::$kind>::SERVICE,
            name: <$action as $crate::action::$kind>::NAME,
            writes: $writes,
            run: $crate::action::$run::<$action>,
        }
    };
}
pub(crate) use actions;

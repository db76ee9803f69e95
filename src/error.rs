//! What can go wrong, one type per concern. Every message says what happened, to which Lease, and what to do.

use std::sync::Arc;
use std::time::Duration;

use crate::lease::{LeaseHolder, LeaseName};

/// A setting that cannot work, found by [`LeaseLockBuilder::build`](crate::LeaseLockBuilder::build).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A name that the API server would refuse, or could not store.
    #[error("{setting} {value:?} is invalid: {rule}")]
    Invalid {
        /// The setting at fault.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it has to be.
        rule: &'static str,
    },
    /// A duration outside of what makes sense for it.
    #[error("{setting} is {value:?}, but must be {rule}")]
    OutOfRange {
        /// The setting at fault.
        setting: &'static str,
        /// Its value.
        value: Duration,
        /// What it has to be.
        rule: &'static str,
    },
    /// Two settings that contradict each other.
    #[error("{setting} is {value:?} and {other} is {other_value:?}, but {rule}")]
    Contradiction {
        /// The one setting.
        setting: &'static str,
        /// Its value.
        value: Duration,
        /// The other setting.
        other: &'static str,
        /// The other's value.
        other_value: Duration,
        /// The rule that both together break.
        rule: &'static str,
    },
}

/// A request to the API server that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{verb} Lease {lease}: {cause}")]
pub struct RequestError {
    pub(crate) verb: &'static str,
    pub(crate) lease: LeaseName,
    pub(crate) cause: Cause,
}

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Cause {
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("{}", brief(.0))]
    Client(Arc<kube::Error>),
    #[error("the answer makes no sense: {0}")]
    Nonsense(String),
    #[error("called from outside of a tokio runtime")]
    NoRuntime,
}

/// Without the whole of the status that kube's own words repeat.
fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} (HTTP {} {})", status.message, status.code, status.reason),
        error => error.to_string(),
    }
}

impl RequestError {
    /// The verb of the request, as RBAC knows it: `get`, `watch`, `update` (which also creates) or `patch`.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        self.verb
    }

    /// The Lease that the request was about.
    #[must_use]
    pub fn lease(&self) -> &LeaseName {
        &self.lease
    }

    /// The HTTP status of the answer, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match &self.cause {
            Cause::Client(error) => match &**error {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Why a lock could not be acquired.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The API server does not let this client do what a lock has to do (HTTP 401 or 403).
    #[error(
        "permission denied: {0}; a lock needs the verbs get, watch, create, update and patch on leases.coordination.k8s.io \"{name}\" in namespace \"{namespace}\"",
        name = .0.lease.name(), namespace = .0.lease.namespace()
    )]
    Forbidden(RequestError),
    /// The namespace does not exist, or is being deleted.
    #[error("namespace \"{namespace}\" does not exist or is being deleted: {0}", namespace = .0.lease.namespace())]
    NamespaceGone(RequestError),
    /// The API server refuses the request as such (HTTP 400, 422 and the like): a label, an annotation or the
    /// like that it does not accept, or something that is not a Kubernetes API server.
    #[error("refused by the API server: {0}")]
    Refused(RequestError),
    /// There is no such Lease, and [`CreateMode::MustExist`](crate::CreateMode::MustExist) forbids to create it.
    #[error("Lease {0} does not exist; create it, or let the lock do so with CreateMode::IfMissing")]
    LeaseMissing(LeaseName),
    /// The Lease is there already, and [`CreateMode::MustNotExist`](crate::CreateMode::MustNotExist) forbids
    /// to use it.
    #[error("Lease {0} exists already; delete it, or let the lock use it with CreateMode::IfMissing")]
    LeaseExists(LeaseName),
    /// No API server has ever answered this lock.
    #[error(
        "no API server could be reached for {waited:?}: {last}; check the address in the client's configuration"
    )]
    Unreachable {
        /// For how long it was tried.
        waited: Duration,
        /// The last failure.
        last: RequestError,
    },
    /// The time given to `acquire_timeout` is over.
    #[error("Lease {lease} was not acquired within {waited:?}{}{}", held_by(holder.as_deref()), lately(last.as_ref()))]
    TimedOut {
        /// The Lease.
        lease: LeaseName,
        /// The time given.
        waited: Duration,
        /// Who was last seen to hold it.
        holder: Option<Box<LeaseHolder>>,
        /// The last failed request, if the last one failed.
        last: Option<RequestError>,
    },
    /// The lock was shut down.
    #[error("the lock on Lease {0} has been shut down")]
    ShutDown(LeaseName),
    /// Not called from within a tokio runtime.
    #[error("the lock on Lease {0} needs a tokio runtime: call it from within one")]
    NoRuntime(LeaseName),
    /// The background task ended before its time: the runtime is shutting down, or there is a bug.
    #[error("the background task of the lock on Lease {0} ended early")]
    TaskEnded(LeaseName),
}

/// Why [`LeaseLock::try_acquire`](crate::LeaseLock::try_acquire) came back without a guard.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// Somebody has the Lease.
    #[error("Lease {lease} is not free{}", held_by(holder.as_deref()))]
    Held {
        /// The Lease.
        lease: LeaseName,
        /// Who has it; `None` where it is another task of this process that is just acquiring it.
        holder: Option<Box<LeaseHolder>>,
    },
    /// The API server could not be asked, or answered with an error that may pass.
    #[error("could not ask who holds the Lease: {0}")]
    Request(RequestError),
    /// It would not work later either.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
}

/// Why [`LeaseGuard::release`](crate::LeaseGuard::release) could not confirm the release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The lock had been lost before.
    #[error("Lease {lease} was not released: {reason}")]
    Lost {
        /// The Lease.
        lease: LeaseName,
        /// How it was lost.
        reason: LossReason,
    },
    /// The API server did not confirm in time; the Lease is released, or expires by itself.
    #[error(
        "the release of Lease {lease} was not confirmed; if it did not happen, the Lease expires by itself"
    )]
    Unconfirmed {
        /// The Lease.
        lease: LeaseName,
    },
}

/// Why [`LeaseLock::with`](crate::LeaseLock::with) has no result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WithError<E> {
    /// The lock was not acquired; nothing was run.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The lock was lost while the future ran; it was dropped before its end, or its end came too late.
    #[error("lost the lock while it was in use: {0}")]
    Lost(LossReason),
    /// The future ran to its end under the lock, and failed by itself.
    #[error("{0}")]
    Failed(E),
}

/// Releases were still under way at the end of [`LeaseLock::shutdown`](crate::LeaseLock::shutdown).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pending} release(s) of Lease {lease} still under way after {waited:?}; they expire by themselves")]
pub struct ShutdownError {
    /// The Lease.
    pub lease: LeaseName,
    /// How many releases were not finished.
    pub pending: usize,
    /// How long they were waited for.
    pub waited: Duration,
}

/// Why a guard no longer holds its Lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LossReason {
    /// No renewal was confirmed in time; the last failure, if any.
    #[error("no renewal was confirmed within the renew deadline{}", because(last_failure.as_deref()))]
    DeadlinePassed {
        /// The last failed request.
        last_failure: Option<String>,
    },
    /// Permission to renew was withdrawn and not restored in time.
    #[error("permission to renew was withdrawn: {message}")]
    Forbidden {
        /// What the API server said.
        message: String,
    },
    /// Somebody else is the holder.
    #[error("taken over by {by:?}")]
    TakenOver {
        /// The holder identity now in the Lease.
        by: String,
    },
    /// Somebody else emptied the holder.
    #[error("the holder was cleared by somebody else")]
    Cleared,
    /// The Lease was deleted.
    #[error("the Lease was deleted")]
    Deleted,
    /// The Lease was deleted along with its namespace.
    #[error("the namespace was deleted")]
    NamespaceGone,
    /// The background task ended: its runtime is shutting down, or there is a bug.
    #[error("the background task ended")]
    TaskEnded,
    /// Not lost: the guard was released or dropped.
    #[error("the guard was released")]
    Released,
}

fn held_by(holder: Option<&LeaseHolder>) -> String {
    holder.map(|holder| format!(" (held by {:?})", holder.identity)).unwrap_or_default()
}

fn lately(last: Option<&RequestError>) -> String {
    last.map(|error| format!("; the last request failed: {error}")).unwrap_or_default()
}

fn because(failure: Option<&str>) -> String {
    failure.map(|failure| format!(": {failure}")).unwrap_or_default()
}

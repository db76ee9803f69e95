//! The errors, one type for each operation. Every message says what happened, to which Lease, and what to do.

use std::error::Error;
use std::fmt;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use crate::lease::{LeaseHolder, LeaseName};

/// A setting that cannot work, from [`LeaseLockBuilder::build`](crate::LeaseLockBuilder::build).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A name that the API server would refuse or could not store.
    #[non_exhaustive]
    #[error("{setting} {value:?} is invalid: {rule}")]
    Invalid {
        /// The setting at fault.
        setting: &'static str,
        /// Its value.
        value: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A duration outside its range.
    #[non_exhaustive]
    #[error("{setting} is {value:?}, but must be {rule}")]
    OutOfRange {
        /// The setting at fault.
        setting: &'static str,
        /// Its value.
        value: Duration,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// Two settings that contradict each other.
    #[non_exhaustive]
    #[error("{setting} is {value:?} and {other} is {other_value:?}, but {rule}")]
    Contradiction {
        /// The first setting.
        setting: &'static str,
        /// Its value.
        value: Duration,
        /// The other setting.
        other: &'static str,
        /// The value of the other setting.
        other_value: Duration,
        /// The rule that the two values break.
        rule: &'static str,
    },
}

/// A request to the API server that failed.
///
/// Its message contains the messages of all causes, because most programs print only the message. Its `source()` is the error of
/// the client, if the client reported one, whose own sources lead to the root cause: for example, to an [`std::io::Error`].
#[derive(Debug, Clone)]
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
    #[error("{}", whole(.0))]
    Client(#[source] Arc<kube::Error>),
    #[error("the answer is malformed: {0}")]
    Malformed(String),
    #[error("called from outside of a tokio runtime")]
    NoRuntime,
}

/// The error with all its causes, but without the full status object that kube's own message repeats.
fn whole(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("{} (HTTP {} {})", status.message, status.code, status.reason);
    }
    let mut text = error.to_string();
    for cause in iter::successors(error.source(), |&error| error.source()) {
        let cause = cause.to_string();
        // Some errors have the text of their source in their own.
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, lease, cause } = self;
        write!(f, "{verb} Lease {lease}: {cause}")
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

impl RequestError {
    /// The RBAC verb of the request: `get`, `watch`, `patch` or `update`. An `update` also creates a missing Lease.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        self.verb
    }

    /// The Lease that the request was about.
    #[must_use]
    pub fn lease(&self) -> &LeaseName {
        &self.lease
    }

    /// The HTTP status of the answer, if there was an answer.
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
    /// The API server denies this client a request that a lock has to make (HTTP 403 by RBAC or another authorizer).
    #[error(
        "permission denied: {0}; a lock needs the verbs get, watch, create, update and patch on leases.coordination.k8s.io \"{name}\" in namespace \"{namespace}\"",
        name = .0.lease.name(), namespace = .0.lease.namespace()
    )]
    Forbidden(#[source] RequestError),
    /// The API server has not accepted the client's credentials (HTTP 401) for the whole
    /// [`startup_timeout`](crate::LeaseLockBuilder::startup_timeout): tokens rotate, and the server may not know a new one yet.
    #[error(
        "the API server does not accept the client's credentials: {0}; check the credentials in the client's configuration"
    )]
    Unauthenticated(#[source] RequestError),
    /// The namespace does not exist, or is being deleted.
    #[error("namespace \"{namespace}\" does not exist or is being deleted: {0}", namespace = .0.lease.namespace())]
    NamespaceGone(#[source] RequestError),
    /// The API server refuses the request itself (HTTP 400, 403, 422 and similar): for example, an admission policy denies it, the
    /// server does not accept a label or an annotation, or it is not a Kubernetes API server. A quota comes here if it was not
    /// raised for the whole [`startup_timeout`](crate::LeaseLockBuilder::startup_timeout).
    #[error("refused by the API server: {0}")]
    Refused(#[source] RequestError),
    /// The client was made in a tokio runtime that has ended, so it sends no request any more.
    #[error(
        "the client is closed, because the tokio runtime in which it was made has ended; make the client and the lock in the runtime that uses them: {0}"
    )]
    ClientClosed(#[source] RequestError),
    /// The Lease does not exist, and [`CreateMode::MustExist`](crate::CreateMode::MustExist) forbids to create it.
    #[error("Lease {0} does not exist; create it, or let the lock do so with CreateMode::IfMissing")]
    LeaseMissing(LeaseName),
    /// The Lease exists already, and [`CreateMode::MustNotExist`](crate::CreateMode::MustNotExist) forbids to use it.
    #[error("Lease {0} exists already; delete it, or let the lock use it with CreateMode::IfMissing")]
    LeaseExists(LeaseName),
    /// No API server has answered this lock for the whole [`startup_timeout`](crate::LeaseLockBuilder::startup_timeout).
    #[non_exhaustive]
    #[error(
        "no API server could be reached for {waited:?}: {last}; check the address in the client's configuration"
    )]
    Unreachable {
        /// How long the lock has tried.
        waited: Duration,
        /// The last failed request.
        #[source]
        last: RequestError,
    },
    /// The timeout of `acquire_timeout` is over.
    #[non_exhaustive]
    #[error(
        "Lease {lease} was not acquired within {waited:?}{}{}{}{}",
        held_by(holder.as_deref()), held_here(local_holder.as_deref()),
        lately(last.as_ref()), expired(holder.as_deref(), *expired_for)
    )]
    TimedOut {
        /// The Lease.
        lease: LeaseName,
        /// The timeout.
        waited: Duration,
        /// The holder that was seen last, if it is another process.
        holder: Option<Box<LeaseHolder>>,
        /// The holder identity of another task of this process, if that task holds this lock.
        local_holder: Option<String>,
        /// For how long the Lease has looked expired, if it does: by the holder's time stamps, compared with this machine's
        /// wall clock. If all attempts are shorter than the holder's lease duration, none of them can take over from a
        /// crashed holder.
        expired_for: Option<Duration>,
        /// The last request, if it failed.
        #[source]
        last: Option<RequestError>,
    },
    /// The lock was shut down.
    #[error("the lock on Lease {0} has been shut down")]
    ShutDown(LeaseName),
    /// The call did not come from within a tokio runtime.
    #[error("the lock on Lease {0} needs a tokio runtime: call it from within one")]
    NoRuntime(LeaseName),
    /// The background task ended early: the runtime is shutting down, or this crate has a bug.
    #[error("the background task of the lock on Lease {0} ended early")]
    TaskEnded(LeaseName),
}

impl AcquireError {
    /// The error of a refusal that may pass, if the request was refused.
    pub(crate) fn of_refusal(error: &RequestError) -> Option<Self> {
        match error.status()? {
            401 => Some(Self::Unauthenticated(error.clone())),
            403 => Some(Self::Refused(error.clone())),
            _ => None,
        }
    }
}

/// Why [`LeaseLock::try_acquire`](crate::LeaseLock::try_acquire) returned no guard.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// The Lease is held.
    #[non_exhaustive]
    #[error(
        "Lease {lease} is not free{}{}",
        held_by(holder.as_deref()), expired(holder.as_deref(), *expired_for)
    )]
    Held {
        /// The Lease.
        lease: LeaseName,
        /// The holder. `None` if another task of this process is just acquiring the Lease.
        holder: Option<Box<LeaseHolder>>,
        /// For how long the Lease has looked expired, if it does: by the holder's time stamps, compared with this machine's
        /// wall clock. A first try cannot tell whether the holder has crashed.
        expired_for: Option<Duration>,
    },
    /// The API server did not answer, or answered with an error that may pass.
    #[error("could not find out who holds the Lease: {0}")]
    Request(#[source] RequestError),
    /// An error that a later try would meet again.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
}

/// Why a lock cannot work, from [`LeaseLock::check`](crate::LeaseLock::check).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The client lacks permissions.
    #[non_exhaustive]
    #[error(
        "permission denied: the client lacks the verb(s) {} on leases.coordination.k8s.io \"{name}\" in namespace \"{namespace}\"",
        missing.join(", "), name = lease.name(), namespace = lease.namespace()
    )]
    Forbidden {
        /// The Lease.
        lease: LeaseName,
        /// The RBAC verbs that the client lacks.
        missing: Vec<&'static str>,
    },
    /// A write takes longer than the lock waits for one, so the lock could be neither acquired nor kept.
    #[non_exhaustive]
    #[error(
        "a write to Lease {lease} takes {round_trip:?}, but this lock gives a write up after {limit:?}; raise lease_duration, or request_timeout if it is set"
    )]
    TooSlow {
        /// The Lease.
        lease: LeaseName,
        /// How long a dry run of a write took.
        round_trip: Duration,
        /// How long the lock waits for a write.
        limit: Duration,
    },
    /// A request was refused, for a reason that waiting would not change.
    #[error(transparent)]
    Denied(AcquireError),
    /// The API server did not answer, or answered with an error that may pass.
    #[error(transparent)]
    Request(RequestError),
}

/// Why [`LeaseGuard::release`](crate::LeaseGuard::release) could not confirm the release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The lock had been lost before the release.
    #[non_exhaustive]
    #[error("Lease {lease} was not released: {reason}")]
    Lost {
        /// The Lease.
        lease: LeaseName,
        /// Why it was lost.
        reason: LossReason,
    },
    /// The API server did not confirm in time. The Lease is released, or it expires by itself.
    #[non_exhaustive]
    #[error(
        "the release of Lease {lease} was not confirmed{}; if it did not happen, the Lease expires by itself",
        because(last_failure.as_deref())
    )]
    Unconfirmed {
        /// The Lease.
        lease: LeaseName,
        /// The last request, if it failed.
        last_failure: Option<String>,
    },
}

/// Why [`LeaseLock::with`](crate::LeaseLock::with) did not run the future to its end.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WithError {
    /// The lock was not acquired, and nothing was run.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The lock was lost while the future ran. The future was dropped before its end, or it ended too late.
    #[error("lost the lock while it was in use: {0}")]
    Lost(LossReason),
}

/// What may still hold the Lease after [`LeaseLock::shutdown`](crate::LeaseLock::shutdown).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(
    "the lock was shut down, but Lease {lease} may still be held: {}",
    remains(*.held, *.pending, *.unconfirmed, *.waited)
)]
pub struct ShutdownError {
    /// The Lease.
    pub lease: LeaseName,
    /// Whether a guard still holds the Lease. A lock has one such guard at most. The guard goes on holding the Lease until its
    /// owner drops it, because the lock cannot know when the work under the guard has ended.
    pub held: bool,
    /// How many acquisitions, releases and elections had not ended.
    pub pending: usize,
    /// Whether the API server has not confirmed the release by a dropped guard. If the release did not happen, the Lease expires
    /// by itself.
    pub unconfirmed: bool,
    /// How long `shutdown` has waited, at most.
    pub waited: Duration,
}

/// Why a hold has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// The guard was released or dropped, or the lock was handed off to another task of this process.
    #[error("the guard was released")]
    Released,
    /// The lock was lost.
    #[error(transparent)]
    Lost(#[from] LossReason),
}

/// Why the lock was lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LossReason {
    /// No renewal was confirmed in time.
    #[non_exhaustive]
    #[error("no renewal was confirmed within the renew deadline{}", because(last_failure.as_deref()))]
    DeadlinePassed {
        /// The last request, if it failed.
        last_failure: Option<String>,
    },
    /// The permission to renew was withdrawn, and not restored in time.
    #[non_exhaustive]
    #[error("permission to renew was withdrawn: {message}")]
    Forbidden {
        /// The message of the API server.
        message: String,
    },
    /// Another process is the holder now.
    #[non_exhaustive]
    #[error("taken over by {by:?}")]
    TakenOver {
        /// The holder identity that the Lease has now.
        by: String,
    },
    /// Another client emptied the holder.
    #[error("another client cleared the holder")]
    Cleared,
    /// The Lease was deleted.
    #[error("the Lease was deleted")]
    Deleted,
    /// The Lease was deleted together with its namespace.
    #[error("the namespace was deleted")]
    NamespaceGone,
    /// The background task ended: its runtime is shutting down, or this crate has a bug.
    #[error("the background task ended")]
    TaskEnded,
}

fn held_by(holder: Option<&LeaseHolder>) -> String {
    holder.map(|holder| format!(" (held by {:?})", holder.identity)).unwrap_or_default()
}

fn remains(held: bool, pending: usize, unconfirmed: bool, waited: Duration) -> String {
    let held = held.then(|| "a guard still holds it, drop the guard first".to_owned());
    let pending =
        (pending > 0).then(|| format!("{pending} release(s) or election(s) have not ended after {waited:?}"));
    let unconfirmed = unconfirmed.then(|| {
        "a release was not confirmed, and if it did not happen, the Lease expires by itself".to_owned()
    });
    [held, pending, unconfirmed].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn held_here(holder: Option<&str>) -> String {
    holder
        .map(|holder| format!(" (another task of this process holds it, as {holder:?})"))
        .unwrap_or_default()
}

/// The cure for attempts that are too short to recognise a holder that has crashed.
fn expired(holder: Option<&LeaseHolder>, expired_for: Option<Duration>) -> String {
    let Some((expired, duration)) = expired_for.zip(holder.and_then(|holder| holder.duration)) else {
        return String::new();
    };
    let renewed = Duration::from_secs((expired + duration).as_secs());
    format!(
        "; by the holder's wall clock, it was last renewed {renewed:?} ago, for {duration:?}: the holder may have crashed. \
         The lock can tell only after it has seen this record for {duration:?}: call acquire_timeout with more than \
         {duration:?}, or set max_clock_skew"
    )
}

fn lately(last: Option<&RequestError>) -> String {
    last.map(|error| format!("; the last request failed: {error}")).unwrap_or_default()
}

fn because(failure: Option<&str>) -> String {
    failure.map(|failure| format!(": {failure}")).unwrap_or_default()
}

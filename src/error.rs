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
    /// A coordinator chooses the holder of the Lease: `spec.strategy` is set (coordinated leader election, KEP-4355). A lock is no
    /// candidate for that, and leaves the Lease alone. A hold that began before
    /// keeps the Lease until it is released.
    #[non_exhaustive]
    #[error(
        "Lease {lease} belongs to a coordinated leader election, because its spec.strategy is {strategy:?}; use another Lease, or remove the LeaseCandidates and spec.strategy"
    )]
    Coordinated {
        /// The Lease.
        lease: LeaseName,
        /// `spec.strategy`.
        strategy: String,
    },
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
    /// The [`Election`](crate::Election) was stopped or dropped.
    #[error("the election for Lease {0} was stopped")]
    Stopped(LeaseName),
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

/// Why a Lease cannot be observed, or why its holder is [`Unknown`](crate::ObservedHolder::Unknown).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The name or the namespace is invalid.
    #[error(transparent)]
    Invalid(#[from] BuildError),
    /// The call did not come from within a tokio runtime.
    #[error("the observer of Lease {0} needs a tokio runtime: make it within one")]
    NoRuntime(LeaseName),
    /// The API server denies this client to read the Lease (HTTP 403 by RBAC or another authorizer).
    #[error(
        "permission denied: {0}; an observer needs the verbs get and watch on leases.coordination.k8s.io \"{name}\" in namespace \"{namespace}\"",
        name = .0.lease.name(), namespace = .0.lease.namespace()
    )]
    Forbidden(#[source] RequestError),
    /// The API server refuses the request itself (HTTP 400, 404 and similar): for example, it is not a Kubernetes API server.
    #[error("refused by the API server: {0}")]
    Refused(#[source] RequestError),
    /// The client was made in a tokio runtime that has ended, so it sends no request any more.
    #[error(
        "the client is closed, because the tokio runtime in which it was made has ended; make the client and the observer in the runtime that uses them: {0}"
    )]
    ClientClosed(#[source] RequestError),
    /// The API server did not answer, or answered with an error that may pass.
    #[error("could not find out who holds the Lease: {0}")]
    Request(#[source] RequestError),
    /// The background task ended: its runtime is shutting down, or this crate has a bug.
    #[error("the background task that observes Lease {0} ended")]
    TaskEnded(LeaseName),
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

/// Why [`LeaseLock::break_hold`](crate::LeaseLock::break_hold) has not ended the hold.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BreakHoldError {
    /// The Lease is not in this hold any more: it is free, was deleted, or has another holder. Nothing was changed.
    #[non_exhaustive]
    #[error(
        "the hold of Lease {lease} is over already{}; read the holder again, and decide anew",
        held_by(holder.as_deref())
    )]
    Changed {
        /// The Lease.
        lease: LeaseName,
        /// The present holder. `None`: nobody holds the Lease, or it does not exist.
        holder: Option<Box<LeaseHolder>>,
    },
    /// A request was refused, for a reason that waiting would not change.
    #[error(transparent)]
    Denied(AcquireError),
    /// The last request failed, and the time for tries is over. If it was a write without an answer, the hold may be broken.
    #[error("the hold may not be broken: {0}")]
    Request(#[source] RequestError),
    /// The time for tries was over before the first one.
    #[error("the hold of Lease {0} was not broken in time")]
    TimedOut(LeaseName),
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

/// Why [`LeaseLock::try_with`](crate::LeaseLock::try_with) did not run the future to its end.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TryWithError {
    /// The lock was not acquired, and nothing was run.
    #[error(transparent)]
    TryAcquire(#[from] TryAcquireError),
    /// The lock was lost while the future ran. The future was dropped before its end, or it ended too late.
    #[error("lost the lock while it was in use: {0}")]
    Lost(LossReason),
}

/// Why [`LeaseLock::once`](crate::LeaseLock::once) did not run the work, or could not confirm that it is done.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OnceError {
    /// The key is longer than [`LeaseLock::MAX_KEY_LENGTH`](crate::LeaseLock::MAX_KEY_LENGTH). Nothing was run.
    #[non_exhaustive]
    #[error("the key has {length} bytes, but may have {max} at most; use a hash of it")]
    KeyTooLong {
        /// The length of the key, in bytes.
        length: usize,
        /// The greatest length of a key, in bytes.
        max: usize,
    },
    /// The annotation `kube-lease-lock/done` of the Lease cannot be read, so nobody knows whether the work was done. Nothing was
    /// run. Another client has edited the annotation, or a newer version of this crate has written it.
    #[non_exhaustive]
    #[error(
        "the annotation kube-lease-lock/done of Lease {lease} cannot be read, so it is not known whether the work was done: {value:?}; repair it, or remove it if the work may run again"
    )]
    Unreadable {
        /// The Lease.
        lease: LeaseName,
        /// The value of the annotation.
        value: String,
    },
    /// The lock was not acquired, and nothing was run.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The lock was lost while the work ran, and the work was dropped before its end. It is not marked as done.
    #[error("lost the lock while the work ran: {0}")]
    Lost(LossReason),
    /// The work has ended with `Ok`, but it is not confirmed that the Lease says so: it may be run again, by this process or
    /// another one. The output of the work is dropped.
    #[non_exhaustive]
    #[error(
        "the work has ended, but it is not confirmed that Lease {lease} says so, and it may be run again: {}",
        unmarked(source.as_ref())
    )]
    Unconfirmed {
        /// The Lease.
        lease: LeaseName,
        /// Why the release was not confirmed. `None`: it was, but the Lease does not show the key. For example, an admission webhook
        /// removes the annotation, or another client garbled it meanwhile.
        source: Option<ReleaseError>,
    },
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
    /// The coordinator of a coordinated leader election (KEP-4355) has named another holder in `spec.preferredHolder`. Only an
    /// [`Election`](crate::Election) gives way to that. As with client-go, the Lease is not renewed any more, and expires by itself. So
    /// the work has the rest of the lease to stop.
    #[non_exhaustive]
    #[error("the coordinator of the Lease prefers {preferred:?} as its holder")]
    NotPreferred {
        /// `spec.preferredHolder`.
        preferred: String,
    },
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

impl LossReason {
    /// Whether the record of the hold still stands after the loss, so that other processes wait until it has expired.
    pub(crate) fn leaves_the_record(&self) -> bool {
        matches!(self, Self::DeadlinePassed { .. } | Self::Forbidden { .. } | Self::TaskEnded)
    }
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

fn unmarked(release: Option<&ReleaseError>) -> String {
    let unshown = "the Lease was released, but does not show the key; does an admission webhook, or another client, change the annotation kube-lease-lock/done?";
    release.map_or_else(|| unshown.to_owned(), ToString::to_string)
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

//! The name of a Lease, its holder, and the fencing token of a claim.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::protocol::{Snapshot, WallTime};

/// The name of a Lease and its namespace. It is displayed as `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseName(Arc<(String, String)>);

impl LeaseName {
    pub(crate) fn new(namespace: String, name: String) -> Self {
        Self(Arc::new((namespace, name)))
    }

    /// The namespace of the Lease.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.0
    }

    /// The name of the Lease.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.1
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace(), self.name())
    }
}

/// The holder of a Lease, as the Lease itself describes it.
///
/// It is for people and logs. The times come from the holder's wall clock: do not decide by them whether a Lease is free.
/// Acquire it instead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseHolder {
    /// `holderIdentity`.
    pub identity: String,
    /// `acquireTime`: since when the Lease is held. `None` if the holder did not write it.
    pub since: Option<SystemTime>,
    /// `renewTime`: when the holder renewed last. `None` if the holder did not write it.
    pub renewed: Option<SystemTime>,
    /// `leaseDurationSeconds`: for how long the Lease was taken. `None` if the holder did not write it.
    pub duration: Option<Duration>,
    /// `renewTime` plus `leaseDurationSeconds`: until when the Lease is held if it is not renewed. `None` if the holder did not
    /// write both.
    pub until: Option<SystemTime>,
    /// `leaseTransitions`: how often the Lease has changed hands.
    pub transitions: i32,
    /// The version of the Lease from which this was read.
    pub resource_version: u64,
}

impl LeaseHolder {
    /// `None` if the Lease is free.
    pub(crate) fn of(snapshot: &Snapshot) -> Option<Self> {
        let record = &snapshot.record;
        let renewed = record.renewed.and_then(time);
        let until = renewed.zip(record.duration).and_then(|(time, duration)| time.checked_add(duration));
        Some(Self {
            identity: record.holder.clone()?,
            since: record.acquired.and_then(time),
            renewed,
            duration: record.duration,
            until,
            transitions: record.transitions,
            resource_version: snapshot.version.revision,
        })
    }

    /// For how long the Lease has looked expired at `now`, if it does. It may be wrong: two wall clocks are compared.
    pub(crate) fn expired_for(&self, now: WallTime) -> Option<Duration> {
        time(now)?.duration_since(self.until?).ok()
    }
}

fn time(wall: WallTime) -> Option<SystemTime> {
    let span = Duration::from_micros(wall.0.unsigned_abs());
    if wall.0 < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) }
}

/// A number that rises with every claim of a Lease, by any process. The guarded resource compares it, and refuses the writes
/// of a holder that has been replaced.
///
/// It is the `resourceVersion` of the claiming write. Kubernetes orders these numbers as integers across all changes of all
/// objects, also across deletion of the Lease ([KEP-5504], promised since Kubernetes 1.35 and true before). One thing repeats
/// numbers: an etcd that was restored from a backup without a revision bump. After such a restore, reset the numbers that the
/// resource remembers.
///
/// ```
/// use kube_lease_lock::FencingToken;
///
/// let (older, newer) = (FencingToken::from(41), FencingToken::from(42));
/// assert!(older < newer);
/// assert_eq!(u64::from(newer), 42);
/// assert_eq!(newer.to_string(), "42");
/// ```
///
/// [KEP-5504]: https://github.com/kubernetes/enhancements/issues/5504
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl From<u64> for FencingToken {
    /// A token that the guarded resource has stored.
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<FencingToken> for u64 {
    fn from(token: FencingToken) -> Self {
        token.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

//! The name of a Lease, its holder, and the fencing token of a claim.

use std::fmt;
use std::num::{ParseIntError, TryFromIntError};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::protocol::{HoldId, Snapshot, WallTime, identity};

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
    /// `metadata.uid` of the Lease. It is another one if the Lease was deleted and created again.
    pub lease_uid: String,
}

impl LeaseHolder {
    /// `None` if the Lease is free.
    pub(crate) fn of(snapshot: &Snapshot) -> Option<Self> {
        let record = &snapshot.record;
        let renewed = record.renewed.and_then(WallTime::system_time);
        let until = renewed.zip(record.duration).and_then(|(time, duration)| time.checked_add(duration));
        Some(Self {
            identity: record.holder.clone()?,
            since: record.acquired.and_then(WallTime::system_time),
            renewed,
            duration: record.duration,
            until,
            transitions: record.transitions,
            resource_version: snapshot.version.revision,
            lease_uid: snapshot.version.uid.clone(),
        })
    }

    /// The name of the holder, for people and for routing: [`identity`](Self::identity) without the suffix that a lock of this crate
    /// adds for each acquisition. By default it is the name of the pod. The identity of another library is returned as it is.
    ///
    /// ```
    /// # async fn example(lock: kube_lease_lock::LeaseLock) -> Result<(), kube_lease_lock::RequestError> {
    /// if let Some(holder) = lock.holder().await? {
    ///     println!("{} holds {}", holder.name(), lock.lease());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        identity::name(&self.identity)
    }

    /// What tells this hold from every other one.
    pub(crate) fn hold_id(&self) -> HoldId {
        HoldId {
            uid: self.lease_uid.clone(),
            holder: self.identity.clone(),
            acquired: self.since.map(WallTime::of_system_time),
            transitions: self.transitions,
        }
    }

    /// For how long the Lease has looked expired at `now`, if it does. It may be wrong: two wall clocks are compared.
    pub(crate) fn expired_for(&self, now: WallTime) -> Option<Duration> {
        now.system_time()?.duration_since(self.until?).ok()
    }
}

/// A number that rises with every claim of a Lease, by any process, as long as the API server keeps its store. The guarded
/// resource compares it, and refuses the writes of a holder that has been replaced.
///
/// It is the `resourceVersion` of the claiming write. Kubernetes orders these numbers as integers across all changes of all
/// objects, also across deletion of the Lease ([KEP-5504], promised since Kubernetes 1.35 and true before).
///
/// ```
/// use kube_lease_lock::FencingToken;
///
/// let (older, newer) = (FencingToken::from(41), FencingToken::from(42));
/// assert!(older < newer);
/// assert_eq!(u64::from(newer), 42);
/// assert_eq!(newer.to_string(), "42");
/// // For a column of a database, and back.
/// assert_eq!((i64::try_from(newer), FencingToken::try_from(42_i64)), (Ok(42), Ok(newer)));
/// assert_eq!("42".parse(), Ok(newer));
/// ```
///
/// With the feature `serde`, it is serialized as a number.
///
/// # When the numbers go back
///
/// Tokens can be compared only within one life of one store. If the store is set back or replaced, numbers repeat or start
/// again. The resource then refuses the rightful holder until the numbers have caught up, and may accept an old one. This
/// happens by
///
/// - an etcd that was restored from a backup without a revision bump (`etcdutl snapshot restore` with `--bump-revision` and
///   `--mark-compacted` has one). The restore of k3s and RKE2 (`--cluster-reset-restore-path`) makes none;
/// - a copy of the SQLite file of k3s that was put back;
/// - a power cut, if the store does not sync its writes. k3s with SQLite does not by default: up to seconds of acknowledged
///   writes are lost. Add `_synchronous=FULL` to the DSN in `--datastore-endpoint`, or use embedded etcd, which syncs;
/// - another store for the same cluster: k3s that is moved from SQLite to etcd, a JetStream bucket that was made anew;
/// - CockroachDB below kine, if it was not told to take its numbers from sequences;
/// - another cluster: Leases that Velero moved, a blue-green change of clusters, a cluster that was built anew.
///
/// A store that is set back also lets two processes hold, until a renewal or read of one of them shows it. If that can happen,
/// either
///
/// - raise the numbers before the API server starts again: etcd by the options above, SQLite by a row
///   (`INSERT INTO kine(id, name, created, deleted, create_revision, prev_revision, lease, value, old_value) SELECT
///   max(id)+1000000, 'gap-'||(max(id)+1000000), 0, 1, 0, 0, 0, NULL, NULL FROM kine`);
/// - or stop all holders, and set the tokens that the resources remember to zero.
///
/// kine 0.17.3 to 0.17.5 (the store of k3s, unless it uses etcd) answer the creation of a Lease that was deleted shortly before
/// with a number that can be a few too high or too low. The hold goes on, but two tokens might be equal. This was never seen in
/// 2,239 such claims. To be sure, do not delete Leases there.
///
/// # A new object
///
/// [`Hold::lease_uid`](crate::Hold::lease_uid) is another one in another cluster, and after the Lease was deleted and created
/// again. A resource that stores the uid beside the token can tell two cases apart: a lower token with the same uid is an old
/// holder, or a store that was set back. A lower token with *another* uid may come from another cluster, and a person has to
/// decide. Tokens of two objects of the same store can be compared.
///
/// ```
/// use kube_lease_lock::FencingToken;
///
/// /// What the resource remembers.
/// struct Fence {
///     uid: String,
///     highest: FencingToken,
/// }
///
/// fn admit(fence: &mut Fence, uid: &str, token: FencingToken) -> Result<(), &'static str> {
///     if token < fence.highest {
///         return Err(if uid == fence.uid {
///             "a newer holder has written already"
///         } else {
///             "a lower token of another Lease: an old holder, or has the cluster changed?"
///         });
///     }
///     *fence = Fence { uid: uid.to_owned(), highest: token };
///     Ok(())
/// }
/// # let mut fence = Fence { uid: "a".into(), highest: FencingToken::from(41) };
/// # assert!(admit(&mut fence, "b", FencingToken::from(58)).is_ok());
/// # assert!(admit(&mut fence, "b", FencingToken::from(57)).unwrap_err().contains("newer"));
/// # assert!(admit(&mut fence, "c", FencingToken::from(57)).unwrap_err().contains("another"));
/// ```
///
/// [KEP-5504]: https://github.com/kubernetes/enhancements/issues/5504
#[allow(clippy::doc_markdown, reason = "names of products are no code")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
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

/// For databases without unsigned numbers. etcd numbers its revisions with an `i64`, so that it cannot fail there.
impl TryFrom<FencingToken> for i64 {
    type Error = TryFromIntError;

    fn try_from(token: FencingToken) -> Result<Self, TryFromIntError> {
        token.0.try_into()
    }
}

impl TryFrom<i64> for FencingToken {
    type Error = TryFromIntError;

    /// A token that a database has stored.
    fn try_from(number: i64) -> Result<Self, TryFromIntError> {
        number.try_into().map(Self)
    }
}

impl FromStr for FencingToken {
    type Err = ParseIntError;

    /// Reads what `to_string` has written.
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_no_number_can_hold_are_errors() {
        assert!(FencingToken::try_from(-1_i64).is_err());
        assert!(i64::try_from(FencingToken::from(u64::MAX)).is_err());
        assert!("0x2a".parse::<FencingToken>().is_err());
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_token_is_serialized_as_a_number() {
        let token = FencingToken::from(42);
        assert_eq!(serde_json::to_string(&token).unwrap(), "42");
        assert_eq!(serde_json::from_str::<FencingToken>("42").unwrap(), token);
    }
}

//! Work that is done at most once for each key, by whichever process comes first.

use std::time::SystemTime;

use super::LeaseLock;
use crate::driver::{NotAcquired, Released};
use crate::error::{AcquireError, OnceError};
use crate::hold::Hold;
use crate::protocol::{DoneKey, DoneKeys};

/// What [`LeaseLock::once`] has found, or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once<T> {
    /// This call has run the work, and the Lease says that it is done.
    Done(T),
    /// The Lease says that the work was done before. Nothing was run.
    #[non_exhaustive]
    AlreadyDone {
        /// The holder that has done it: the identity of its lock, and a suffix that is unique to the acquisition.
        by: String,
        /// When it was done, by the wall clock of that holder. It is for people and logs: no clocks are compared. `None` if this
        /// machine cannot express that time.
        at: Option<SystemTime>,
    },
}

impl LeaseLock {
    /// The greatest length of a key for [`once`](Self::once), in bytes.
    pub const MAX_KEY_LENGTH: usize = 256;

    /// So many keys the Lease remembers: see [`once`](Self::once).
    pub const REMEMBERED_KEYS: usize = DoneKeys::MAX_KEYS;

    /// Runs the work under the lock, unless the Lease says that the work with this key was done. The write that releases the
    /// Lease also says that the work is done.
    ///
    /// It is for work that several processes are told to do at the same time, and one of them should do. For example, each
    /// replica runs the same schedule, and calls `once` with the nominal time of the run. Other keys are the version of a
    /// migration, or the id of an order.
    ///
    /// If the work returns `Err`, panics, is dropped, or its process crashes, it counts as not done. Then the next caller with
    /// this key runs it: one that waits already, or a later one. After a crash that takes the `lease_duration`, as with
    /// [`acquire`](Self::acquire).
    ///
    /// It waits while another process or task holds the lock, and ends as soon as it hears that the work is done. If the first
    /// read shows that, it costs this one read. Otherwise it costs as much as `acquire` and a release. Afterwards the lock is not
    /// handed off to a task of this process that waits, but released: only a write can tell other processes what is done.
    ///
    /// There are two results, as with `tokio::time::timeout`: `lock.once(key, work).await??` returns either error, that of the lock
    /// or that of the work. The closure gets a view of the hold, and the work is dropped if the lock is lost, as in
    /// [`with`](Self::with).
    ///
    /// # Keys
    ///
    /// A key is any text of up to [`MAX_KEY_LENGTH`](Self::MAX_KEY_LENGTH) bytes. Keys are compared byte by byte, and have no order.
    /// They belong to one Lease: two schedules need two Leases, or different keys.
    ///
    /// # What is promised
    ///
    /// Once a call has returned [`Once::Done`], no call with this key runs the work, in any process that uses this Lease, as long
    /// as the Lease remembers the key:
    ///
    /// - The Lease remembers a key until [`REMEMBERED_KEYS`](Self::REMEMBERED_KEYS) (16) other keys have been marked as done after it.
    ///   So keys may come out of order: a replica that is late finds that an earlier run was done, up to 16 runs back. A replica that
    ///   is later than that would run the work again.
    /// - If the Lease is deleted, nothing is remembered. The same is true if the store of the API server is set back (a restored
    ///   backup), for what came later.
    /// - The keys are in the annotation `kube-lease-lock/done`. Whoever edits it decides what was done. If it is removed, nothing is
    ///   remembered. If it cannot be read, nothing is run: the error is [`OnceError::Unreadable`].
    ///
    /// The work may run more than once before a call returns `Once::Done`. It may have had its effects when its process crashes,
    /// or when the release cannot be confirmed ([`OnceError::Unconfirmed`]). Two runs never overlap, as far as the lock promises:
    /// see the [crate documentation](crate#what-it-does-not-promise). Work that must not be repeated in these cases has to compare
    /// the key, or the [fencing token](Hold::fencing_token), with what its own resource has stored.
    ///
    /// # Errors
    ///
    /// The outer error is an [`OnceError`]: the work did not run, was dropped, or is not confirmed to be done. The inner error is
    /// that of the work. The lock is then released as by [`with`](Self::with), and the key is not marked as done.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future while it waits or while the work runs drops the work, and then releases the lock. The
    /// key is not marked as done. If the work has ended with `Ok` already, the release goes on in the background, and
    /// marks the key.
    ///
    /// # Example
    ///
    /// Three replicas run the same schedule. One of them makes the report.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// use kube_lease_lock::testing::LeaseServer;
    /// use kube_lease_lock::{LeaseLock, Once};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// async fn make_report() -> Result<u32, std::io::Error> {
    ///     Ok(12) // pages
    /// }
    ///
    /// let server = LeaseServer::new(); // instead of a cluster
    /// let mut reports = 0;
    /// for _replica in 0..3 {
    ///     let lock = LeaseLock::new(server.connect().client(), "nightly-report")?;
    ///     match lock.once("2026-11-29", |_hold| make_report()).await?? {
    ///         Once::Done(pages) => reports += pages / 12,
    ///         Once::AlreadyDone { by, .. } => println!("{by} has made the report"),
    ///     }
    /// }
    /// assert_eq!(reports, 1);
    /// # Ok(())
    /// # }
    /// # main().unwrap();
    /// # }
    /// ```
    pub async fn once<F, W, T, E>(&self, key: &str, work: F) -> Result<Result<Once<T>, E>, OnceError>
    where
        F: FnOnce(Hold) -> W,
        W: Future<Output = Result<T, E>>,
    {
        if key.len() > Self::MAX_KEY_LENGTH {
            return Err(OnceError::KeyTooLong { length: key.len(), max: Self::MAX_KEY_LENGTH });
        }
        let guard = match self.core().acquire_for(key).await {
            Ok(guard) => guard,
            Err(NotAcquired::AlreadyDone(DoneKey { by, at, .. })) => {
                return Ok(Ok(Once::AlreadyDone { by, at: at.system_time() }));
            }
            Err(not_acquired) => return Err(self.not_acquired(not_acquired)),
        };
        let unconfirmed = |source| OnceError::Unconfirmed { lease: self.lease().clone(), source };
        match guard.run_while_held(work).await {
            None => Err(OnceError::Lost(guard.lost().await)),
            Some(Err(error)) => {
                // The background task logs the outcome.
                let _ = guard.release().await;
                Ok(Err(error))
            }
            Some(Ok(output)) => match guard.release_as_done(key.to_owned()).await {
                Ok(Released::Done) => Ok(Ok(Once::Done(output))),
                Ok(Released::Unmarked) => Err(unconfirmed(None)),
                Err(error) => Err(unconfirmed(Some(error))),
            },
        }
    }

    fn not_acquired(&self, not_acquired: NotAcquired) -> OnceError {
        let lease = self.lease().clone();
        match not_acquired {
            NotAcquired::Fatal(error) => error.into(),
            NotAcquired::DoneUnreadable(value) => OnceError::Unreadable { lease, value },
            // The key that is done is told otherwise, and the others belong to a single try.
            NotAcquired::AlreadyDone(_) | NotAcquired::Held(_) | NotAcquired::Failed(_) => {
                AcquireError::TaskEnded(lease).into()
            }
        }
    }
}

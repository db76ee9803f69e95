//! The lock: what a user can call on it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::check::CheckReport;
use crate::error::{AcquireError, CheckError, RequestError, ShutdownError, TryAcquireError, WithError};
use crate::guard::LeaseGuard;
use crate::hold::Hold;
use crate::lease::{LeaseHolder, LeaseName};
use crate::lock_core::LockCore;

/// A distributed async mutex over one Kubernetes Lease.
///
/// Build it once for each Lease, and clone it. It is cheap to clone. Clones share one FIFO, so any number of tasks of one
/// process are one contender at the API server. They also share a watch, and what was learned of the Lease.
///
/// Two locks that were built separately exclude each other as two processes do, also with the same identity. A lock that is
/// built for each attempt works, but slowly: each attempt begins with a read and a watch, and cannot know how long a holder
/// has been silent. Each one that gives up waiting leaves a ticket in the queue, which delays the others once.
///
/// The lock is not reentrant: a task that holds the lock and acquires it again waits for itself.
///
/// # Example
///
/// ```
/// # async fn rebuild_index() {}
/// # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use kube_lease_lock::LeaseLock;
///
/// let lock = LeaseLock::new(client, "index")?;
/// let guard = lock.acquire().await?;
/// let lost = guard.token();
/// tokio::select! {
///     biased;
///     () = lost.cancelled() => eprintln!("stopped half way: {}", guard.lost().await),
///     () = rebuild_index() => guard.release().await?,
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LeaseLock(Arc<LockCore>);

impl LeaseLock {
    pub(crate) fn from_core(core: LockCore) -> Self {
        Self(Arc::new(core))
    }

    pub(crate) fn core(&self) -> &Arc<LockCore> {
        &self.0
    }

    /// Waits until the Lease is free, and acquires it.
    ///
    /// The tasks of this process acquire the lock in the order in which they called. They hand it off among themselves with
    /// one write each; while other processes wait, 16 times in a row at most. Processes wait in a queue of their own, which
    /// has room for 128. A free Lease costs one read and one write. While it waits, the lock watches the Lease. The first process
    /// in the queue takes over one round trip after it was told of a release. If a holder has crashed, it takes over when it has
    /// seen the record unchanged for the `leaseDurationSeconds` in it. Failures that may pass are tried again.
    ///
    /// # Errors
    ///
    /// [`AcquireError`]. An error that waiting would not change comes at once: a missing permission, a missing namespace, a
    /// Lease that must not be created. If this process may not write, it learns that while another process holds the Lease too. A
    /// lock that has never reached an API server gives up after its
    /// [`startup_timeout`](crate::LeaseLockBuilder::startup_timeout), and so does one whose credentials are no longer accepted.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe at every point: the lock gives up its place in the FIFO, and withdraws a claim that was sent in the
    /// background.
    ///
    /// Dropping the future gives up; to keep it without polling it does not. The background task goes on, and may acquire the
    /// lock. It then renews the Lease until the future is polled again or dropped, and nobody else can have the lock. So
    /// if `select!` polls `&mut acquiring` in a loop, keep its other branches short, or drop the future.
    pub async fn acquire(&self) -> Result<LeaseGuard, AcquireError> {
        self.0.acquire().await
    }

    /// Acquires the Lease if it is free now.
    ///
    /// It does not join the queue of processes, but leaves a free Lease to the processes in it: to each one for 50 ms to 2 s, as
    /// its distance from the API server demands, and to all of them for one `lease_duration` and 2 s at most.
    ///
    /// The second call can recognise a holder that crashed, not the first one. The first call sees the record for the first
    /// time. Only a call at least `leaseDurationSeconds` later, on the same lock or a clone, can tell that the record has not
    /// changed. The lock does not decide by the times in the record, because it would then depend on the holder's wall clock.
    ///
    /// So a job that starts anew for each run, and calls `try_acquire` once, stays locked out after a crash. Such a job should
    /// call [`acquire_timeout`](Self::acquire_timeout) with more than the `lease_duration`, or set
    /// [`max_clock_skew`](crate::LeaseLockBuilder::max_clock_skew). The error says so if the record looks expired.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError::Held`] with the holder, or the error that came in the way. Nothing is tried again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`acquire`](Self::acquire).
    pub async fn try_acquire(&self) -> Result<LeaseGuard, TryAcquireError> {
        self.0.try_acquire().await
    }

    /// Like [`acquire`](Self::acquire), but gives up after `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], with the holder that was seen last, and the last request if it failed. Otherwise as
    /// [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`acquire`](Self::acquire).
    pub async fn acquire_timeout(&self, timeout: Duration) -> Result<LeaseGuard, AcquireError> {
        self.0.acquire_timeout(timeout).await
    }

    /// Runs a future under the lock: acquires the lock, runs the future, releases the lock, and returns the output of the
    /// future. If the lock is lost, the future is dropped.
    ///
    /// The closure gets a view of the hold, for example for its fencing token. Before each poll of the future, the lock reads
    /// the clock. So the future does not go on after the machine or the process stood still for too long, not even for one
    /// step.
    ///
    /// If the future returns a `Result`, there are two results, as with `tokio::time::timeout`: `lock.with(..).await??` returns
    /// either error. If the release cannot be confirmed, that is logged, and the output is returned all the same.
    ///
    /// # Errors
    ///
    /// [`WithError`] tells apart a future that never started and a lock that was lost.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping it drops the future that runs under the lock, and then releases the lock.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn charge_customers(_: u64) -> Result<u32, std::io::Error> { Ok(3) }
    /// # async fn example(lock: kube_lease_lock::LeaseLock) -> Result<(), Box<dyn std::error::Error>> {
    /// use kube_lease_lock::WithError;
    ///
    /// match lock.with(|hold| charge_customers(hold.fencing_token().into())).await {
    ///     Ok(charged) => println!("charged {} customers", charged?),
    ///     Err(WithError::Lost(reason)) => println!("stopped half way: {reason}"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn with<F, W>(&self, work: F) -> Result<W::Output, WithError>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        let guard = self.acquire().await?;
        let output = {
            let hold = guard.hold().clone();
            let mut work = pin!(async move { work(hold).await });
            let lost = guard.token();
            // The future is not polled when the hold is over, even if nothing has cancelled the token yet.
            let while_held = poll_fn(|context| {
                if guard.is_held() { work.as_mut().poll(context).map(Some) } else { Poll::Ready(None) }
            });
            tokio::select! {
                biased;
                () = lost.cancelled() => None,
                output = while_held => output,
            }
        };
        match output.filter(|_| guard.is_held()) {
            None => Err(WithError::Lost(guard.lost().await)),
            Some(output) => {
                // The background task logs the outcome.
                let _ = guard.release().await;
                Ok(output)
            }
        }
    }

    /// Reads who holds the Lease now. `None` if it is free or does not exist.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if the read failed. It is not tried again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn holder(&self) -> Result<Option<LeaseHolder>, RequestError> {
        self.0.holder().await
    }

    /// Checks that this lock can work: that the API server can be reached and answers in time, that the client has every
    /// permission, and that admission accepts the Lease. It changes nothing: it reads, asks by `SelfSubjectAccessReview`, and
    /// makes a dry run of a write. If [`max_clock_skew`](crate::LeaseLockBuilder::max_clock_skew) is set, it compares this machine's
    /// clock with the API server's, and the report has a [`CheckWarning`](crate::CheckWarning) if they differ by more.
    ///
    /// Call it in an init container, or before the program reports that it is ready: a missing permission is then found when the
    /// program starts, and not when it is its turn.
    ///
    /// # Errors
    ///
    /// [`CheckError::Forbidden`] names all missing verbs. [`CheckError::TooSlow`] says that a write takes longer than the settings
    /// allow. [`CheckError::Denied`] and [`CheckError::Request`] have the error of a
    /// request. Nothing is tried again. Each request takes `request_timeout` at most (5 s by default).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it changes nothing.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn example(lock: kube_lease_lock::LeaseLock) -> Result<(), Box<dyn std::error::Error>> {
    /// let report = lock.check().await?;
    /// println!("a write takes {:?}", report.round_trip);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check(&self) -> Result<CheckReport, CheckError> {
        self.0.check().await
    }

    /// Shuts down the lock and its clones. Waiting acquisitions end, and later ones fail, with [`AcquireError::ShutDown`].
    /// Elections end, also one that leads. The call then waits for all releases that are under way in the background.
    ///
    /// Await it last in `main`, after every guard has been dropped. If it returns `Ok`, nothing of this lock is held or stands for
    /// election. A guard that still lives keeps its hold: it is released by its owner, because only the owner knows when
    /// the work under the guard has ended. `shutdown` does not wait for it, but reports it.
    ///
    /// # Errors
    ///
    /// [`ShutdownError`] says what may still hold the Lease: a guard, a release that took longer than `renew_deadline`, or a
    /// release by a dropped guard that the API server did not confirm.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it can be called again.
    pub async fn shutdown(&self) -> Result<(), ShutdownError> {
        self.0.shutdown().await
    }

    /// The Lease of this lock.
    #[must_use]
    pub fn lease(&self) -> &LeaseName {
        self.0.lease()
    }
}

impl std::fmt::Debug for LeaseLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LeaseLock").field(&self.0).finish()
    }
}

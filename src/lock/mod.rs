//! The lock: what a user can call on it.

mod builder;
mod health;
mod once;

use std::sync::Arc;
use std::time::Duration;

pub use builder::LeaseLockBuilder;
pub use health::Health;
pub use once::Once;

use crate::check::CheckReport;
use crate::error::{
    AcquireError, BreakHoldError, CheckError, LossReason, ObserveError, RequestError, ShutdownError,
    TryAcquireError, TryWithError, WithError,
};
use crate::guard::LeaseGuard;
use crate::hold::Hold;
use crate::lease::{LeaseHolder, LeaseName};
use crate::lock_core::LockCore;
use crate::observer::LeaseObserver;

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
        Self::work_under(self.acquire().await?, work).await.map_err(WithError::Lost)
    }

    /// Like [`with`](Self::with), if the Lease is free now. Otherwise nothing is run.
    ///
    /// # Errors
    ///
    /// [`TryWithError`] tells apart a future that never started and a lock that was lost.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`with`](Self::with).
    ///
    /// # Example
    ///
    /// ```
    /// # async fn send_report() {}
    /// # async fn example(lock: kube_lease_lock::LeaseLock) -> Result<(), Box<dyn std::error::Error>> {
    /// use kube_lease_lock::{TryAcquireError, TryWithError};
    ///
    /// match lock.try_with(|_| send_report()).await {
    ///     Ok(()) => println!("sent"),
    ///     Err(TryWithError::TryAcquire(TryAcquireError::Held { .. })) => println!("another process sends it"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_with<F, W>(&self, work: F) -> Result<W::Output, TryWithError>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        let guard = self.try_acquire().await.map_err(TryWithError::TryAcquire)?;
        Self::work_under(guard, work).await.map_err(TryWithError::Lost)
    }

    /// Like [`with`](Self::with), but gives up after it has waited for the lock for `timeout`. The future may take longer.
    ///
    /// # Errors
    ///
    /// As [`with`](Self::with), with [`AcquireError::TimedOut`] as [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`with`](Self::with).
    pub async fn with_timeout<F, W>(&self, timeout: Duration, work: F) -> Result<W::Output, WithError>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        let guard = self.acquire_timeout(timeout).await?;
        Self::work_under(guard, work).await.map_err(WithError::Lost)
    }

    async fn work_under<F, W>(guard: LeaseGuard, work: F) -> Result<W::Output, LossReason>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        let hold = guard.hold().clone();
        guard.run(async move { work(hold).await }).await
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

    /// Observes who holds the Lease, from now on, without contending for it. All observers of a lock and of its clones share one
    /// watch. It is a watch of its own, because the lock watches only while it waits or holds.
    ///
    /// # Errors
    ///
    /// [`ObserveError::NoRuntime`] outside of a tokio runtime. Later errors are part of the answer: see
    /// [`ObservedHolder::Unknown`](crate::ObservedHolder::Unknown).
    ///
    /// # Example
    ///
    /// ```
    /// # use kube_lease_lock::testing::LeaseServer;
    /// # use kube_lease_lock::LeaseLock;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = LeaseServer::new().connect().client();
    /// let lock = LeaseLock::new(client, "controller")?;
    /// let mut observer = lock.observe()?;
    /// let guard = lock.acquire().await?;
    /// while observer.holder().holder().is_none() {
    ///     observer.changed().await;
    /// }
    /// # guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn observe(&self) -> Result<LeaseObserver, ObserveError> {
        self.0.observe()
    }

    /// Ends the hold of another process by force: empties the holder, if the Lease is still in exactly this hold.
    ///
    /// It is for people who know better than the Lease: for example, that the holder hangs and will not stop by itself. It does not
    /// stop the holder. A holder of this crate that watches the Lease cancels its token at once, with
    /// [`LossReason::Cleared`](crate::LossReason::Cleared); one that does not watch, or is cut off, goes on until its next
    /// renewal, or until its `renew_deadline`. Another process may hold the lock by then. So be sure that the old holder does
    /// no more work, or fence its writes: see [`FencingToken`](crate::FencingToken).
    ///
    /// A holder of client-go looks at the Lease only when it renews. If it finds it free, it claims it again, and goes on
    /// leading. If it finds another holder, it goes on leading for up to its `RenewDeadline` more (10 seconds by default).
    ///
    /// `holder` is what [`holder`](Self::holder) or an [observer](Self::observe) has returned. The same hold is recognised by the
    /// uid of the Lease, `holderIdentity`, `acquireTime` and `leaseTransitions`, so renewals in between do not matter. If
    /// the Lease has another holder now, nothing is written. The write is conditional on the version that was read, and
    /// keeps the queue of waiters, whose first process takes over, and all fields of other clients. It needs the permissions
    /// `get` and `patch`. The log tells of it by the warning `hold broken`.
    ///
    /// # Errors
    ///
    /// [`BreakHoldError::Changed`] with the present holder, if the Lease is not in this hold any more. A refusal comes at once.
    /// Failures that may pass are tried again for one `renew_deadline` (10 seconds by default); then the last one is returned.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the hold may be broken or not. It can be called again: if the hold was broken, the error is
    /// [`BreakHoldError::Changed`].
    ///
    /// # Example
    ///
    /// ```
    /// # use kube_lease_lock::testing::LeaseServer;
    /// # use kube_lease_lock::{LeaseLock, LossReason};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = LeaseServer::new();
    /// # let stuck = LeaseLock::new(server.connect().client(), "controller")?;
    /// # let guard = stuck.acquire().await?;
    /// # tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    /// # let lock = LeaseLock::new(server.connect().client(), "controller")?;
    /// if let Some(holder) = lock.holder().await? {
    ///     println!("breaking the hold of {}", holder.name());
    ///     lock.break_hold(&holder).await?;
    /// }
    /// # assert_eq!(guard.lost().await, LossReason::Cleared);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn break_hold(&self, holder: &LeaseHolder) -> Result<(), BreakHoldError> {
        self.0.break_hold(holder).await
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

    /// How the lock is, for the liveness and the readiness probe of a Pod. It sends no request.
    ///
    /// ```
    /// # use kube_lease_lock::LeaseLock;
    /// /// The status codes of `/livez` and `/readyz`.
    /// fn probes(lock: &LeaseLock) -> (u16, u16) {
    ///     let health = lock.health();
    ///     let code = |good| if good { 200 } else { 503 };
    ///     (code(health.is_live()), code(health.is_ready()))
    /// }
    /// ```
    #[must_use]
    pub fn health(&self) -> Health {
        Health::of(&self.0)
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

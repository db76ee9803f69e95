//! The guard: it holds the lock as long as it lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::driver::{Released, ReportRelease, StopHandle};
use crate::error::{EndReason, LossReason, ReleaseError};
use crate::hold::Hold;
use crate::lease::{FencingToken, LeaseName};
use crate::work::{Works, while_held};

/// Holds the lock until it is dropped, released or lost.
///
/// [`hold`](Self::hold) gives a view of the hold that can be cloned. Give clones of it to the tasks that the lock
/// protects, and keep the guard in the task that ends last.
///
/// # Drop
///
/// Dropping the guard cancels the token at once. If a task of this process waits, the lock is handed off to it at once too.
/// Otherwise the background task releases the Lease, as soon as the runtime on which the lock was acquired runs it. A drop
/// never blocks and never panics, on any thread, with or without a runtime. If that runtime has ended, the next task of this
/// process that acquires the lock releases the Lease first, or it expires `lease_duration` after its last renewal.
/// To know the outcome, call [`release`](Self::release). Before a process ends, await
/// [`LeaseLock::shutdown`](crate::LeaseLock::shutdown).
///
/// Stop first, release second: drop the guard after the work that it protects has ended, not before.
#[derive(Debug)]
#[must_use = "dropping the guard at once releases the lock at once"]
pub struct LeaseGuard {
    hold: Hold,
    stop: StopHandle,
    works: Arc<Works>,
}

impl LeaseGuard {
    pub(crate) fn new(hold: Hold, stop: StopHandle, works: Arc<Works>) -> Self {
        Self { hold, stop, works }
    }

    /// A view of the hold. Its clones can go to other tasks; they neither keep the lock nor release it.
    #[must_use]
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// A token that is cancelled when the lock is lost or released: see [`Hold::token`].
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.hold.token()
    }

    /// Waits until the lock is lost, and returns the reason.
    ///
    /// The reason can come later than the cancellation of the [`token`](Self::token): see [`Hold::ended`]. So stop the
    /// work when the token is cancelled, and ask for the reason then.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only waits.
    pub async fn lost(&self) -> LossReason {
        match self.hold.ended().await {
            EndReason::Lost(reason) => reason,
            // Only `release` and `drop` release, and both need the guard that is borrowed here.
            EndReason::Released => LossReason::TaskEnded,
        }
    }

    /// Whether the lock is held at this very moment, by this machine's clock: see [`Hold::is_held`].
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.hold.is_held()
    }

    /// Until when the work under the lock has to be over: see [`Hold::stop_by`].
    #[must_use]
    pub fn stop_by(&self) -> tokio::time::Instant {
        self.hold.stop_by()
    }

    /// How much longer the lock is held if no further renewal succeeds: see [`Hold::remaining`].
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.hold.remaining()
    }

    /// The fencing token of this claim of the Lease.
    #[must_use]
    pub fn fencing_token(&self) -> FencingToken {
        self.hold.fencing_token()
    }

    /// The value of `holderIdentity` in the Lease: see [`Hold::holder_identity`].
    #[must_use]
    pub fn holder_identity(&self) -> &str {
        self.hold.holder_identity()
    }

    /// The Lease that is held.
    #[must_use]
    pub fn lease(&self) -> &LeaseName {
        self.hold.lease()
    }

    /// The `metadata.uid` of the Lease that is held: see [`Hold::lease_uid`].
    #[must_use]
    pub fn lease_uid(&self) -> &str {
        self.hold.lease_uid()
    }

    /// Releases the lock, and waits for the outcome.
    ///
    /// The token is cancelled first. If another task of this process waits for the lock, the lock is handed off to
    /// that task, and the future is ready at once. A waiter in another process takes over one round trip after the
    /// release. The wait is at most as long as the hold had left, and so at most `renew_deadline`.
    ///
    /// # Errors
    ///
    /// [`ReleaseError::Lost`] if the lock was known to be lost before. [`ReleaseError::Unconfirmed`] if the API server
    /// did not confirm the release in time. In both cases there is nothing left to do.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the release begins when this method is called, and goes on in the background even if the future
    /// is dropped.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn example(lock: kube_lease_lock::LeaseLock) -> Result<(), Box<dyn std::error::Error>> {
    /// let guard = lock.acquire().await?;
    /// // ... the work ...
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn release(self) -> impl Future<Output = Result<(), ReleaseError>> + Send + 'static {
        let released = self.end_hold(None);
        async move { released.await.map(drop) }
    }

    /// Releases the lock as [`release`](Self::release) does. The releasing write marks the key as done.
    pub(crate) fn release_as_done(
        self,
        key: String,
    ) -> impl Future<Output = Result<Released, ReleaseError>> + Send + 'static {
        self.end_hold(Some(key))
    }

    fn end_hold(
        mut self,
        done_key: Option<String>,
    ) -> impl Future<Output = Result<Released, ReleaseError>> + Send + 'static {
        let (report, outcome) = oneshot::channel();
        self.end(Some(report), done_key);
        async move {
            if let Ok(outcome) = outcome.await {
                return outcome;
            }
            // The background task had ended before, or its runtime ended during the release.
            let lease = self.lease().clone();
            Err(match self.hold.ended().await {
                EndReason::Released => ReleaseError::Unconfirmed { lease, last_failure: None },
                EndReason::Lost(reason) => ReleaseError::Lost { lease, reason },
            })
        }
    }

    /// Runs a future under the lock, releases the lock, and returns the output of the future. If the lock is lost, the future is
    /// dropped.
    ///
    /// Before each poll of the future, the lock reads the clock. So the future does not go on after the machine or the process
    /// stood still for too long, not even for one step. If the release cannot be confirmed, that is logged, and the output is returned
    /// all the same.
    ///
    /// # Errors
    ///
    /// The reason for which the lock was lost before the future was ready.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping it drops the future that runs under the lock, and then releases the lock.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn rebuild_index(_: u64) -> std::io::Result<()> { Ok(()) }
    /// # async fn example(lock: kube_lease_lock::LeaseLock) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Ok(guard) = lock.try_acquire().await {
    ///     let fencing_token = guard.fencing_token();
    ///     guard.run(rebuild_index(fencing_token.into())).await??;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<W: Future>(self, work: W) -> impl Future<Output = Result<W::Output, LossReason>> {
        // If the future is never polled, the work is dropped first too.
        let work_and_guard = (work, self);
        async move {
            let (work, guard) = work_and_guard;
            match guard.run_while_held(|_| work).await {
                None => Err(guard.lost().await),
                Some(output) => {
                    // The background task logs the outcome.
                    let _ = guard.release().await;
                    Ok(output)
                }
            }
        }
    }

    /// Runs a future under the lock. If the lock is lost, the future is dropped, and there is no output.
    pub(crate) async fn run_while_held<F, W>(&self, work: F) -> Option<W::Output>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        let hold = self.hold.clone();
        while_held(&self.hold, &self.works, async move { work(hold).await }).await
    }

    /// Requests the release, then cancels the token at once, on this thread. The order matters: the background task
    /// finds the request when it finds that the hold is over.
    fn end(&mut self, report: Option<ReportRelease>, done_key: Option<String>) {
        self.stop.request_stop(report, done_key);
        self.hold.cancel(false);
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.end(None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_send_sync_and_static() {
        fn goes_anywhere<T: Send + Sync + Unpin + 'static>() {}
        goes_anywhere::<LeaseGuard>();
        goes_anywhere::<Hold>();
        goes_anywhere::<crate::LeaseLock>();
    }
}

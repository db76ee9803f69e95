//! The guard: holds the lock as long as it lives.

use std::ops::Deref;

use tokio::sync::oneshot;

use crate::error::{LossReason, ReleaseError};
use crate::held::Held;
use crate::session::{Done, Leash};

/// Holds the lock until it is dropped, released or lost.
///
/// It dereferences to [`Held`], which has all there is to know about the hold: [`token`](Held::token),
/// [`lost`](Held::lost), [`is_held`](Held::is_held), [`remaining`](Held::remaining),
/// [`fencing_token`](Held::fencing_token), [`holder_identity`](Held::holder_identity).
///
/// # Drop
///
/// Dropping the guard fires the token and releases the Lease in the background, at the next moment that the
/// runtime on which it was acquired can spare. It never blocks and never panics, on any thread, with or
/// without a runtime. Where that runtime is gone, the Lease expires `lease_duration` after its last renewal.
/// To know the outcome, call [`release`](Self::release); before a process ends, await
/// [`LeaseLock::shutdown`](crate::LeaseLock::shutdown).
///
/// Stop first, release second: drop the guard when the work that it protects has ended, not before.
#[derive(Debug)]
#[must_use = "dropping the guard at once releases the lock at once"]
pub struct LeaseGuard {
    held: Held,
    leash: Leash,
}

impl LeaseGuard {
    pub(crate) fn new(held: Held, leash: Leash) -> Self {
        Self { held, leash }
    }

    /// A view of the hold that can be cloned and handed to others.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Releases the lock, and waits for the outcome.
    ///
    /// The token fires first. Where another task of this process waits for the lock, it is handed on to that one, and
    /// there is nothing to wait for. A waiter elsewhere takes over one round trip after the release. Bounded by the
    /// time the hold has left: at most `renew_deadline`.
    ///
    /// # Errors
    ///
    /// [`ReleaseError::Lost`] if the lock was known to be lost before, [`ReleaseError::Unconfirmed`] if the API server
    /// did not confirm the release in time. In neither case is there anything left to do.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: once called, the release goes on in the background even if the future is dropped.
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
    pub fn release(mut self) -> impl Future<Output = Result<(), ReleaseError>> + Send + 'static {
        let (done, outcome) = oneshot::channel();
        self.let_go(Some(done));
        async move {
            match outcome.await {
                Ok(outcome) => outcome,
                // The session had ended before, or its runtime came to an end on the way.
                Err(_) => Err(match self.lost().await {
                    LossReason::Released => ReleaseError::Unconfirmed { lease: self.lease().clone() },
                    reason => ReleaseError::Lost { lease: self.lease().clone(), reason },
                }),
            }
        }
    }

    /// Orders the release, then fires the token at once, on this thread. In this order: the background task,
    /// finding the hold over, knows why.
    fn let_go(&mut self, done: Option<Done>) {
        self.leash.order(done);
        self.held.fire();
    }
}

impl Deref for LeaseGuard {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.held
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.let_go(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_may_go_anywhere() {
        fn goes_anywhere<T: Send + Sync + Unpin + 'static>() {}
        goes_anywhere::<LeaseGuard>();
        goes_anywhere::<Held>();
        goes_anywhere::<crate::LeaseLock>();
    }
}

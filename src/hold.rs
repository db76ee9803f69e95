//! One hold of the lock: the state that its background task, its guard and all views of it share.
//!
//! The deadline is the one value here that several parties write. The background task moves it forward; the guard and
//! any reader of the clock can only end the hold. Once ended, a hold is never revived.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::{EndReason, LossReason};
use crate::lease::{FencingToken, LeaseName};
use crate::protocol::Instant;

/// A view of one hold of the lock. It is cheap to clone, and neither keeps the lock nor releases it.
///
/// [`LeaseGuard::hold`](crate::LeaseGuard::hold) returns it. Give clones of it to the tasks and requests that the lock
/// protects, and keep the guard in the task that ends last.
#[derive(Debug, Clone)]
pub struct Hold(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lease: LeaseName,
    lease_uid: String,
    holder_identity: String,
    fencing_token: FencingToken,
    clock: Clock,
    /// Nanoseconds on `clock`. [`OVER`] from the end of the hold on, and never anything else after that.
    deadline: AtomicU64,
    token: CancellationToken,
    end: watch::Sender<Option<EndReason>>,
}

const OVER: u64 = 0;

impl Hold {
    pub(crate) fn new(
        lease: LeaseName,
        lease_uid: String,
        holder_identity: String,
        fencing_token: FencingToken,
        clock: Clock,
        deadline: Instant,
    ) -> Self {
        Self(Arc::new(Shared {
            lease,
            lease_uid,
            holder_identity,
            fencing_token,
            clock,
            deadline: AtomicU64::new(nanos(deadline)),
            token: CancellationToken::new(),
            end: watch::Sender::new(None),
        }))
    }

    /// A token that is cancelled when the lock is lost or released.
    ///
    /// It is cancelled before any other process can hold the Lease, by a timer on this machine's own clock, whether
    /// or not the API server can be reached. If you cancel the returned token yourself, you cancel that token and its
    /// children only, not the lock.
    ///
    /// ```
    /// # use kube_lease_lock::Hold;
    /// # async fn write_next_page() {}
    /// async fn copy_pages(hold: Hold) {
    ///     let lost = hold.token();
    ///     while !lost.is_cancelled() {
    ///         tokio::select! {
    ///             biased;
    ///             () = lost.cancelled() => break,
    ///             () = write_next_page() => {}
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.0.token.child_token()
    }

    /// Waits until the hold ends, and returns the reason.
    ///
    /// The reason comes together with the cancellation of the [`token`](Self::token), or soon after it. If the Lease was
    /// deleted, it comes one request later, because the lock then asks whether the namespace is gone. So stop the work
    /// when the token is cancelled, and ask for the reason then.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only waits.
    pub async fn ended(&self) -> EndReason {
        let mut end = self.0.end.subscribe();
        let ended = end.wait_for(Option::is_some).await;
        ended.ok().and_then(|end| end.clone()).unwrap_or(EndReason::Lost(LossReason::TaskEnded))
    }

    /// Whether the lock is held at this very moment, by this machine's clock.
    ///
    /// The answer comes from the clock alone, and at once. It is right even if the runtime was blocked, or the machine
    /// suspended, for so long that nothing could cancel the token; this call then cancels it. After the first `false`
    /// it never returns `true` again.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// How much longer the lock is held if no further renewal succeeds; zero when it is not held.
    ///
    /// Each renewal raises it again, to `renew_deadline` at the most.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        loop {
            let deadline = self.0.deadline.load(Ordering::Acquire);
            if deadline == OVER {
                return Duration::ZERO;
            }
            let left = self.0.clock.now().until(instant(deadline));
            if !left.is_zero() {
                return left;
            }
            if self.0.deadline.compare_exchange(deadline, OVER, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                self.0.token.cancel();
            }
        }
    }

    /// The fencing token of this claim of the Lease.
    #[must_use]
    pub fn fencing_token(&self) -> FencingToken {
        self.0.fencing_token
    }

    /// The value of `holderIdentity` in the Lease: the lock's identity and a suffix that is unique to this acquisition.
    #[must_use]
    pub fn holder_identity(&self) -> &str {
        &self.0.holder_identity
    }

    /// The Lease that is held.
    #[must_use]
    pub fn lease(&self) -> &LeaseName {
        &self.0.lease
    }

    /// The `metadata.uid` of the Lease that is held. It is another one if the Lease was deleted and created again, and in
    /// another cluster. A resource that keeps it beside the fencing token notices that it talks to holders of another
    /// object: see [`FencingToken`](crate::FencingToken#a-new-object).
    #[must_use]
    pub fn lease_uid(&self) -> &str {
        &self.0.lease_uid
    }

    /// Moves the deadline. Returns `false` if the hold is over.
    pub(crate) fn set_deadline(&self, deadline: Instant) -> bool {
        let live = |current| (current != OVER).then_some(nanos(deadline));
        self.0.deadline.fetch_update(Ordering::AcqRel, Ordering::Acquire, live).is_ok()
    }

    /// Ends the hold and cancels the token. The reason follows with [`end`](Self::end).
    pub(crate) fn cancel(&self) {
        self.0.deadline.store(OVER, Ordering::Release);
        self.0.token.cancel();
    }

    /// Ends the hold for this reason, unless it has ended for another one.
    pub(crate) fn end(&self, reason: EndReason) {
        self.0.deadline.store(OVER, Ordering::Release);
        self.0.end.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(reason);
            first
        });
        self.0.token.cancel();
    }
}

/// Never [`OVER`]: a deadline lies at least a second after the origin of the clock.
fn nanos(instant: Instant) -> u64 {
    u64::try_from(instant.since_origin().as_nanos()).unwrap_or(u64::MAX).max(OVER + 1)
}

fn instant(nanos: u64) -> Instant {
    Instant::from_origin(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(clock: &Clock) -> Hold {
        let lease = LeaseName::new("default".into(), "x".into());
        let deadline = clock.now() + Duration::from_secs(10);
        Hold::new(lease, "uid".into(), "me".into(), FencingToken::from(1), clock.clone(), deadline)
    }

    #[tokio::test(start_paused = true)]
    async fn is_held_reads_the_clock_even_if_nothing_has_cancelled_the_token() {
        let clock = Clock::system();
        let hold = hold(&clock);
        let token = hold.token();
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(hold.is_held() && !token.is_cancelled());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!hold.is_held() && token.is_cancelled());
        assert!(
            !hold.set_deadline(clock.now() + Duration::from_secs(10)),
            "a hold that is over is not revived"
        );
        assert!(!hold.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn suspend_counts() {
        let machine = crate::testing::Machine::new();
        let hold = hold(&Clock::of(machine.clone()));
        machine.suspended_for(Duration::from_secs(9));
        assert_eq!(hold.remaining(), Duration::from_secs(1));
        machine.suspended_for(Duration::from_secs(1));
        assert!(!hold.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_reason_is_kept() {
        let hold = hold(&Clock::system());
        let watcher = tokio::spawn({
            let hold = hold.clone();
            async move { hold.ended().await }
        });
        hold.end(LossReason::Deleted.into());
        hold.end(LossReason::TaskEnded.into());
        assert_eq!(watcher.await.unwrap(), EndReason::Lost(LossReason::Deleted));
        assert_eq!(hold.ended().await, EndReason::Lost(LossReason::Deleted));
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_a_handed_out_token_does_not_end_the_hold() {
        let hold = hold(&Clock::system());
        hold.token().cancel();
        assert!(hold.is_held() && !hold.token().is_cancelled());
    }
}

//! The state of one hold, shared by its background task, its guard and everybody who watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::LossReason;
use crate::lease::{FencingToken, LeaseName};
use crate::time::Moment;

/// A view of a held lock: cheap to clone, it neither keeps the lock nor releases it.
///
/// A [`LeaseGuard`](crate::LeaseGuard) dereferences to it. Hand clones of it to the tasks and requests that the
/// lock protects, and keep the guard where the work ends.
#[derive(Debug, Clone)]
pub struct Held(Arc<Hold>);

#[derive(Debug)]
struct Hold {
    lease: LeaseName,
    holder_identity: String,
    fencing_token: FencingToken,
    clock: Clock,
    /// Nanoseconds on `clock`; [`OVER`] from the end of the hold on. Never set back from it.
    deadline: AtomicU64,
    token: CancellationToken,
    reason: watch::Sender<Option<LossReason>>,
}

const OVER: u64 = 0;

impl Held {
    pub(crate) fn new(
        lease: LeaseName,
        holder_identity: String,
        fencing_token: FencingToken,
        clock: Clock,
        deadline: Moment,
    ) -> Self {
        Self(Arc::new(Hold {
            lease,
            holder_identity,
            fencing_token,
            clock,
            deadline: AtomicU64::new(nanos(deadline)),
            token: CancellationToken::new(),
            reason: watch::Sender::new(None),
        }))
    }

    /// A token that fires when the lock is lost or released.
    ///
    /// It fires before anybody else can hold the Lease, from a timer on this machine's own clock, whether or
    /// not the API server can be reached. Cancelling the returned token yourself cancels it and its children
    /// only, not the lock.
    ///
    /// ```
    /// # use kube_lease_lock::Held;
    /// # async fn write_next_page() {}
    /// async fn copy_pages(held: Held) {
    ///     let lost = held.token();
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

    /// Waits until the lock is lost or released, and tells why.
    ///
    /// The reason comes with the firing of the [`token`](Self::token), or soon after it: where the Lease was
    /// deleted, one request later, which asks whether its namespace is gone. So stop work by the token, and ask for
    /// the reason then.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only waits.
    pub async fn lost(&self) -> LossReason {
        let mut reason = self.0.reason.subscribe();
        let lost = reason.wait_for(Option::is_some).await;
        lost.ok().and_then(|reason| reason.clone()).unwrap_or(LossReason::TaskEnded)
    }

    /// Whether the lock is held at this very moment, by this machine's clock.
    ///
    /// It asks nobody and never waits. It is right even where the runtime has been blocked, or the machine
    /// suspended, for so long that the token has had no chance to fire; it then fires the token. After it has
    /// once returned `false` it never returns `true` again.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// For how much longer the lock is held if no further renewal succeeds; zero when it is not held.
    ///
    /// Renewals push this up again, to `renew_deadline` at the most.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        loop {
            let deadline = self.0.deadline.load(Ordering::Acquire);
            if deadline == OVER {
                return Duration::ZERO;
            }
            let left = self.0.clock.now().until(moment(deadline));
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

    /// What the Lease says in `holderIdentity`: the lock's identity and a suffix unique to this acquisition.
    #[must_use]
    pub fn holder_identity(&self) -> &str {
        &self.0.holder_identity
    }

    /// The Lease that is held.
    #[must_use]
    pub fn lease(&self) -> &LeaseName {
        &self.0.lease
    }

    /// Moves the deadline, unless the hold is over.
    pub(crate) fn set_deadline(&self, deadline: Moment) -> bool {
        let live = |current| (current != OVER).then_some(nanos(deadline));
        self.0.deadline.fetch_update(Ordering::AcqRel, Ordering::Acquire, live).is_ok()
    }

    /// Ends the hold, and fires the token.
    pub(crate) fn fire(&self) {
        self.0.deadline.store(OVER, Ordering::Release);
        self.0.token.cancel();
    }

    /// Ends the hold for this reason, unless it has ended for another one.
    pub(crate) fn end(&self, reason: LossReason) {
        self.0.deadline.store(OVER, Ordering::Release);
        self.0.reason.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(reason);
            first
        });
        self.0.token.cancel();
    }
}

/// Never [`OVER`]: a deadline lies at least a second after the origin of the clock.
fn nanos(moment: Moment) -> u64 {
    u64::try_from(moment.since_origin().as_nanos()).unwrap_or(u64::MAX).max(OVER + 1)
}

fn moment(nanos: u64) -> Moment {
    Moment::from_origin(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(clock: &Clock) -> Held {
        let lease = LeaseName::new("default".into(), "x".into());
        let deadline = clock.now() + Duration::from_secs(10);
        Held::new(lease, "me".into(), FencingToken::from(1), clock.clone(), deadline)
    }

    #[tokio::test(start_paused = true)]
    async fn being_held_is_read_from_the_clock_even_if_nobody_fires_the_token() {
        let clock = Clock::system();
        let held = held(&clock);
        let token = held.token();
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(held.is_held() && !token.is_cancelled());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!held.is_held() && token.is_cancelled());
        assert!(!held.set_deadline(clock.now() + Duration::from_secs(10)), "a hold once over is not revived");
        assert!(!held.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn suspend_counts() {
        let machine = crate::testing::Machine::new();
        let held = held(&Clock::of(machine.clone()));
        machine.suspended_for(Duration::from_secs(9));
        assert_eq!(held.remaining(), Duration::from_secs(1));
        machine.suspended_for(Duration::from_secs(1));
        assert!(!held.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_reason_stays() {
        let held = held(&Clock::system());
        let watcher = tokio::spawn({
            let held = held.clone();
            async move { held.lost().await }
        });
        held.end(LossReason::Deleted);
        held.end(LossReason::TaskEnded);
        assert_eq!(watcher.await.unwrap(), LossReason::Deleted);
        assert_eq!(held.lost().await, LossReason::Deleted);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_a_handed_out_token_does_not_end_the_hold() {
        let held = held(&Clock::system());
        held.token().cancel();
        assert!(held.is_held() && !held.token().is_cancelled());
    }
}

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
    /// Nanoseconds: how long after the deadline no other process can hold the Lease, less a second.
    grace: AtomicU64,
    /// Nanoseconds on `clock`: when the work has to be over, once the hold has ended. Zero before.
    stop_by: AtomicU64,
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
        grace: Duration,
    ) -> Self {
        Self(Arc::new(Shared {
            lease,
            lease_uid,
            holder_identity,
            fencing_token,
            clock,
            deadline: AtomicU64::new(nanos(deadline)),
            grace: AtomicU64::new(span_nanos(grace)),
            stop_by: AtomicU64::new(0),
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
                self.stop_at(instant(deadline) + self.grace());
                self.0.token.cancel();
            }
        }
    }

    /// Until when the work under the lock has to be over.
    ///
    /// While the lock is held, and after the deadline of the hold has passed, that is a second before the first moment at which another
    /// process can take over, or the deadline if that comes later. With the default settings it is 3.7 seconds after the token was
    /// cancelled, with a `lease_duration` of 3 seconds none. Each renewal moves it. If the lock was released, or if another client took,
    /// cleared or deleted the Lease, there is no time left: it is the moment at which this process learned of that.
    ///
    /// If somebody edits `leaseDurationSeconds` while this process cannot reach the API server, the takeover can come earlier than this
    /// says. The token is cancelled in time all the same, unless the edit leaves less time than `renew_deadline`.
    ///
    /// Use it to bound what has to be tidied up after the token was cancelled:
    ///
    /// ```
    /// # use kube_lease_lock::Hold;
    /// # async fn work() {}
    /// # async fn delete_temporary_files() {}
    /// async fn work_and_tidy_up(hold: Hold) {
    ///     let lost = hold.token();
    ///     if lost.run_until_cancelled(work()).await.is_none() {
    ///         let _ = tokio::time::timeout_at(hold.stop_by(), delete_temporary_files()).await;
    ///     }
    /// }
    /// ```
    ///
    /// It is computed from the clock of the lock. A machine that was suspended meanwhile has less time than the instant says: ask
    /// again.
    #[must_use]
    pub fn stop_by(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + self.time_to_stop()
    }

    /// How much time is left until the work has to be over.
    pub(crate) fn time_to_stop(&self) -> Duration {
        let left = self.remaining();
        if !left.is_zero() {
            return left.saturating_add(self.grace());
        }
        self.0.clock.now().until(instant(self.0.stop_by.load(Ordering::Acquire)))
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

    /// Why the hold has ended, if it has, and if that is known.
    pub(crate) fn end_reason(&self) -> Option<EndReason> {
        self.0.end.borrow().clone()
    }

    fn grace(&self) -> Duration {
        Duration::from_nanos(self.0.grace.load(Ordering::Acquire))
    }

    /// Moves the deadline, and the time after it in which the work may still stop. Returns `false` if the hold is over.
    pub(crate) fn set_deadline(&self, deadline: Instant, grace: Duration) -> bool {
        self.0.grace.store(span_nanos(grace), Ordering::Release);
        let live = |current| (current != OVER).then_some(nanos(deadline));
        self.0.deadline.fetch_update(Ordering::AcqRel, Ordering::Acquire, live).is_ok()
    }

    /// Ends the hold and cancels the token. The reason follows with [`end`](Self::end). If the hold leaves its record
    /// (`leaves_the_record`), other processes still wait until that has expired.
    pub(crate) fn cancel(&self, leaves_the_record: bool) {
        self.stop(leaves_the_record);
        self.0.token.cancel();
    }

    /// Ends the hold for this reason, unless it has ended for another one.
    pub(crate) fn end(&self, reason: EndReason) {
        self.stop(matches!(&reason, EndReason::Lost(reason) if reason.leaves_the_record()));
        self.0.end.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(reason);
            first
        });
        self.0.token.cancel();
    }

    /// Ends the hold. While its record still stands, the work has some time to stop.
    fn stop(&self, leaves_the_record: bool) {
        let deadline = self.0.deadline.swap(OVER, Ordering::AcqRel);
        if deadline != OVER {
            let stop_by =
                if leaves_the_record { instant(deadline) + self.grace() } else { self.0.clock.now() };
            self.stop_at(stop_by);
        }
    }

    fn stop_at(&self, stop_by: Instant) {
        self.0.stop_by.store(span_nanos(stop_by.since_origin()), Ordering::Release);
    }

    /// The Lease does not show the record of this hold any more. If the hold is over, so is the time to stop.
    pub(crate) fn replaced(&self) {
        if !self.is_held() {
            self.0.stop_by.fetch_min(span_nanos(self.0.clock.now().since_origin()), Ordering::AcqRel);
        }
    }
}

/// Never [`OVER`]: a deadline lies at least a second after the origin of the clock.
fn nanos(instant: Instant) -> u64 {
    span_nanos(instant.since_origin()).max(OVER + 1)
}

fn span_nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
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
        let grace = Duration::from_secs(3);
        Hold::new(lease, "uid".into(), "me".into(), FencingToken::from(1), clock.clone(), deadline, grace)
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
            !hold.set_deadline(clock.now() + Duration::from_secs(10), Duration::ZERO),
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
    async fn the_work_has_time_to_stop_only_while_the_record_still_stands() {
        let clock = Clock::system();
        for (reason, left) in [
            (LossReason::DeadlinePassed { last_failure: None }.into(), 13),
            (LossReason::TaskEnded.into(), 13),
            (LossReason::Deleted.into(), 0),
            (LossReason::Cleared.into(), 0),
            (EndReason::Released, 0),
        ] {
            let hold = hold(&clock);
            assert_eq!(hold.time_to_stop(), Duration::from_secs(13));
            hold.end(reason);
            assert_eq!(hold.time_to_stop(), Duration::from_secs(left));
        }
        let hold = hold(&clock);
        tokio::time::advance(Duration::from_secs(12)).await;
        assert!(!hold.is_held());
        assert_eq!(hold.time_to_stop(), Duration::from_secs(1));
        hold.end(LossReason::Deleted.into());
        assert_eq!(hold.time_to_stop(), Duration::from_secs(1), "it had ended by its deadline");
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_a_handed_out_token_does_not_end_the_hold() {
        let hold = hold(&Clock::system());
        hold.token().cancel();
        assert!(hold.is_held() && !hold.token().is_cancelled());
    }
}

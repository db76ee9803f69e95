//! The background task of an election: it acquires the lock again and again, leads, and publishes whether it leads.

use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::state::ElectionState;
use crate::error::{AcquireError, EndReason, LossReason};
use crate::guard::LeaseGuard;
use crate::hold::Hold;
use crate::log::log;
use crate::protocol::Backoff;

/// The background task of an election.
pub(super) struct ElectionTask {
    state: Arc<ElectionState>,
    channel: watch::Sender<Option<Hold>>,
    leads: watch::Sender<bool>,
    backoff: Backoff,
    /// The pauses after holds that were lost as soon as they had begun, and the end of the last one.
    losses: Backoff,
    paused_until: Option<Instant>,
    rng: fastrand::Rng,
    /// `shutdown` waits for an election that has not ended.
    pending: Option<TaskTrackerToken>,
}

/// How long this process waits after it has stepped down. It is longer than the interval of any process that polls: 2 s in
/// this crate, 4.4 s in client-go with its defaults.
const STEP_DOWN_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause after a refusal, and after a hold that was lost as soon as it had begun.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A hold that is lost earlier is lost for a reason that will probably come again: for example, the Lease is deleted each
/// time.
const SHORT_HOLD: Duration = Duration::from_secs(10);

impl ElectionTask {
    pub(super) fn new(
        state: Arc<ElectionState>,
        channel: watch::Sender<Option<Hold>>,
        leads: watch::Sender<bool>,
    ) -> Self {
        let rng = state.core().fork_rng();
        let pending = Some(state.core().pending());
        let (backoff, losses) = (Backoff::new(MAX_PAUSE), Backoff::new(MAX_PAUSE));
        Self { state, channel, leads, backoff, losses, paused_until: None, rng, pending }
    }

    /// Stands for election until the election is stopped or the lock is shut down.
    pub(super) async fn run(mut self) {
        let stopped = self.state.stopped().clone();
        tokio::select! {
            biased;
            () = stopped.cancelled() => {}
            () = self.stand() => return,
        }
        self.pending = None;
        // The owner that stops the election polls this task too, and may have borrowed the value of the channel. Only the
        // runtime may wait until the channel can be changed.
        tokio::task::yield_now().await;
    }

    async fn stand(&mut self) {
        let core = self.state.core().clone();
        while !self.state.has_ended() {
            match core.acquire_to_lead().await {
                Ok(guard) => {
                    if let Some(hold) = self.begin(guard) {
                        self.lead(hold).await;
                    }
                }
                Err(AcquireError::ShutDown(_)) => return,
                Err(refusal) => self.refused(refusal).await,
            }
        }
    }

    /// Begins to lead. `None` if the election has ended meanwhile.
    fn begin(&mut self, guard: LeaseGuard) -> Option<Hold> {
        self.backoff.succeeded();
        self.state.set_refusal(None);
        let hold = guard.hold().clone();
        self.state.lead(guard).ok().map(|()| hold)
    }

    async fn lead(&mut self, hold: Hold) {
        let (lost, began) = (hold.token(), Instant::now());
        self.channel.send_replace(Some(hold.clone()));
        self.leads.send_replace(true);
        tokio::select! {
            biased;
            () = lost.cancelled() => {}
            () = self.state.core().closing().cancelled() => drop(self.state.end()),
        }
        self.publish_none();
        if self.state.clear() {
            self.cool_down().await;
            self.state.stand_again();
        } else if began.elapsed() < SHORT_HOLD {
            self.lost_early(&hold, began).await;
        }
    }

    /// A hold was lost soon after it began. If that happens once, this process claims the Lease again at once. If the Lease was
    /// deleted, the acquisition itself waits, and sees meanwhile what becomes of the Leases of other candidates.
    async fn lost_early(&mut self, hold: &Hold, began: Instant) {
        let again = self.paused_until.is_some_and(|until| began < until + SHORT_HOLD);
        if !again {
            self.losses.succeeded();
        }
        let pause = self.losses.failed(None, &mut self.rng);
        if again {
            let core = self.state.core().clone();
            let ended = core.closing().run_until_cancelled(hold.ended()).await;
            if ended == Some(EndReason::Lost(LossReason::Deleted)) {
                core.span().in_scope(|| {
                    log!(
                        warn,
                        core.lease(),
                        "the Lease was deleted again as soon as it was acquired; does its owner exist in the same namespace?"
                    );
                });
            } else {
                core.span().in_scope(|| {
                    log!(warn, core.lease(), ?pause, "lost again as soon as it was acquired");
                });
                self.pause(pause).await;
            }
        }
        self.paused_until = Some(Instant::now());
    }

    /// Lets other processes lead: not only until the release is over.
    async fn cool_down(&self) {
        self.state.core().drained().await;
        self.pause(STEP_DOWN_PAUSE).await;
    }

    async fn refused(&mut self, refusal: AcquireError) {
        let pause = self.backoff.failed(None, &mut self.rng);
        let core = self.state.core();
        let known = self.state.refusal();
        if known.is_none_or(|known| discriminant(&known) != discriminant(&refusal)) {
            core.span().in_scope(|| log!(error, core.lease(), error = %refusal, ?pause, "election refused"));
        }
        core.progress().refused();
        self.state.set_refusal(Some(refusal));
        self.pause(pause).await;
    }

    async fn pause(&self, pause: Duration) {
        self.state.core().closing().run_until_cancelled(tokio::time::sleep(pause)).await;
    }

    fn publish_none(&self) {
        self.channel.send_if_modified(|hold| hold.take().is_some());
        self.leads.send_if_modified(std::mem::take);
    }
}

impl Drop for ElectionTask {
    /// However the task ends, in a panic or with its runtime, this process does not go on leading without it.
    fn drop(&mut self) {
        drop(self.state.end());
        self.publish_none();
    }
}

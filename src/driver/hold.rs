//! Keeps a hold: drives a [`HoldState`] with renewals, a watch and timers.
//!
//! Each turn of the loop asks the machine for a step. A request that the step wants is sent, and stays in flight while the
//! loop goes on. Then the loop waits for the first of: a stop request, the deadline, the answer, an event of the watch, or
//! the instant at which the machine or the watcher has something to do. The deadline stands before the answers, so that no
//! answer can delay the cancellation of the token.

use std::time::Duration;

use futures::FutureExt;
use futures::future::Fuse;
use tokio::sync::oneshot;

use super::retry::{InFlight, outcome_of};
use super::session::Session;
use super::stop::StopRequest;
use crate::backoff::Backoff;
use crate::hold::Hold;
use crate::kubernetes::{Failure, WatchEvent};
use crate::protocol::{HoldState, HoldStep, Instant, Loss, Outcome, Snapshot};

/// A watch that was open before the claim has to tell of the claim within this time. If it does not, it is dead.
const CLAIM_EVENT_TIMEOUT: Duration = Duration::from_secs(1);

/// How a hold ended.
pub(super) enum HoldEnd {
    /// It was lost. The last request, if it failed.
    Lost(Loss, Option<Failure>),
    /// A stop was requested. The request is `None` if its sender was dropped without one.
    Stopped(Box<HoldState>, Option<StopRequest>),
}

/// Keeps the hold until it is lost or a stop is requested.
pub(super) async fn keep(
    session: &mut Session,
    state: HoldState,
    hold: Hold,
    stop: &mut oneshot::Receiver<StopRequest>,
) -> HoldEnd {
    HoldDriver::new(session, state, hold).run(stop).await
}

struct HoldDriver<'a> {
    session: &'a mut Session,
    state: HoldState,
    hold: Hold,
    request: InFlight<Outcome>,
    /// The revision of the claim, and the instant by which a watch that was open before has to tell of it.
    claim_event: (u64, Instant),
    backoff: Backoff,
    last_failure: Option<Failure>,
}

impl<'a> HoldDriver<'a> {
    fn new(session: &'a mut Session, state: HoldState, hold: Hold) -> Self {
        let backoff = Backoff::new(session.context.max_pause());
        let claim_event = (state.revision(), session.context.now() + CLAIM_EVENT_TIMEOUT);
        Self { session, state, hold, request: Fuse::terminated(), claim_event, backoff, last_failure: None }
    }

    async fn run(mut self, stop: &mut oneshot::Receiver<StopRequest>) -> HoldEnd {
        loop {
            let now = self.session.context.now();
            let idle_until = match self.state.step(now, self.session.context.clock.wall()) {
                HoldStep::Lost(loss) => return HoldEnd::Lost(loss, self.last_failure),
                HoldStep::Wait(until) => until,
                HoldStep::Read => {
                    let (client, left) = (self.session.context.client.clone(), self.left(now));
                    self.request = async move { client.get(left).await.map(Outcome::Read) }.boxed().fuse();
                    continue;
                }
                HoldStep::Renew(write) => {
                    let (client, left) = (self.session.context.client.clone(), self.left(now));
                    let renewal = async move { client.write(&write, left).await.map(Outcome::Written) };
                    self.request = renewal.boxed().fuse();
                    continue;
                }
            };
            if !self.hold.set_deadline(self.state.deadline()) {
                // The hold is over already: the guard was dropped, or a reader of the clock saw that the deadline had passed.
                return match stop.try_recv() {
                    Ok(request) => HoldEnd::Stopped(Box::new(self.state), Some(request)),
                    Err(_) => HoldEnd::Lost(Loss::Deadline, self.last_failure),
                };
            }
            let wake = self.tend_watch(now, idle_until);
            let Session { context, memory } = &mut *self.session;
            tokio::select! {
                biased;
                request = &mut *stop => return HoldEnd::Stopped(Box::new(self.state), request.ok()),
                () = context.clock.sleep_until(self.state.deadline()) => {}
                answer = &mut self.request => self.answered(answer),
                event = memory.watcher.next() => self.watched(event),
                () = context.clock.sleep_until(wake) => {}
            }
        }
    }

    fn left(&self, now: Instant) -> Duration {
        now.until(self.state.deadline())
    }

    /// Keeps the watch open, and refutes it if it has not told of the claim in time. Returns when to look again, at
    /// `idle_until` at the latest.
    fn tend_watch(&mut self, now: Instant, idle_until: Instant) -> Instant {
        let watcher = &mut self.session.memory.watcher;
        let (claim, claim_event_due) = self.claim_event;
        if !watcher.has_seen(claim) && claim_event_due <= now {
            watcher.refute();
        }
        watcher.ensure_open(self.state.revision());
        match watcher.is_open() {
            true if watcher.has_seen(claim) => idle_until,
            true => idle_until.min(claim_event_due),
            false => idle_until.min(watcher.retry_at()),
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Failure>) {
        let now = self.session.context.now();
        let outcome = match answer {
            Ok(outcome) => {
                if let Outcome::Written(snapshot) = &outcome {
                    self.renewed(snapshot);
                }
                outcome
            }
            Err(failure) => {
                let left = self.left(now);
                let outcome = outcome_of(&failure, left, &mut self.backoff, &mut self.session.context.rng);
                if matches!(failure, Failure::Conflict(_)) {
                    tracing::debug!(error = %failure.error(), "the Lease has changed since the last renewal");
                } else {
                    tracing::warn!(error = %failure.error(), ?left, "renewal failed");
                }
                self.last_failure = Some(failure);
                outcome
            }
        };
        self.state.answered(outcome, now);
    }

    fn renewed(&mut self, snapshot: &Snapshot) {
        tracing::debug!(resource_version = snapshot.version.revision, "renewed");
        self.backoff.succeeded();
        self.last_failure = None;
        // A watch that has not told of one renewal by the time of the next is dead.
        if !self.session.memory.watcher.has_seen(self.state.revision()) {
            self.session.memory.watcher.refute();
        }
    }

    fn watched(&mut self, event: WatchEvent) {
        let now = self.session.context.now();
        match event {
            WatchEvent::Changed(snapshot) => {
                self.state.watched(snapshot, now);
            }
            WatchEvent::Deleted(revision) => {
                self.state.watched_deletion(revision, now);
            }
            WatchEvent::Broken(_) | WatchEvent::Forbidden(_) => {}
        }
    }
}

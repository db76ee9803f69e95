//! Keeps a hold: drives a [`HoldState`] with renewals, a watch and a timer.
//!
//! The loop asks the machine for a step and carries it out. A request stays in flight while the loop goes on. Then the loop
//! waits for the first of: a stop request, the instant at which the machine has something to do (the deadline at the
//! latest), the answer, or an event of the watch. The timer stands before the answers, so that no answer can delay the
//! cancellation of the token.

use std::time::Duration;

use futures::FutureExt;
use futures::future::Fuse;
use tokio::sync::oneshot;

use super::outcome::{InFlight, note, outcome_of};
use super::session::Session;
use super::stop::StopRequest;
use crate::clock::Clock;
use crate::hold::Hold;
use crate::kubernetes::Failure;
use crate::log::log;
use crate::protocol::{HoldState, HoldStep, Instant, Loss, Outcome, WatchEvent};

/// How a hold ended.
pub(super) enum HoldEnd {
    /// It was lost. The last request, if it failed. How long after the deadline this process has noticed it.
    Lost(Loss, Option<Failure>, Duration),
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
    let driver = HoldDriver { session, state, hold, request: Fuse::terminated(), last_failure: None };
    driver.run(stop).await
}

struct HoldDriver<'a> {
    session: &'a mut Session,
    state: HoldState,
    hold: Hold,
    request: InFlight,
    last_failure: Option<Failure>,
}

impl HoldDriver<'_> {
    async fn run(mut self, stop: &mut oneshot::Receiver<StopRequest>) -> HoldEnd {
        loop {
            let client = self.session.context.client.clone();
            let now = self.session.context.now();
            let left = self.left(now);
            let until = match self.step(now) {
                HoldStep::Wait(until) => until,
                HoldStep::Lost(loss) => {
                    // On a busy machine, a request fails at the same moment.
                    if let Some(Err(failure)) = (&mut self.request).now_or_never() {
                        self.last_failure = Some(failure);
                    }
                    return HoldEnd::Lost(loss, self.last_failure, self.state.deadline().until(now));
                }
                HoldStep::Read => {
                    self.request = async move { client.get(left).await.map(Outcome::Read) }.boxed().fuse();
                    continue;
                }
                HoldStep::Renew(write) => {
                    // After a suspend, the deadline may have passed before the runtime knows that time has.
                    let hold = self.hold.clone();
                    let renewal = async move {
                        let written = client.write_while(&write, left, &|| hold.is_held()).await;
                        written.map(Outcome::Written)
                    };
                    self.request = renewal.boxed().fuse();
                    continue;
                }
                HoldStep::OpenWatch(revision) => {
                    self.session.exclusive.watcher.open(revision);
                    continue;
                }
                HoldStep::CloseWatch => {
                    self.session.exclusive.watcher.close();
                    continue;
                }
            };
            if !self.hold.set_deadline(self.state.deadline(), self.state.grace()) {
                // The hold is over already: the guard was dropped, or a reader of the clock saw that the deadline had passed.
                return match stop.try_recv() {
                    Ok(request) => HoldEnd::Stopped(Box::new(self.state), Some(request)),
                    Err(_) => {
                        HoldEnd::Lost(Loss::Deadline, self.last_failure, self.state.deadline().until(now))
                    }
                };
            }
            let Session { context, exclusive } = &mut *self.session;
            tokio::select! {
                biased;
                request = &mut *stop => return HoldEnd::Stopped(Box::new(self.state), request.ok()),
                () = context.clock.sleep_until(until) => {}
                answer = &mut self.request => self.answered(answer),
                event = exclusive.watcher.next() => self.watched(event),
            }
        }
    }

    fn step(&mut self, now: Instant) -> HoldStep {
        let Session { context, exclusive } = &mut *self.session;
        self.state.step(&mut exclusive.memory, now, context.clock.wall(), &mut context.rng)
    }

    /// The time that a request has. A request without an answer fails shortly before the deadline, so that the loss can name
    /// it.
    fn left(&self, now: Instant) -> Duration {
        now.until(self.state.deadline()).saturating_sub(Clock::GRANULARITY)
    }

    fn answered(&mut self, answer: Result<Outcome, Failure>) {
        let now = self.session.context.now();
        let left = self.left(now);
        let lease = self.session.context.client.lease();
        note(&self.session.context.progress, &answer);
        let outcome = match answer {
            Ok(outcome) => {
                if let Outcome::Written(snapshot) = &outcome {
                    log!(debug, lease, resource_version = snapshot.version.revision, "renewed");
                    self.last_failure = None;
                }
                outcome
            }
            Err(failure) => {
                if matches!(failure, Failure::Conflict(_)) {
                    log!(debug, lease, error = %failure.error(), "the Lease has changed since the last renewal");
                } else {
                    log!(warn, lease, error = %failure.error(), ?left, "renewal failed");
                }
                let outcome = outcome_of(&failure, &self.session.context.client);
                self.last_failure = Some(failure);
                outcome
            }
        };
        let Session { context, exclusive } = &mut *self.session;
        self.state.answered(outcome, &mut exclusive.memory, now, &mut context.rng);
    }

    fn watched(&mut self, event: WatchEvent) {
        let Session { context, exclusive } = &mut *self.session;
        self.state.watched(event, &mut exclusive.memory, context.now(), &mut context.rng);
    }
}

//! Observes a Lease: drives an [`ObserveState`] with reads, a watch and a timer, and reports who holds the Lease.
//!
//! The loop asks the machine for a step and carries it out. A read stays in flight while the loop goes on.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::Fuse;

use super::outcome::{InFlight, outcome_of};
use super::watcher::Watcher;
use crate::clock::Clock;
use crate::kubernetes::{Failure, LeaseClient};
use crate::log::log;
use crate::protocol::{Instant, Observation, ObserveState, ObserveStep, Outcome};

/// Observes one Lease, until it is dropped.
pub(crate) struct Observe<R> {
    client: Arc<LeaseClient>,
    clock: Clock,
    rng: fastrand::Rng,
    state: ObserveState,
    watcher: Watcher,
    read: InFlight,
    last_failure: Option<Failure>,
    report: R,
}

/// Takes who holds the Lease, and the failure of the last read if that is not known.
pub(crate) trait Report {
    fn report(&mut self, observation: Observation<'_>, failure: Option<&Failure>);
}

impl<R: Report> Observe<R> {
    pub(crate) fn new(
        client: Arc<LeaseClient>,
        clock: Clock,
        rng: fastrand::Rng,
        state: ObserveState,
        report: R,
    ) -> Self {
        let watcher = Watcher::new(client.clone());
        Self { client, clock, rng, state, watcher, read: Fuse::terminated(), last_failure: None, report }
    }

    pub(crate) async fn run(mut self) {
        loop {
            match self.state.step(self.clock.now(), &mut self.rng) {
                ObserveStep::Read => {
                    let client = self.client.clone();
                    self.read =
                        async move { client.get(Duration::MAX).await.map(Outcome::Read) }.boxed().fuse();
                }
                ObserveStep::OpenWatch(revision) => self.watcher.open(revision),
                ObserveStep::CloseWatch => self.watcher.close(),
                ObserveStep::Wait(until) => self.wait(until).await,
            }
        }
    }

    /// Waits for the first of: an event of the watch, the outcome of a read, and `until`.
    async fn wait(&mut self, until: Instant) {
        // Events that are there already come first: the holders in them may have gone.
        if let Some(event) = self.watcher.ready() {
            return self.state.watched(event, self.clock.now(), self.clock.wall(), &mut self.rng);
        }
        self.report.report(self.state.observation(), self.last_failure.as_ref());
        tokio::select! {
            biased;
            event = self.watcher.next() => {
                self.state.watched(event, self.clock.now(), self.clock.wall(), &mut self.rng);
            }
            answer = &mut self.read => self.answered(answer),
            () = self.clock.sleep_through_suspension_until(until) => {}
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Failure>) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let had_failed = self.state.has_failed();
        let outcome = match &answer {
            Ok(outcome) => outcome.clone(),
            Err(failure) => outcome_of(failure, &self.client),
        };
        self.state.answered(outcome, now, wall, &mut self.rng);
        self.last_failure = answer.err();
        if let Some(failure) = &self.last_failure {
            let (error, pause) = (failure.error(), now.until(self.state.not_before()));
            // The first one tells all that there is to know.
            if had_failed {
                log!(debug, self.client.lease(), %error, ?pause, "request failed again");
            } else {
                log!(warn, self.client.lease(), %error, ?pause, "request failed");
            }
        }
    }
}

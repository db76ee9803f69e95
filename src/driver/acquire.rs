//! Acquires the Lease: drives an [`AcquireState`] with requests, a watch and a timer until the claim is won.
//!
//! The loop asks the machine for a step and carries it out. A read and a claim end before the next step. A join stays in
//! flight while the loop goes on.

use std::time::Duration;

use futures::FutureExt;
use futures::future::Fuse;

use super::exclusive::Exclusive;
use super::outcome::{InFlight, note, outcome_of};
use super::session::Session;
use crate::error::{AcquireError, RequestError};
use crate::kubernetes::Failure;
use crate::lease::LeaseHolder;
use crate::log::log;
use crate::protocol::{
    AcquireState, AcquireStep, Claim, DoneKey, DoneKeys, GiveUp, Instant, Mode, Outcome, WatchEvent,
};

/// Why the Lease was not acquired.
#[derive(Debug)]
pub(crate) enum NotAcquired {
    /// It is held, and the mode is [`Mode::Try`].
    Held(Option<Box<LeaseHolder>>),
    /// A request failed, and the mode is [`Mode::Try`].
    Failed(RequestError),
    /// The work of the key is done.
    AlreadyDone(DoneKey),
    /// The annotation with the keys that are done cannot be read.
    DoneUnreadable(String),
    /// An error that waiting would not change.
    Fatal(AcquireError),
}

impl From<AcquireError> for NotAcquired {
    fn from(error: AcquireError) -> Self {
        NotAcquired::Fatal(error)
    }
}

/// While every request fails, one warning comes in this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Acquires the Lease. If the future is dropped, `state` knows what may be in flight.
pub(super) async fn acquire(
    session: &mut Session,
    state: &mut AcquireState,
    mode: Mode,
) -> Result<Claim, NotAcquired> {
    let joining = Fuse::terminated();
    let mut driver = AcquireDriver {
        session,
        state,
        mode,
        joining,
        last_failure: None,
        warned: None,
        published_holder: None,
    };
    driver.run().await
}

struct AcquireDriver<'a> {
    session: &'a mut Session,
    state: &'a mut AcquireState,
    mode: Mode,
    /// The write that joins the queue, while it is in flight.
    joining: InFlight,
    last_failure: Option<Failure>,
    /// When the last warning about a failed request was logged, if no request has succeeded since.
    warned: Option<Instant>,
    published_holder: Option<String>,
}

impl AcquireDriver<'_> {
    async fn run(&mut self) -> Result<Claim, NotAcquired> {
        loop {
            match self.step() {
                AcquireStep::Read => {
                    let answer = self.session.context.client.get(Duration::MAX).await;
                    self.answered(answer.map(Outcome::Read));
                }
                AcquireStep::Claim(write) => {
                    let answer = self.session.context.client.write(&write, Duration::MAX).await;
                    self.answered(answer.map(Outcome::Written));
                }
                AcquireStep::Join(join) => {
                    let client = self.session.context.client.clone();
                    self.joining =
                        async move { client.join(&join).await.map(Outcome::Written) }.boxed().fuse();
                }
                AcquireStep::Probe => {
                    let client = self.session.context.client.clone();
                    self.joining =
                        async move { client.probe().await.map(Some).map(Outcome::Read) }.boxed().fuse();
                }
                AcquireStep::OpenWatch(revision) => self.session.exclusive.watcher.open(revision),
                AcquireStep::CloseWatch => self.session.exclusive.watcher.close(),
                AcquireStep::Wait(until) => self.wait(until).await,
                AcquireStep::Won(claim) => return Ok(claim),
                AcquireStep::GiveUp(reason) => return Err(self.not_acquired(reason)),
            }
        }
    }

    fn step(&mut self) -> AcquireStep {
        let Session { context, exclusive } = &mut *self.session;
        self.state.step(&mut exclusive.memory, context.now(), context.clock.wall(), &mut context.rng)
    }

    /// Waits for the first of: an event of the watch, the outcome of a join, and `until`.
    async fn wait(&mut self, until: Instant) {
        // Events that are there already come first: the holders in them may have gone.
        if let Some(event) = self.session.exclusive.watcher.ready() {
            return self.watched(event);
        }
        self.publish_holder();
        let Session { context, exclusive } = &mut *self.session;
        tokio::select! {
            biased;
            event = exclusive.watcher.next() => self.watched(event),
            outcome = &mut self.joining => self.joined(outcome),
            () = context.clock.sleep_through_suspension_until(until) => {}
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Failure>) {
        let Session { context, exclusive } = &mut *self.session;
        note(&context.progress, &answer);
        let Exclusive { memory, .. } = &mut **exclusive;
        let (now, wall) = (context.now(), context.clock.wall());
        let failure = match answer {
            Ok(outcome) => {
                self.warned = None;
                return self.state.answered(outcome, memory, now, wall, &mut context.rng);
            }
            Err(failure) => failure,
        };
        let outcome = outcome_of(&failure, &context.client);
        self.state.answered(outcome, memory, now, wall, &mut context.rng);
        let (error, pause) = (failure.error(), now.until(self.state.not_before()));
        let lease = context.client.lease();
        match &failure {
            Failure::Conflict(_) => log!(debug, lease, %error, "the Lease has changed since it was read"),
            Failure::Unknown { .. } if self.mode == Mode::Wait => {
                if self.warned.is_none_or(|warned| warned + WARNING_INTERVAL <= now) {
                    log!(warn, lease, %error, ?pause, "request failed");
                    self.warned = Some(now);
                } else {
                    log!(debug, lease, %error, ?pause, "request failed again");
                }
                context.progress.failed(error.clone(), context.now());
            }
            // The caller gets the error.
            Failure::Unknown { .. } | Failure::Denied(_) => {}
        }
        self.last_failure = Some(failure);
    }

    fn joined(&mut self, answer: Result<Outcome, Failure>) {
        let Session { context, exclusive } = &mut *self.session;
        note(&context.progress, &answer);
        if answer.is_ok() {
            context.progress.accepted();
        }
        let outcome = answer.unwrap_or_else(|failure| {
            log!(debug, context.client.lease(), error = %failure.error(), "not in the queue");
            let outcome = outcome_of(&failure, &context.client);
            if matches!(failure, Failure::Denied(_)) {
                self.last_failure = Some(failure);
            }
            outcome
        });
        self.state.joined(outcome, &mut exclusive.memory, context.now(), context.clock.wall());
    }

    fn watched(&mut self, event: WatchEvent) {
        let Session { context, exclusive } = &mut *self.session;
        let (now, wall) = (context.now(), context.clock.wall());
        self.state.watched(event, &mut exclusive.memory, now, wall, &mut context.rng);
    }

    /// Tells callers and the log who holds the Lease.
    fn publish_holder(&mut self) {
        if !self.state.is_known() {
            return;
        }
        let holder = self.state.foreign_holder().and_then(LeaseHolder::of);
        let identity = holder.as_ref().map(|holder| holder.identity.clone());
        if identity != self.published_holder {
            if let (Some(holder), Mode::Wait) = (&identity, self.mode) {
                let Session { context, exclusive } = &*self.session;
                // If nothing is heard of the holder until then.
                let free_in = self.state.free_at().map(|at| tracing::field::debug(context.now().until(at)));
                // As in the annotations of the Lease.
                let ticket = format_args!("{:08x}", exclusive.memory.queueing.number());
                log!(info, context.client.lease(), holder, free_in, %ticket, "waiting");
            }
            self.published_holder = identity;
        }
        self.session.context.progress.observed(holder, self.session.context.now());
    }

    fn not_acquired(&mut self, reason: GiveUp) -> NotAcquired {
        let lease = self.session.context.client.lease().clone();
        if let (GiveUp::AlreadyDone, Some(done)) = (reason, self.state.done()) {
            return NotAcquired::AlreadyDone(done.clone());
        }
        if let (GiveUp::DoneUnreadable, Some(DoneKeys::Unreadable(text))) = (reason, self.state.done_keys()) {
            return NotAcquired::DoneUnreadable(text.to_string());
        }
        match (reason, self.last_failure.take()) {
            (GiveUp::Held, _) => {
                NotAcquired::Held(self.state.foreign_holder().and_then(LeaseHolder::of).map(Box::new))
            }
            (GiveUp::LeaseMissing, _) => AcquireError::LeaseMissing(lease).into(),
            (GiveUp::LeaseExists, _) => AcquireError::LeaseExists(lease).into(),
            (GiveUp::Coordinated, _) => {
                let strategy = self.state.strategy().unwrap_or_default().to_owned();
                AcquireError::Coordinated { lease, strategy }.into()
            }
            (GiveUp::Denied, Some(Failure::Denied(denial))) => NotAcquired::Fatal(denial.into()),
            (GiveUp::NotAccepted { waited }, Some(failure)) => {
                let last = failure.error();
                let unreachable = || AcquireError::Unreachable { waited, last: last.clone() };
                AcquireError::of_refusal(last).unwrap_or_else(unreachable).into()
            }
            (GiveUp::Failed, Some(failure)) => NotAcquired::Failed(failure.error().clone()),
            // Each of these follows a failure, or is told above.
            (
                GiveUp::Denied
                | GiveUp::NotAccepted { .. }
                | GiveUp::Failed
                | GiveUp::AlreadyDone
                | GiveUp::DoneUnreadable,
                _,
            ) => AcquireError::TaskEnded(lease).into(),
        }
    }
}

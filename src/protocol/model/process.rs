//! One contender, which runs the shipped state machines one after the other.

use super::{
    AcquireState, AcquireStep, Carryover, ExpiryTracker, Flaw, HoldState, HoldStep, Instant, Outcome,
    ReleaseOutcome, ReleaseState, ReleaseStep, Setup, Snapshot, Ticket, WallTime, Write,
};

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Process {
    number: usize,
    /// The number of acquisitions so far. Each acquisition has a holder identity of its own.
    acquisitions: usize,
    expiry: ExpiryTracker,
    pub state: State,
    /// Whether the process waits for an answer.
    pub waiting: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    Acquiring(AcquireState),
    Holding(HoldState),
    Releasing(ReleaseState),
    /// With the carryover of the last hold.
    Over(Carryover),
}

/// An action that the process takes by itself.
pub(super) enum Action {
    /// It sends this write, or a read.
    Send(Option<Write>),
    /// It has acquired the Lease, with this fencing token.
    Granted(u64),
    /// Its release has ended: it no longer waits for the answers to its requests.
    Ended,
    Waits,
}

impl Process {
    pub(super) fn new(number: usize, setup: &Setup) -> Self {
        let expiry = ExpiryTracker::new(setup.timings().lease_duration, None);
        let mut process =
            Self { number, acquisitions: 0, expiry, state: State::Over(Carryover::Unknown), waiting: false };
        process.acquire(setup);
        process
    }

    /// The holder identity, unique to each acquisition.
    pub(super) fn identity(&self) -> String {
        format!("p{}.{}", self.number, self.acquisitions)
    }

    pub(super) fn act(&mut self, setup: &Setup, now: Instant, wall: WallTime) -> Action {
        let act = match &mut self.state {
            State::Acquiring(acquire) => match acquire.step(now, wall) {
                AcquireStep::Read => Action::Send(None),
                AcquireStep::Claim(write) => Action::Send(Some(write)),
                AcquireStep::Won(mut claim) => {
                    if setup.flaw == Some(Flaw::StampedAtAnswer) {
                        claim.sent = now;
                    }
                    let token = claim.snapshot.version.revision;
                    let first_renewal = claim.sent + setup.timings().renew_interval / 2;
                    let hold = HoldState::new(self.identity(), setup.timings(), claim.sent, claim.snapshot)
                        .renewing_from(first_renewal);
                    self.state = State::Holding(hold);
                    Action::Granted(token)
                }
                AcquireStep::Wait(_) | AcquireStep::Pause(_) => Action::Waits,
            },
            State::Holding(hold) => match hold.step(now, wall) {
                HoldStep::Read => Action::Send(None),
                HoldStep::Renew(write) => Action::Send(Some(write)),
                HoldStep::Lost(_) => self.end(Carryover::Unknown),
                HoldStep::Wait(_) => Action::Waits,
            },
            State::Releasing(release) => match release.step(now, wall) {
                ReleaseStep::Read => Action::Send(None),
                ReleaseStep::Write(write) => Action::Send(Some(write)),
                ReleaseStep::End(ReleaseOutcome::Done(Some(left))) => self.end(Carryover::Free(left)),
                ReleaseStep::End(_) => self.end(Carryover::Unknown),
                ReleaseStep::Wait(_) => Action::Waits,
            },
            State::Over(_) => Action::Waits,
        };
        self.waiting |= matches!(act, Action::Send(_));
        act
    }

    fn end(&mut self, carryover: Carryover) -> Action {
        (self.state, self.waiting) = (State::Over(carryover), false);
        Action::Ended
    }

    /// Acquires again.
    pub(super) fn acquire(&mut self, setup: &Setup) {
        let carryover = match &mut self.state {
            State::Over(carryover) => std::mem::take(carryover),
            _ => Carryover::Unknown,
        };
        self.acquisitions += 1;
        let ticket = Ticket(self.number as u64);
        self.state = State::Acquiring(AcquireState::new(self.identity(), ticket, setup.timings(), carryover));
    }

    /// Hands its hold off to its next acquisition.
    pub(super) fn hand_off(&mut self, setup: &Setup, now: Instant) {
        self.waiting = false;
        self.state = match std::mem::replace(&mut self.state, State::Over(Carryover::Unknown)) {
            State::Holding(hold) if hold.may_hand_off(now) => State::Over(hold.hand_off()),
            State::Holding(hold) => State::Releasing(hold.release()),
            other => other,
        };
        if matches!(self.state, State::Over(_)) {
            self.acquire(setup);
        }
    }

    /// Gives up the acquisition, or releases the hold.
    pub(super) fn stop(&mut self, now: Instant) {
        self.waiting = false;
        self.state = match std::mem::replace(&mut self.state, State::Over(Carryover::Unknown)) {
            State::Acquiring(acquire) => {
                acquire.withdraw(now).map_or(State::Over(Carryover::Unknown), State::Releasing)
            }
            State::Holding(hold) => State::Releasing(hold.release()),
            other => other,
        };
    }

    pub(super) fn answered(&mut self, answer: Outcome, now: Instant, wall: WallTime) {
        self.waiting = false;
        match &mut self.state {
            State::Acquiring(acquire) => acquire.answered(answer, &mut self.expiry, now, wall),
            State::Holding(hold) => hold.answered(answer, now),
            State::Releasing(release) => release.answered(answer, now),
            State::Over(_) => {}
        }
    }

    pub(super) fn watched(&mut self, revision: u64, seen: Option<Snapshot>, now: Instant, wall: WallTime) {
        match (&mut self.state, seen) {
            (State::Acquiring(acquire), seen) => {
                acquire.watched(revision, seen, &mut self.expiry, now, wall);
            }
            (State::Holding(hold), Some(seen)) => hold.watched(seen, now),
            (State::Holding(hold), None) => hold.watched_deletion(revision, now),
            _ => {}
        }
    }

    /// The instant until which the process believes that it holds the Lease.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Holding(hold) => Some(hold.deadline()),
            _ => None,
        }
    }
}

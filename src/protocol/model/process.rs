//! One contender: the shipped state machines, one after the other.

use super::{
    AcquireState, AcquireStep, Carryover, ExpiryTracker, Flaw, HoldState, HoldStep, Instant, Outcome,
    ReleaseOutcome, ReleaseState, ReleaseStep, Setup, Snapshot, Ticket, WallTime, Write,
};

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Process {
    number: usize,
    /// How often it has acquired before: each acquisition has a holder identity of its own.
    turn: usize,
    expiry: ExpiryTracker,
    pub state: State,
    /// Whether it waits for an answer.
    pub waiting: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    Contending(AcquireState),
    Holding(HoldState),
    Releasing(ReleaseState),
    /// With what its last hold left.
    Over(Carryover),
}

/// What it does by itself.
pub(super) enum Act {
    /// Sends this write, or reads.
    Send(Option<Write>),
    /// Has got the Lease, with this fencing token.
    Granted(u64),
    /// Forgets what it has sent.
    Ended,
    Waits,
}

impl Process {
    pub(super) fn new(number: usize, setup: &Setup) -> Self {
        let expiry = ExpiryTracker::new(setup.timings().lease_duration, None);
        let mut process =
            Self { number, turn: 0, expiry, state: State::Over(Carryover::Unknown), waiting: false };
        process.contend(setup);
        process
    }

    /// Unique to each of its acquisitions.
    pub(super) fn identity(&self) -> String {
        format!("p{}.{}", self.number, self.turn)
    }

    pub(super) fn act(&mut self, setup: &Setup, now: Instant, wall: WallTime) -> Act {
        let act = match &mut self.state {
            State::Contending(contention) => match contention.step(now, wall) {
                AcquireStep::Read => Act::Send(None),
                AcquireStep::Claim(write) => Act::Send(Some(write)),
                AcquireStep::Won(mut claim) => {
                    if setup.flaw == Some(Flaw::StampedAtAnswer) {
                        claim.sent = now;
                    }
                    let token = claim.snapshot.version.revision;
                    let first_renewal = claim.sent + setup.timings().renew_interval / 2;
                    let holder = HoldState::new(self.identity(), setup.timings(), claim.sent, claim.snapshot)
                        .renewing_from(first_renewal);
                    self.state = State::Holding(holder);
                    Act::Granted(token)
                }
                AcquireStep::Wait(_) | AcquireStep::Pause(_) => Act::Waits,
            },
            State::Holding(holder) => match holder.step(now, wall) {
                HoldStep::Read => Act::Send(None),
                HoldStep::Renew(write) => Act::Send(Some(write)),
                HoldStep::Lost(_) => self.end(Carryover::Unknown),
                HoldStep::Wait(_) => Act::Waits,
            },
            State::Releasing(release) => match release.step(now, wall) {
                ReleaseStep::Read => Act::Send(None),
                ReleaseStep::Write(write) => Act::Send(Some(write)),
                ReleaseStep::End(ReleaseOutcome::Done(Some(left))) => self.end(Carryover::Free(left)),
                ReleaseStep::End(_) => self.end(Carryover::Unknown),
                ReleaseStep::Wait(_) => Act::Waits,
            },
            State::Over(_) => Act::Waits,
        };
        self.waiting |= matches!(act, Act::Send(_));
        act
    }

    fn end(&mut self, left: Carryover) -> Act {
        (self.state, self.waiting) = (State::Over(left), false);
        Act::Ended
    }

    /// Acquires once more.
    pub(super) fn contend(&mut self, setup: &Setup) {
        let left = match &mut self.state {
            State::Over(left) => std::mem::take(left),
            _ => Carryover::Unknown,
        };
        self.turn += 1;
        let ticket = Ticket(self.number as u64);
        self.state = State::Contending(AcquireState::new(self.identity(), ticket, setup.timings(), left));
    }

    /// Hands what it holds on to its next acquisition.
    pub(super) fn pass(&mut self, setup: &Setup, now: Instant) {
        self.waiting = false;
        self.state = match std::mem::replace(&mut self.state, State::Over(Carryover::Unknown)) {
            State::Holding(holder) if holder.may_hand_off(now) => State::Over(holder.hand_off()),
            State::Holding(holder) => State::Releasing(holder.release()),
            other => other,
        };
        if matches!(self.state, State::Over(_)) {
            self.contend(setup);
        }
    }

    /// Gives up acquiring, or gives back what it holds.
    pub(super) fn stop(&mut self, now: Instant) {
        self.waiting = false;
        self.state = match std::mem::replace(&mut self.state, State::Over(Carryover::Unknown)) {
            State::Contending(contention) => {
                contention.withdraw(now).map_or(State::Over(Carryover::Unknown), State::Releasing)
            }
            State::Holding(holder) => State::Releasing(holder.release()),
            other => other,
        };
    }

    pub(super) fn answered(&mut self, answer: Outcome, now: Instant, wall: WallTime) {
        self.waiting = false;
        match &mut self.state {
            State::Contending(contention) => contention.answered(answer, &mut self.expiry, now, wall),
            State::Holding(holder) => holder.answered(answer, now),
            State::Releasing(release) => release.answered(answer, now),
            State::Over(_) => {}
        }
    }

    pub(super) fn told(&mut self, revision: u64, seen: Option<Snapshot>, now: Instant, wall: WallTime) {
        match (&mut self.state, seen) {
            (State::Contending(contention), seen) => {
                contention.watched(revision, seen, &mut self.expiry, now, wall);
            }
            (State::Holding(holder), Some(seen)) => holder.watched(seen, now),
            (State::Holding(holder), None) => holder.watched_deletion(revision, now),
            _ => {}
        }
    }

    /// Up to when it believes to hold the Lease.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Holding(holder) => Some(holder.deadline()),
            _ => None,
        }
    }
}

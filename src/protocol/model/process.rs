//! One contender: the shipped state machines, one after the other.

use super::{
    Answer, Contention, ContentionStep, Flaw, Holder, Judge, Left, Moment, Release, ReleaseStep, Released,
    Setup, Snapshot, Stamp, Step, Ticket, Write,
};

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Process {
    number: usize,
    /// How often it has acquired before: each acquisition has a holder identity of its own.
    turn: usize,
    judge: Judge,
    pub state: State,
    /// Whether it waits for an answer.
    pub waiting: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    Contending(Contention),
    Holding(Holder),
    Releasing(Release),
    /// With what its last hold left.
    Over(Left),
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
        let judge = Judge::new(setup.terms().lease_duration, None);
        let mut process = Self { number, turn: 0, judge, state: State::Over(Left::Unknown), waiting: false };
        process.contend(setup);
        process
    }

    /// Unique to each of its acquisitions.
    pub(super) fn identity(&self) -> String {
        format!("p{}.{}", self.number, self.turn)
    }

    pub(super) fn act(&mut self, setup: &Setup, now: Moment, wall: Stamp) -> Act {
        let act = match &mut self.state {
            State::Contending(contention) => match contention.step(now, wall) {
                ContentionStep::Look => Act::Send(None),
                ContentionStep::Claim(write) => Act::Send(Some(write)),
                ContentionStep::Won(mut claim) => {
                    if setup.flaw == Some(Flaw::StampedAtAnswer) {
                        claim.sent = now;
                    }
                    let token = claim.snapshot.version.revision;
                    let first_renewal = claim.sent + setup.terms().renew_interval / 2;
                    let holder = Holder::new(self.identity(), setup.terms(), claim.sent, claim.snapshot)
                        .renewing_from(first_renewal);
                    self.state = State::Holding(holder);
                    Act::Granted(token)
                }
                ContentionStep::Wait(_) | ContentionStep::Pause(_) => Act::Waits,
            },
            State::Holding(holder) => match holder.step(now, wall) {
                Step::Look => Act::Send(None),
                Step::Renew(write) => Act::Send(Some(write)),
                Step::Lost(_) => self.end(Left::Unknown),
                Step::Wait(_) => Act::Waits,
            },
            State::Releasing(release) => match release.step(now, wall) {
                ReleaseStep::Look => Act::Send(None),
                ReleaseStep::Write(write) => Act::Send(Some(write)),
                ReleaseStep::End(Released::Done(Some(left))) => self.end(Left::Free(left)),
                ReleaseStep::End(_) => self.end(Left::Unknown),
                ReleaseStep::Wait(_) => Act::Waits,
            },
            State::Over(_) => Act::Waits,
        };
        self.waiting |= matches!(act, Act::Send(_));
        act
    }

    fn end(&mut self, left: Left) -> Act {
        (self.state, self.waiting) = (State::Over(left), false);
        Act::Ended
    }

    /// Acquires once more.
    pub(super) fn contend(&mut self, setup: &Setup) {
        let left = match &mut self.state {
            State::Over(left) => std::mem::take(left),
            _ => Left::Unknown,
        };
        self.turn += 1;
        let ticket = Ticket(self.number as u64);
        self.state = State::Contending(Contention::new(self.identity(), ticket, setup.terms(), left));
    }

    /// Hands what it holds on to its next acquisition.
    pub(super) fn pass(&mut self, setup: &Setup, now: Moment) {
        self.waiting = false;
        self.state = match std::mem::replace(&mut self.state, State::Over(Left::Unknown)) {
            State::Holding(holder) if holder.may_pass(now) => State::Over(holder.pass()),
            State::Holding(holder) => State::Releasing(holder.release()),
            other => other,
        };
        if matches!(self.state, State::Over(_)) {
            self.contend(setup);
        }
    }

    /// Gives up acquiring, or gives back what it holds.
    pub(super) fn stop(&mut self, now: Moment) {
        self.waiting = false;
        self.state = match std::mem::replace(&mut self.state, State::Over(Left::Unknown)) {
            State::Contending(contention) => {
                contention.withdraw(now).map_or(State::Over(Left::Unknown), State::Releasing)
            }
            State::Holding(holder) => State::Releasing(holder.release()),
            other => other,
        };
    }

    pub(super) fn answered(&mut self, answer: Answer, now: Moment, wall: Stamp) {
        self.waiting = false;
        match &mut self.state {
            State::Contending(contention) => contention.answered(answer, &mut self.judge, now, wall),
            State::Holding(holder) => holder.answered(answer, now),
            State::Releasing(release) => release.answered(answer, now),
            State::Over(_) => {}
        }
    }

    pub(super) fn told(&mut self, revision: u64, seen: Option<Snapshot>, now: Moment, wall: Stamp) {
        match (&mut self.state, seen) {
            (State::Contending(contention), seen) => {
                contention.watched(revision, seen, &mut self.judge, now, wall);
            }
            (State::Holding(holder), Some(seen)) => holder.watched(seen, now),
            (State::Holding(holder), None) => holder.watched_deletion(revision, now),
            _ => {}
        }
    }

    /// Up to when it believes to hold the Lease.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Holding(holder) => Some(holder.deadline()),
            _ => None,
        }
    }
}

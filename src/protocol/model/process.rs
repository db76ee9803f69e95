//! One contender, which runs the shipped state machines one after the other.

use super::{
    AcquireState, AcquireStep, CreateMode, Flaw, HoldState, HoldStep, HoldStop, Instant, Join, Memory, Mode,
    Outcome, ReleaseOutcome, ReleaseState, ReleaseStep, Setup, WallTime, WatchEvent, Write, identity,
};

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Process {
    number: usize,
    /// The number of acquisitions so far. Each acquisition has a holder identity of its own.
    acquisitions: u64,
    memory: Memory,
    pub state: State,
    /// Whether the process waits for the answer to a read, a claim, a renewal or a release.
    pub waiting: bool,
    /// Whether its watch is open.
    pub watching: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    Acquiring(Box<AcquireState>),
    Holding(Box<HoldState>),
    Releasing(Box<ReleaseState>),
    Over,
}

/// A request to the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Sent {
    Read,
    Write(Write),
    Join(Join),
}

/// An action that the process takes by itself.
pub(super) enum Action {
    Send(Sent),
    /// It opens its watch from this revision.
    Watch(u64),
    /// It closes its watch.
    CloseWatch,
    /// It has acquired the Lease, with this fencing token.
    Granted(u64),
    /// Its release has ended: it no longer waits for the answers to its requests.
    Ended,
    /// It does nothing before this instant. `None`: it is over.
    Waits(Option<Instant>),
}

/// What is drawn is always the same.
fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(0)
}

impl Process {
    pub(super) fn new(number: usize, setup: &Setup) -> Self {
        let memory = Memory::new(&setup.timings(), None, u32::try_from(number).unwrap());
        let mut process =
            Self { number, acquisitions: 0, memory, state: State::Over, waiting: false, watching: false };
        process.acquire(setup, Instant::ORIGIN);
        process
    }

    /// The holder identity, unique to each acquisition.
    pub(super) fn identity(&self) -> String {
        identity::generate(&format!("p{}", self.number), self.acquisitions)
    }

    pub(super) fn act(&mut self, setup: &Setup, now: Instant, wall: WallTime) -> Action {
        let (memory, rng) = (&mut self.memory, &mut rng());
        let action = match &mut self.state {
            State::Acquiring(acquire) if !self.waiting => match acquire.step(memory, now, wall, rng) {
                AcquireStep::Read => Action::Send(Sent::Read),
                AcquireStep::Claim(write) => Action::Send(Sent::Write(write)),
                AcquireStep::Join(join) => return Action::Send(Sent::Join(join)),
                // It changes nothing, and its outcome is no news.
                AcquireStep::Probe => return self.act(setup, now, wall),
                AcquireStep::OpenWatch(from) => Action::Watch(from),
                AcquireStep::CloseWatch => Action::CloseWatch,
                AcquireStep::Won(mut claim) => {
                    if setup.flaw == Some(Flaw::StampedAtAnswer) {
                        claim.sent = now;
                    }
                    let token = claim.snapshot.version.revision;
                    let first_renewal = claim.sent + setup.timings().renew_interval / 2;
                    let hold = HoldState::new(self.identity(), setup.timings(), claim.sent, claim.snapshot)
                        .renewing_from(first_renewal);
                    self.state = State::Holding(Box::new(hold));
                    Action::Granted(token)
                }
                AcquireStep::Wait(until) => Action::Waits(Some(until)),
                AcquireStep::GiveUp(reason) => panic!("no reason to give up: {reason:?}"),
            },
            State::Holding(hold) => match hold.step(memory, now, wall, rng) {
                HoldStep::Read => Action::Send(Sent::Read),
                HoldStep::Renew(write) => Action::Send(Sent::Write(write)),
                HoldStep::OpenWatch(from) => Action::Watch(from),
                HoldStep::CloseWatch => Action::CloseWatch,
                HoldStep::Lost(_) => self.end(),
                HoldStep::Wait(until) => Action::Waits(Some(until)),
            },
            State::Releasing(release) => match release.step(now, wall) {
                ReleaseStep::Read => Action::Send(Sent::Read),
                ReleaseStep::Write(write) => Action::Send(Sent::Write(write)),
                ReleaseStep::End(ReleaseOutcome::Done(left)) => {
                    memory.released(left, now);
                    self.end()
                }
                ReleaseStep::End(_) => self.end(),
                ReleaseStep::Wait(until) => Action::Waits(Some(until)),
            },
            State::Acquiring(_) | State::Over => Action::Waits(None),
        };
        self.waiting |= matches!(action, Action::Send(_));
        self.watching = self.memory.watch.is_open();
        action
    }

    /// Forgets what does not matter for what happens next within the horizon.
    pub(super) fn forget_measurements(&mut self) {
        self.memory.forget_measurements();
        if let State::Acquiring(acquire) = &mut self.state {
            acquire.forget_measurements();
        }
    }

    fn end(&mut self) -> Action {
        (self.state, self.waiting) = (State::Over, false);
        self.memory.watch.close();
        Action::Ended
    }

    /// Acquires again.
    pub(super) fn acquire(&mut self, setup: &Setup, now: Instant) {
        self.acquisitions += 1;
        let (me, memory) = (self.identity(), &mut self.memory);
        let acquire = AcquireState::new(me, Mode::Wait, CreateMode::IfMissing, setup.timings(), memory, now);
        self.state = State::Acquiring(Box::new(acquire));
    }

    /// Hands its hold off to its next acquisition, or releases it.
    pub(super) fn hand_off(&mut self, setup: &Setup, now: Instant) {
        self.stop(true, now);
        if matches!(self.state, State::Over) {
            self.acquire(setup, now);
        }
    }

    /// Gives up the acquisition, or ends the hold.
    pub(super) fn stop(&mut self, waited_for: bool, now: Instant) {
        self.waiting = false;
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Acquiring(acquire) => match acquire.withdraw(&mut self.memory, now) {
                Some(release) => State::Releasing(Box::new(release)),
                None => State::Over,
            },
            State::Holding(hold) => match hold.stop(waited_for, &mut self.memory, now) {
                HoldStop::HandedOff => State::Over,
                HoldStop::Release(release) => State::Releasing(release),
            },
            other => other,
        };
    }

    pub(super) fn answered(&mut self, answer: Outcome, now: Instant, wall: WallTime) {
        self.waiting = false;
        let (memory, rng) = (&mut self.memory, &mut rng());
        match &mut self.state {
            State::Acquiring(acquire) => acquire.answered(answer, memory, now, wall, rng),
            State::Holding(hold) => hold.answered(answer, memory, now, rng),
            State::Releasing(release) => release.answered(answer, now, rng),
            State::Over => {}
        }
    }

    pub(super) fn joined(&mut self, answer: Outcome, now: Instant, wall: WallTime) {
        if let State::Acquiring(acquire) = &mut self.state {
            acquire.joined(answer, &mut self.memory, now, wall);
        }
    }

    /// Whether it takes what its watch delivers. While an acquisition waits for an answer, it does not.
    pub(super) fn listens(&self) -> bool {
        match self.state {
            State::Acquiring(_) => !self.waiting,
            State::Holding(_) => true,
            State::Releasing(_) | State::Over => false,
        }
    }

    pub(super) fn watched(&mut self, event: WatchEvent, now: Instant, wall: WallTime) {
        let (memory, rng) = (&mut self.memory, &mut rng());
        match &mut self.state {
            State::Acquiring(acquire) => acquire.watched(event, memory, now, wall, rng),
            State::Holding(hold) => hold.watched(event, memory, now, rng),
            State::Releasing(_) | State::Over => {}
        }
        self.watching = self.memory.watch.is_open();
    }

    /// The instant until which the process believes that it holds the Lease.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Holding(hold) => Some(hold.deadline()),
            _ => None,
        }
    }
}

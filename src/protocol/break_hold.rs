//! Ends the hold of another process by force: one conditional write that empties the holder.

use super::backoff::Backoff;
use super::record::Snapshot;
use super::request::{Outcome, Write};
use super::time::{Instant, WallTime};
use super::timings::Timings;

/// Empties the holder of a Lease while it is in this one hold.
///
/// Invariants:
///
/// 1. Every write is conditional on a state that a read has shown, and in which the Lease is in exactly this hold. So the hold of a
///    successor is never broken.
/// 2. After a write that did not succeed comes a read. A renewal in between is no reason to give up.
/// 3. Nothing is written past the deadline.
///
/// The driver calls [`step`](Self::step) until it returns [`BreakStep::End`], and reports the outcome of each request by
/// [`answered`](Self::answered).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct BreakState {
    hold: HoldId,
    deadline: Instant,
    /// Nothing is sent before this.
    not_before: Instant,
    /// The state to overwrite. `None`: a read has to come first.
    on: Option<Snapshot>,
    /// A write may have been made without an answer to us.
    maybe_broken: bool,
    in_flight: bool,
    backoff: Backoff,
    end: Option<BreakOutcome>,
}

/// What tells one hold of a Lease from every other one. Renewals do not change it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HoldId {
    /// Of the Lease.
    pub uid: String,
    pub holder: String,
    pub acquired: Option<WallTime>,
    pub transitions: i32,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum BreakOutcome {
    /// Nobody holds the Lease, because this process has emptied the holder.
    Broken,
    /// The Lease is not in this hold: this is its state. `None`: it does not exist.
    Changed(Option<Snapshot>),
    /// The last request was refused, and would be refused again.
    Denied,
    /// The deadline came first.
    TimedOut,
}

/// The next action.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum BreakStep {
    /// Read the Lease and report the [`Outcome`].
    Read,
    /// Send this write and report its [`Outcome`].
    Write(Write),
    /// Send nothing before this instant.
    Wait(Instant),
    /// It has ended.
    End(BreakOutcome),
}

impl HoldId {
    fn is_in(&self, seen: &Snapshot) -> bool {
        let Self { uid, holder, acquired, transitions } = self;
        let record = &seen.record;
        seen.version.uid == *uid
            && record.holder.as_ref() == Some(holder)
            && record.acquired == *acquired
            && record.transitions == *transitions
    }
}

impl BreakState {
    pub(crate) fn new(hold: HoldId, deadline: Instant, timings: &Timings) -> Self {
        Self {
            hold,
            deadline,
            not_before: Instant::ORIGIN,
            on: None,
            maybe_broken: false,
            in_flight: false,
            backoff: Backoff::new(timings.max_pause),
            end: None,
        }
    }

    /// Decides. A returned request counts as sent at `now`.
    pub(crate) fn step(&mut self, now: Instant, wall: WallTime) -> BreakStep {
        if let Some(end) = &self.end {
            return BreakStep::End(end.clone());
        }
        if now >= self.deadline {
            return BreakStep::End(BreakOutcome::TimedOut);
        }
        if self.in_flight {
            return BreakStep::Wait(self.deadline);
        }
        if now < self.not_before {
            return BreakStep::Wait(self.not_before.min(self.deadline));
        }
        self.in_flight = true;
        match &self.on {
            Some(on) => BreakStep::Write(Write::replace(on, on.record.release(wall), on.queue.merged())),
            None => BreakStep::Read,
        }
    }

    /// Takes the outcome of the request in flight.
    pub(crate) fn answered(&mut self, outcome: Outcome, now: Instant, rng: &mut fastrand::Rng) {
        self.in_flight = false;
        match outcome {
            Outcome::Written(_) => self.end = Some(BreakOutcome::Broken),
            Outcome::Read(seen) => self.observe(seen),
            Outcome::Denied { .. } => self.end = Some(BreakOutcome::Denied),
            failure => {
                self.maybe_broken |= self.on.take().is_some();
                self.not_before = now + self.backoff.failed_with(&failure, rng);
            }
        }
    }

    fn observe(&mut self, seen: Option<Snapshot>) {
        let is_free = seen.as_ref().is_some_and(|seen| seen.record.holder.is_none());
        match seen {
            Some(seen) if self.hold.is_in(&seen) => self.on = Some(seen),
            _ if is_free && self.maybe_broken => self.end = Some(BreakOutcome::Broken),
            other => self.end = Some(BreakOutcome::Changed(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::{DoneKeys, Queue, Record, Ticket, Version};

    const NOW: Instant = Instant::ORIGIN;
    const WALL: WallTime = WallTime(2_000_000_000);
    const TIMINGS: Timings = Timings { max_pause: Duration::ZERO, ..Timings::DEFAULTS };

    fn held(holder: &str, revision: u64) -> Snapshot {
        let record = Record::claim(holder, Duration::from_secs(15), None, WallTime(0));
        Snapshot {
            version: Version { uid: "u".into(), revision },
            record,
            queue: Queue::EMPTY,
            done: DoneKeys::Empty,
        }
    }

    fn free(revision: u64) -> Snapshot {
        Snapshot { record: Record::EMPTY, ..held("", revision) }
    }

    fn breaking(holder: &str) -> BreakState {
        let hold =
            HoldId { uid: "u".into(), holder: holder.into(), acquired: Some(WallTime(0)), transitions: 0 };
        BreakState::new(hold, NOW + Duration::from_secs(10), &TIMINGS)
    }

    fn answer(state: &mut BreakState, outcome: Outcome) {
        state.answered(outcome, NOW, &mut fastrand::Rng::with_seed(1));
    }

    fn read(state: &mut BreakState, seen: Option<Snapshot>) {
        assert_eq!(state.step(NOW, WALL), BreakStep::Read);
        answer(state, Outcome::Read(seen));
    }

    fn write(state: &mut BreakState) -> Write {
        match state.step(NOW, WALL) {
            BreakStep::Write(write) => write,
            other => panic!("{other:?}"),
        }
    }

    fn end(state: &mut BreakState) -> BreakOutcome {
        match state.step(NOW, WALL) {
            BreakStep::End(end) => end,
            other => panic!("{other:?}"),
        }
    }

    fn in_doubt() -> Outcome {
        Outcome::InDoubt { retry_after: None, server_known: true, refused: false }
    }

    #[test]
    fn the_write_empties_the_holder_and_keeps_the_queue() {
        let mut state = breaking("them");
        let ticket = |number| Ticket { number, head_start: Duration::from_millis(50) };
        let queue = Queue::new(vec![ticket(1)], Some(vec![ticket(2)]));
        let seen = Snapshot { queue, ..held("them", 10) };
        read(&mut state, Some(seen.clone()));
        let write = write(&mut state);
        assert_eq!((write.on, write.record.holder), (Some(seen.version.clone()), None));
        assert_eq!(write.queue.waiting(), [ticket(1), ticket(2)]);
        answer(&mut state, Outcome::Written(free(11)));
        assert_eq!(end(&mut state), BreakOutcome::Broken);
    }

    #[test]
    fn a_renewal_in_between_leads_to_another_try() {
        let mut state = breaking("them");
        read(&mut state, Some(held("them", 10)));
        write(&mut state);
        answer(&mut state, Outcome::Conflict);
        let mut renewed = held("them", 11);
        renewed.record = renewed.record.renewal(Duration::from_secs(15), WALL);
        read(&mut state, Some(renewed.clone()));
        assert_eq!(write(&mut state).on, Some(renewed.version));
    }

    #[test]
    fn another_hold_is_never_broken() {
        let mut again = held("them", 11);
        again.record.acquired = Some(WALL);
        let mut later = held("them", 11);
        later.record.transitions = 1;
        let mut recreated = held("them", 11);
        recreated.version.uid = "v".into();
        for seen in
            [Some(held("another", 11)), Some(again), Some(later), Some(recreated), Some(free(11)), None]
        {
            let mut state = breaking("them");
            read(&mut state, seen.clone());
            assert_eq!(end(&mut state), BreakOutcome::Changed(seen.clone()));
            // Also if it has come after the first read.
            let mut state = breaking("them");
            read(&mut state, Some(held("them", 10)));
            write(&mut state);
            answer(&mut state, in_doubt());
            read(&mut state, seen.clone());
            let is_free = seen.as_ref().is_some_and(|seen| seen.record.holder.is_none());
            let expected = if is_free { BreakOutcome::Broken } else { BreakOutcome::Changed(seen) };
            assert_eq!(end(&mut state), expected);
        }
    }

    #[test]
    fn it_ends_at_a_refusal_and_at_its_deadline() {
        let mut state = breaking("them");
        read(&mut state, Some(held("them", 10)));
        write(&mut state);
        answer(&mut state, Outcome::Denied { any_write: true });
        assert_eq!(end(&mut state), BreakOutcome::Denied);

        let mut state = breaking("them");
        assert_eq!(state.step(NOW, WALL), BreakStep::Read);
        answer(&mut state, in_doubt());
        let late = NOW + Duration::from_secs(10);
        assert_eq!(state.step(late, WALL), BreakStep::End(BreakOutcome::TimedOut));
    }
}

//! One hold: when to renew, which state to believe, and when the hold is over.

use std::time::Duration;

use super::carryover::Carryover;
use super::loss::Loss;
use super::queue::Queue;
use super::record::{Record, Snapshot};
use super::release::ReleaseState;
use super::request::{Outcome, Write};
use super::time::{Instant, WallTime};
use super::timings::Timings;

/// One hold of a claimed Lease.
///
/// Invariants:
///
/// 1. At most one request is in flight, and every write is conditional on the newest state that is known to be ours.
/// 2. The hold lasts until the deadline: the *sending* of the last write that definitely succeeded, plus
///    `token_deadline`. A write in doubt that proves to have been made counts from its own sending, never from the read
///    that revealed it.
/// 3. A hold that is over stays over: nothing that arrives later revives it.
/// 4. The `renewTime` only rises, and no two renewals share a wall-clock second.
/// 5. After a write without a definite answer comes a read, before any other write.
/// 6. Edits beside the holder are kept. An edit of the record is restored, and shortens the hold if contenders now wait for
///    less time than they should.
///
/// The driver calls [`step`](Self::step). If the step sends a request, the driver reports its outcome by
/// [`answered`](Self::answered). At any time it may report what the watch delivers by [`watched`](Self::watched) and
/// [`watched_deletion`](Self::watched_deletion). A hold ends with [`HoldStep::Lost`], or by [`release`](Self::release) or
/// [`hand_off`](Self::hand_off).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HoldState {
    me: String,
    timings: Timings,
    /// The newest state of the Lease that is known to be ours.
    current: Snapshot,
    deadline: Instant,
    /// Nothing is sent before this.
    not_before: Instant,
    in_flight: Option<Request>,
    /// Writes that may have been made without an answer to us.
    in_doubt: Vec<Attempt>,
    /// The `renewTime` of the last write. It only rises, whatever the wall clock does: if a record came back to an earlier
    /// value, contenders would take it for one that was never renewed.
    last_renew_time: WallTime,
    /// A read must come before the next write.
    must_read: bool,
    lost: Option<Loss>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Request {
    /// A read, or a write whose outcome is already known.
    Read,
    Write(Attempt),
}

/// A renewal, recognised in the Lease by its `renewTime`: no two of one hold share a second.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    sent: Instant,
    record: Record,
}

/// The next action.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum HoldStep {
    /// Send this write and report its [`Outcome`].
    Renew(Write),
    /// Read the Lease and report the [`Outcome`].
    Read,
    /// Do nothing before this instant, unless something is reported.
    Wait(Instant),
    /// The hold is over.
    Lost(Loss),
}

impl HoldState {
    /// An edited record is restored at once, but no more often than this.
    const RESTORE_INTERVAL: Duration = Duration::from_secs(1);

    /// A hold by `me` that began with a write at `sent`. The write left the Lease as `claimed`.
    pub(crate) fn new(me: String, timings: Timings, sent: Instant, claimed: Snapshot) -> Self {
        Self {
            me,
            timings,
            last_renew_time: claimed.record.renewed.unwrap_or(WallTime(0)),
            current: claimed,
            deadline: sent + timings.token_deadline,
            not_before: sent + timings.renew_interval,
            in_flight: None,
            in_doubt: Vec::new(),
            must_read: false,
            lost: None,
        }
    }

    /// Lets the first renewal come as early as `first`. Locks that were claimed at the same time are then not renewed at
    /// the same time for ever after.
    pub(crate) fn renewing_from(mut self, first: Instant) -> Self {
        self.not_before = self.not_before.min(first);
        self
    }

    /// The end of the hold, unless a renewal succeeds before it.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The newest revision of the Lease that is known to be ours.
    pub(crate) fn revision(&self) -> u64 {
        self.current.version.revision
    }

    /// The processes that wait for the Lease, as far as is known.
    pub(crate) fn queue(&self) -> &Queue {
        &self.current.queue
    }

    /// Whether the Lease is certainly ours, so that it can be handed off.
    pub(crate) fn may_hand_off(&self, now: Instant) -> bool {
        let certain = !self.must_read && self.in_flight.is_none() && self.lost.is_none();
        certain && now < self.deadline
    }

    /// Ends the hold, and leaves its record to the next acquisition of this process.
    pub(crate) fn hand_off(self) -> Carryover {
        Carryover::HandedOff { by: self.me, snapshot: self.current }
    }

    /// The way to release the Lease, whatever is in flight.
    pub(crate) fn release(self) -> ReleaseState {
        let must_read = self.must_read || self.in_flight.is_some();
        ReleaseState::of_hold(self.me, self.current, must_read, self.deadline)
    }

    /// Decides. A returned [`HoldStep::Renew`] or [`HoldStep::Read`] counts as sent at `now`.
    pub(crate) fn step(&mut self, now: Instant, wall: WallTime) -> HoldStep {
        self.expire(now);
        if let Some(loss) = &self.lost {
            return HoldStep::Lost(loss.clone());
        }
        if self.in_flight.is_some() {
            return HoldStep::Wait(self.deadline);
        }
        if now < self.not_before {
            return HoldStep::Wait(self.not_before.min(self.deadline));
        }
        if self.must_read {
            self.in_flight = Some(Request::Read);
            return HoldStep::Read;
        }
        HoldStep::Renew(self.renewal(now, wall))
    }

    /// Takes the outcome of the request in flight.
    pub(crate) fn answered(&mut self, outcome: Outcome, now: Instant) {
        self.expire(now);
        let Some(request) = self.in_flight.take() else {
            return;
        };
        match (request, outcome) {
            (Request::Read, Outcome::Written(snapshot)) => self.observe(snapshot, now),
            (request @ Request::Write(_), Outcome::Written(snapshot)) => {
                self.mark_in_doubt(request);
                self.observe(snapshot, now);
            }
            (_, Outcome::Read(Some(snapshot))) => {
                self.must_read = false;
                // A read tells what is true after its sending, whatever its revision: a store may have been restored.
                match self.foreign(&snapshot) {
                    Some(loss) => self.lose(loss),
                    None => self.observe(snapshot, now),
                }
            }
            (_, Outcome::Read(None)) => self.lose(Loss::Deleted),
            (request, Outcome::Unknown { pause }) => {
                self.mark_in_doubt(request);
                self.not_before = now + pause;
            }
        }
    }

    /// Takes a state of the Lease from the watch.
    pub(crate) fn watched(&mut self, snapshot: Snapshot, now: Instant) {
        self.expire(now);
        self.observe(snapshot, now);
    }

    /// Takes a deletion from the watch.
    pub(crate) fn watched_deletion(&mut self, revision: u64, now: Instant) {
        self.expire(now);
        if revision > self.current.version.revision {
            self.lose(Loss::Deleted);
        }
    }

    /// Takes a state, unless it is older than the newest that is known.
    fn observe(&mut self, seen: Snapshot, now: Instant) {
        if seen.version.revision <= self.current.version.revision {
            return;
        }
        if let Some(loss) = self.foreign(&seen) {
            return self.lose(loss);
        }
        let expected = match self.attempt_seen_in(&seen.record) {
            Some(attempt) => self.confirm(attempt),
            None => self.current.record.clone(),
        };
        if seen.record != expected {
            self.on_foreign_edit(&seen.record, now);
        }
        self.current = seen;
    }

    /// The loss that a state shows, if it is not ours.
    fn foreign(&self, seen: &Snapshot) -> Option<Loss> {
        if seen.version.uid != self.current.version.uid {
            return Some(Loss::Deleted);
        }
        match &seen.record.holder {
            Some(holder) if *holder == self.me => None,
            Some(holder) => Some(Loss::TakenOver { by: holder.clone() }),
            None => Some(Loss::Cleared),
        }
    }

    fn attempt_seen_in(&self, record: &Record) -> Option<Attempt> {
        let in_flight = match &self.in_flight {
            Some(Request::Write(attempt)) => Some(attempt),
            _ => None,
        };
        let mut attempts = self.in_doubt.iter().chain(in_flight);
        attempts.find(|attempt| attempt.record.renewed == record.renewed).cloned()
    }

    /// This attempt was made. All others were conditional on the state that it replaced: if they were not made before it,
    /// they never will be. Returns the record that it wrote.
    fn confirm(&mut self, attempt: Attempt) -> Record {
        self.deadline = self.deadline.max(attempt.sent + self.timings.token_deadline);
        self.not_before = attempt.sent + self.timings.renew_interval;
        self.in_doubt.clear();
        self.in_flight = self.in_flight.take().map(|_| Request::Read);
        self.must_read = false;
        attempt.record
    }

    /// The outcome of a request is unknown.
    fn mark_in_doubt(&mut self, request: Request) {
        self.must_read = true;
        if let Request::Write(attempt) = request {
            self.in_doubt.push(attempt);
        }
    }

    /// Another client edited our record but left us the holder. Restore the record soon. If contenders now wait for less
    /// time than they should, trust the hold for less time in proportion.
    fn on_foreign_edit(&mut self, record: &Record, now: Instant) {
        self.not_before = self.not_before.min(now + Self::RESTORE_INTERVAL);
        let wait = record.duration.unwrap_or_default();
        if wait < self.timings.lease_duration {
            let share = wait.as_secs_f64() / self.timings.lease_duration.as_secs_f64();
            self.deadline = self.deadline.min(now + self.timings.token_deadline.mul_f64(share));
            self.not_before = now;
        }
    }

    fn renewal(&mut self, now: Instant, wall: WallTime) -> Write {
        self.last_renew_time = wall.after(self.last_renew_time).distinct_from(self.current.record.renewed);
        let record = self.current.record.renewal(self.timings.lease_duration, self.last_renew_time);
        self.in_flight = Some(Request::Write(Attempt { sent: now, record: record.clone() }));
        Write::replace(&self.current, record, self.current.queue.clone())
    }

    fn expire(&mut self, now: Instant) {
        if now >= self.deadline {
            self.lose(Loss::Deadline);
        }
    }

    fn lose(&mut self, loss: Loss) {
        self.lost.get_or_insert(loss);
    }
}

#[cfg(test)]
mod tests;

//! One hold: when to renew, which state to believe, and when the hold is over.

use std::time::Duration;

use super::backoff::Backoff;
use super::done::DoneKey;
use super::loss::Loss;
use super::memory::Memory;
use super::record::{Record, Snapshot};
use super::release::ReleaseState;
use super::request::{Outcome, Write};
use super::time::{Instant, WallTime};
use super::timings::Timings;
use super::watch_health::{WatchEvent, WatchHealth};

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
/// 5. After a write without a definite answer comes a read, before any other write. If another write came first, the next one is
///    conditional on the record alone: processes that join the queue cannot make it fail again.
/// 6. Edits beside the holder are kept. An edit of the record is restored, and shortens the hold if contenders now wait for
///    less time than they should.
/// 7. A read that was sent after everything that is known is believed, whatever its revision: a store can be set back. Another
///    holder or object is a loss. If the record is ours, the next write goes on from that revision.
/// 8. A short hold needs no watch. From [`WATCH_AFTER`](Self::WATCH_AFTER) on there is one, or the pause before one.
/// 9. Other processes that wait are let in after [`MAX_HAND_OFFS`](Self::MAX_HAND_OFFS) hand-offs within the process.
/// 10. A hold that marks a key as done is released and never handed off: only the releasing write has the key.
/// 11. The hold of an election ends if a coordinator prefers another holder.
///
/// The driver calls [`step`](Self::step). If the step sends a request, the driver reports its outcome by
/// [`answered`](Self::answered). At any time it may report what the watch delivers by [`watched`](Self::watched). A hold ends with
/// [`HoldStep::Lost`], or by [`stop`](Self::stop).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HoldState {
    me: String,
    timings: Timings,
    /// The newest state of the Lease that is known to be ours.
    current: Snapshot,
    claimed: Instant,
    /// When the last write was sent.
    last_sent: Instant,
    deadline: Instant,
    renew_at: Instant,
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
    /// Another write came before the last one of this hold.
    raced: bool,
    backoff: Backoff,
    /// The key to mark as done when the hold ends.
    mark: Option<DoneKey>,
    /// Whether the hold ends if a coordinator prefers another holder.
    yields: bool,
    lost: Option<Loss>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Request {
    /// A read, sent when the newest known state had this revision.
    Read {
        sent: Instant,
        known: u64,
    },
    Write(Attempt),
    /// A write whose outcome is already known.
    Confirmed {
        sent: Instant,
    },
}

impl Request {
    fn sent(&self) -> Instant {
        match self {
            Self::Read { sent, .. } | Self::Confirmed { sent } => *sent,
            Self::Write(attempt) => attempt.sent,
        }
    }
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
    /// Open the watch from this revision. Zero: with what there is.
    OpenWatch(u64),
    /// Close the watch: it is not to be believed.
    CloseWatch,
    /// Do nothing before this instant, unless something is reported.
    Wait(Instant),
    /// The hold is over.
    Lost(Loss),
}

/// The end of a hold that was not lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum HoldStop {
    /// The next task of this process has the hold.
    HandedOff,
    Release(Box<ReleaseState>),
}

impl HoldState {
    /// An edited record is restored at once, but no more often than this.
    const RESTORE_INTERVAL: Duration = Duration::from_secs(1);

    /// How long after its claim a hold opens a watch.
    pub(crate) const WATCH_AFTER: Duration = Duration::from_secs(1);

    /// How often in a row a Lease is handed off within one process while other processes wait.
    pub(crate) const MAX_HAND_OFFS: u32 = 16;

    /// So shortly before the deadline, no request can be answered in time.
    const MIN_REQUEST_TIME: Duration = Duration::from_millis(50);

    /// A hold by `me` that began with a write at `sent`. The write left the Lease as `claimed`.
    pub(crate) fn new(me: String, timings: Timings, sent: Instant, claimed: Snapshot) -> Self {
        Self {
            me,
            timings,
            last_renew_time: claimed.record.renewed.unwrap_or(WallTime(0)),
            current: claimed,
            claimed: sent,
            last_sent: sent,
            deadline: sent + timings.token_deadline,
            renew_at: sent + timings.renew_interval,
            not_before: Instant::ORIGIN,
            in_flight: None,
            in_doubt: Vec::new(),
            must_read: false,
            backoff: Backoff::new(timings.max_pause),
            raced: false,
            mark: None,
            yields: false,
            lost: None,
        }
    }

    /// Lets the first renewal come as early as `first`. Locks that were claimed at the same time are then not renewed at
    /// the same time for ever after.
    pub(crate) fn renewing_from(mut self, first: Instant) -> Self {
        self.renew_at = self.renew_at.min(first);
        self
    }

    /// Lets the hold end if a coordinator prefers another holder. As in client-go, the Lease is not renewed any more, and not
    /// released: the work has the time until it expires to stop.
    pub(crate) fn yielding(self, yields: bool) -> Self {
        Self { yields, ..self }
    }

    /// The end of the hold, unless a renewal succeeds before it.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long after the deadline the work may still stop. None, if somebody has edited for how long contenders wait.
    pub(crate) fn grace(&self) -> Duration {
        let kept = self.current.record.duration.is_some_and(|wait| wait >= self.timings.lease_duration);
        if kept { self.timings.grace() } else { Duration::ZERO }
    }

    /// The work of this hold is done. The releasing write marks its key.
    pub(crate) fn mark_done(&mut self, key: String, wall: WallTime) {
        self.mark = Some(DoneKey { key, by: self.me.clone(), at: wall });
    }

    /// Whether the Lease can be handed off: it is certainly ours, it is not the turn of other processes, and there is no key to
    /// mark.
    pub(crate) fn may_hand_off(&self, memory: &Memory, now: Instant) -> bool {
        let others_first = !self.current.queue.is_empty() && memory.hand_offs >= Self::MAX_HAND_OFFS;
        let certain = !self.must_read && self.in_flight.is_none() && self.lost.is_none();
        certain && now < self.deadline && !others_first && self.mark.is_none()
    }

    /// Ends the hold. If another task of this process waits for the Lease (`waited_for`), that task gets the hold, unless it is
    /// the turn of other processes. Otherwise the Lease is released, whatever is in flight.
    pub(crate) fn stop(self, waited_for: bool, memory: &mut Memory, now: Instant) -> HoldStop {
        if waited_for && self.may_hand_off(memory, now) {
            memory.handed_off(self.me, self.current);
            return HoldStop::HandedOff;
        }
        memory.hand_offs = 0;
        memory.watch.unattended(now);
        memory.expiry.lost(self.me.clone(), self.last_sent);
        let must_read = self.must_read || self.in_flight.is_some();
        let release = ReleaseState::of_hold(self.me, self.current, must_read, self.deadline, self.timings)
            .marking(self.mark)
            .raced(self.raced);
        let release = match memory.queueing.rejoining(waited_for, &memory.trip) {
            // Beside quicker processes it would find no queue to join when it is back.
            Some(ticket) => release.rejoining(ticket, memory.outpaced),
            None => release,
        };
        HoldStop::Release(Box::new(release))
    }

    /// Decides. A returned [`HoldStep::Renew`] or [`HoldStep::Read`] counts as sent at `now`.
    pub(crate) fn step(
        &mut self,
        memory: &mut Memory,
        now: Instant,
        wall: WallTime,
        rng: &mut fastrand::Rng,
    ) -> HoldStep {
        self.expire(now);
        if let Some(loss) = &self.lost {
            memory.expiry.lost(self.me.clone(), self.last_sent);
            if *loss == Loss::Deleted {
                memory.recreation.missing(now);
            }
            return HoldStep::Lost(loss.clone());
        }
        let Memory { watch, trip, .. } = memory;
        if watch.give_up(trip, now, rng) {
            return HoldStep::CloseWatch;
        }
        let watch_from = self.claimed + Self::WATCH_AFTER;
        if watch_from <= now
            && let Some(from) = watch.open(self.current.version.revision, now)
        {
            return HoldStep::OpenWatch(from);
        }
        let opens_at = if watch.is_open() { Instant::ORIGIN } else { watch_from };
        let watch_at = watch.wake_at(trip).map(|at| at.max(opens_at)).filter(|at| *at > now);
        let wait = |until: Instant| {
            HoldStep::Wait(watch_at.into_iter().chain([self.deadline]).fold(until, Instant::min))
        };
        let read_at = watch.read_at(WatchHealth::SILENCE_LIMIT);
        if self.in_flight.is_some() || now.until(self.deadline) < Self::MIN_REQUEST_TIME {
            wait(self.deadline)
        } else if now < self.not_before {
            wait(self.not_before)
        } else if !self.must_read && self.renew_at <= now {
            HoldStep::Renew(self.renewal(now, wall))
        } else if self.must_read || read_at <= now {
            watch.reading();
            self.in_flight = Some(Request::Read { sent: now, known: self.current.version.revision });
            HoldStep::Read
        } else {
            wait(self.renew_at.min(read_at))
        }
    }

    /// Takes the outcome of the request in flight.
    pub(crate) fn answered(
        &mut self,
        outcome: Outcome,
        memory: &mut Memory,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) {
        self.expire(now);
        let Some(request) = self.in_flight.take() else {
            return;
        };
        let Memory { watch, trip, .. } = memory;
        match (request, outcome) {
            (request, Outcome::Written(snapshot)) => {
                self.backoff.succeeded();
                self.raced = false;
                watch.wrote(snapshot.version.revision, request.sent(), trip, now);
                if let Request::Write(attempt) = request {
                    self.mark_in_doubt(attempt);
                }
                self.observe(snapshot, now);
            }
            (Request::Read { sent, known }, Outcome::Read(seen)) => {
                watch.read(seen.as_ref().map(|seen| seen.version.revision), sent, trip, now);
                self.on_read(seen, known, now);
            }
            (_, Outcome::Read(_)) => {}
            (request, failure) => self.retry(request, &failure, now, rng),
        }
    }

    /// A request has failed. However long the server asks the client to wait, half of the time that is left remains for
    /// another try.
    fn retry(&mut self, request: Request, failure: &Outcome, now: Instant, rng: &mut fastrand::Rng) {
        let pause = self.backoff.failed_with(failure, rng);
        self.not_before = now + pause.min(now.until(self.deadline) / 2);
        match request {
            Request::Write(attempt) => {
                self.raced |= *failure == Outcome::Conflict;
                self.mark_in_doubt(attempt);
            }
            Request::Confirmed { .. } => self.must_read = true,
            // A read that only checks the watch is not needed for the next write.
            Request::Read { .. } => {}
        }
    }

    /// Takes what a read has shown that was sent when the newest known state had the revision `known`.
    fn on_read(&mut self, seen: Option<Snapshot>, known: u64, now: Instant) {
        self.must_read = false;
        let Some(seen) = seen else { return self.lose(Loss::Deleted) };
        let set_back = seen.version.revision < known && known == self.current.version.revision;
        match self.foreign(&seen) {
            Some(loss) => self.lose(loss),
            None if set_back => self.go_back_to(seen, now),
            None => self.observe(seen, now),
        }
    }

    /// The store was set back, or an answer had named a revision that was too high. The next write has to go on from `seen`.
    /// If a renewal is gone, it is repeated at once. Other processes may have waited since the one before, so the hold is
    /// trusted for that much less time.
    fn go_back_to(&mut self, seen: Snapshot, now: Instant) {
        if let Some(attempt) = self.attempt_seen_in(&seen.record) {
            self.confirm(attempt);
        } else if seen.record != self.current.record {
            let lost = match (self.current.record.renewed, seen.record.renewed) {
                (Some(known), Some(seen)) => seen.until(known),
                _ => Duration::MAX,
            };
            self.deadline = self.deadline.before(lost);
            self.renew_at = now;
            self.in_doubt.clear();
        }
        self.current = seen;
    }

    /// Takes an event of the watch.
    pub(crate) fn watched(
        &mut self,
        event: WatchEvent,
        memory: &mut Memory,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) {
        self.expire(now);
        memory.told(&event, now, rng);
        match event {
            WatchEvent::Changed(seen) => self.observe(seen, now),
            WatchEvent::Deleted(revision) if revision > self.current.version.revision => {
                self.lose(Loss::Deleted);
            }
            _ => {}
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

    /// The loss that a state shows, if it is not ours, or not any more.
    fn foreign(&self, seen: &Snapshot) -> Option<Loss> {
        if seen.version.uid != self.current.version.uid {
            return Some(Loss::Deleted);
        }
        match &seen.record.holder {
            Some(holder) if *holder == self.me => {
                let preferred = seen.record.preferred_to(&self.me).filter(|_| self.yields);
                preferred.map(|preferred| Loss::NotPreferred { preferred: preferred.to_owned() })
            }
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
        self.renew_at = attempt.sent + self.timings.renew_interval;
        self.not_before = Instant::ORIGIN;
        self.in_doubt.clear();
        self.in_flight = self.in_flight.take().map(|request| Request::Confirmed { sent: request.sent() });
        self.must_read = false;
        attempt.record
    }

    /// The outcome of a renewal is unknown, until the Lease shows it.
    fn mark_in_doubt(&mut self, attempt: Attempt) {
        self.must_read = true;
        self.in_doubt.push(attempt);
    }

    /// Another client edited our record but left us the holder. Restore the record soon. If contenders now wait for less
    /// time than they should, trust the hold for less time in proportion.
    fn on_foreign_edit(&mut self, record: &Record, now: Instant) {
        self.renew_at = self.renew_at.min(now + Self::RESTORE_INTERVAL);
        let wait = record.duration.unwrap_or_default();
        if wait < self.timings.lease_duration {
            let share = wait.as_secs_f64() / self.timings.lease_duration.as_secs_f64();
            self.deadline = self.deadline.min(now + self.timings.token_deadline.mul_f64(share));
            self.renew_at = now;
        }
    }

    fn renewal(&mut self, now: Instant, wall: WallTime) -> Write {
        self.last_renew_time = wall.after(self.last_renew_time).distinct_from(self.current.record.renewed);
        let record = self.current.record.renewal(self.timings.lease_duration, self.last_renew_time);
        self.last_sent = now;
        self.in_flight = Some(Request::Write(Attempt { sent: now, record: record.clone() }));
        let replace = if self.raced { Write::replace_record } else { Write::replace };
        replace(&self.current, record, self.current.queue.merged())
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

//! One release: it gives up a finished hold, withdraws a claim, or releases what was handed off to nobody.

use super::backoff::Backoff;
use super::done::DoneKey;
use super::loss::Loss;
use super::queue::Ticket;
use super::record::{Record, Snapshot, Version};
use super::request::{Outcome, Write};
use super::time::{Instant, WallTime};
use super::timings::Timings;
use super::watch_health::WatchEvent;

/// Empties the holder of a Lease that is ours, or may be ours.
///
/// Invariants:
///
/// 1. Every write is conditional on a state in which the Lease is ours, or on the state that a claim in doubt waits for. So
///    a release never changes the record of a successor.
/// 2. After a write without a definite answer comes a read. If another write came first, the next one is conditional on the record
///    alone, if the Lease is ours: processes that join the queue cannot make it fail again.
/// 3. Nothing is written past the deadline. From then on the Lease expires by itself.
/// 4. A key is marked as done by the releasing write itself. It counts as marked only if the Lease was seen with it afterwards.
///
/// The driver calls [`step`](Self::step) until it returns [`ReleaseStep::End`], and reports the outcome of each request by
/// [`answered`](Self::answered).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ReleaseState {
    /// The holder identities under which the Lease may be ours.
    ours: Vec<String>,
    /// The ticket to add to the queue in the releasing write, and whether to add it also if no process waits.
    rejoining: Option<(Ticket, bool)>,
    /// The key to mark as done in the releasing write.
    mark: Option<DoneKey>,
    /// The state to overwrite. `None`: there is no Lease.
    on: Option<Snapshot>,
    origin: Origin,
    deadline: Instant,
    /// Nothing is sent before this.
    not_before: Instant,
    /// A read must come before the next write.
    must_read: bool,
    /// A release may have been made without an answer to us.
    maybe_released: bool,
    in_flight: bool,
    /// How often another write came before one of this release, or of its hold.
    races: u32,
    /// When half of the time for the release is over.
    half_time: Option<Instant>,
    backoff: Backoff,
    end: Option<ReleaseOutcome>,
}

/// The claim or the hold that is released.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Origin {
    Hold,
    /// A claim without an answer, conditional on `on` (`None`: that there is no Lease). It may still be made, until another
    /// write replaces that state.
    Claim {
        on: Option<Version>,
    },
    /// A hold that was over, and handed off to a task that no longer wants it.
    HandOff,
}

/// How a release ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ReleaseOutcome {
    /// The Lease is no longer ours, because we released it. The state that we left, if it is known.
    Done(Option<Snapshot>),
    /// The Lease was released, and left in this state, which does not show the key that was to be marked.
    Unmarked(Snapshot),
    /// The Lease was no longer ours to release.
    Lost(Loss),
    /// The deadline came first: the Lease is released, or it expires.
    Unconfirmed,
}

/// The next action.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ReleaseStep {
    /// Send this write and report its [`Outcome`].
    Write(Write),
    /// Read the Lease and report the [`Outcome`].
    Read,
    /// Send nothing before this instant.
    Wait(Instant),
    /// The release has ended.
    End(ReleaseOutcome),
}

impl ReleaseState {
    /// After so many lost races, or after half of its time, a release that adds the ticket of this process leaves it out.
    const RACES_WITH_TICKET: u32 = 3;

    /// Ends a hold by `me` that was last seen as `current`.
    pub(super) fn of_hold(
        me: String,
        current: Snapshot,
        must_read: bool,
        deadline: Instant,
        timings: Timings,
    ) -> Self {
        Self::new(vec![me], Some(current), Origin::Hold, must_read, deadline, timings)
    }

    /// Withdraws a claim, conditional on `on`, that was never answered.
    pub(super) fn of_claim(
        ours: Vec<String>,
        on: Option<Version>,
        deadline: Instant,
        timings: Timings,
    ) -> Self {
        Self::new(ours, None, Origin::Claim { on }, true, deadline, timings)
    }

    /// Releases what was handed off.
    pub(super) fn of_hand_off(ours: Vec<String>, deadline: Instant, timings: Timings) -> Self {
        Self::new(ours, None, Origin::HandOff, true, deadline, timings)
    }

    /// The same release, of a hold whose last write lost a race.
    pub(super) fn raced(self, raced: bool) -> Self {
        Self { races: raced.into(), ..self }
    }

    /// The same release, which also adds `ticket` to the queue if other processes wait, or `always`.
    pub(crate) fn rejoining(self, ticket: Ticket, always: bool) -> Self {
        Self { rejoining: Some((ticket, always)), ..self }
    }

    /// The same release, which also marks this key as done.
    pub(super) fn marking(self, mark: Option<DoneKey>) -> Self {
        Self { mark, ..self }
    }

    fn new(
        ours: Vec<String>,
        on: Option<Snapshot>,
        origin: Origin,
        must_read: bool,
        deadline: Instant,
        timings: Timings,
    ) -> Self {
        Self {
            ours,
            rejoining: None,
            mark: None,
            on,
            origin,
            deadline,
            not_before: Instant::ORIGIN,
            must_read,
            maybe_released: false,
            in_flight: false,
            races: 0,
            half_time: None,
            backoff: Backoff::new(timings.max_pause),
            end: None,
        }
    }

    /// When this release stops trying.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Decides. A returned [`ReleaseStep::Write`] or [`ReleaseStep::Read`] counts as sent.
    pub(crate) fn step(&mut self, now: Instant, wall: WallTime) -> ReleaseStep {
        if now >= self.deadline {
            let end = self.too_late();
            self.end.get_or_insert(end);
        }
        if let Some(end) = &self.end {
            return ReleaseStep::End(end.clone());
        }
        if self.in_flight {
            return ReleaseStep::Wait(self.deadline);
        }
        if now < self.not_before {
            return ReleaseStep::Wait(self.not_before.min(self.deadline));
        }
        self.in_flight = true;
        self.half_time.get_or_insert(now + now.until(self.deadline) / 2);
        if self.must_read { ReleaseStep::Read } else { ReleaseStep::Write(self.write(now, wall)) }
    }

    /// A hold that was over before anything was tried was not released, but lost.
    fn too_late(&self) -> ReleaseOutcome {
        let tried = self.in_flight || self.maybe_released || self.not_before > Instant::ORIGIN;
        match self.origin {
            Origin::Hold if !tried => ReleaseOutcome::Lost(Loss::Deadline),
            _ => ReleaseOutcome::Unconfirmed,
        }
    }

    /// Takes the outcome of the request in flight.
    pub(crate) fn answered(&mut self, outcome: Outcome, now: Instant, rng: &mut fastrand::Rng) {
        self.in_flight = false;
        match outcome {
            Outcome::Written(snapshot) if self.is_marked_in(Some(&snapshot)) => {
                self.end(ReleaseOutcome::Done(Some(snapshot)));
            }
            Outcome::Written(snapshot) => self.end(ReleaseOutcome::Unmarked(snapshot)),
            Outcome::Read(seen) => self.observe(seen),
            failure => self.retry(&failure, now, rng),
        }
    }

    /// A request has failed. However long the server asks the client to wait, half of the time that is left remains for
    /// another try.
    fn retry(&mut self, failure: &Outcome, now: Instant, rng: &mut fastrand::Rng) {
        self.maybe_released |= !self.must_read;
        self.races += u32::from(!self.must_read && *failure == Outcome::Conflict);
        self.must_read = true;
        let pause = self.backoff.failed_with(failure, rng);
        self.not_before = now + pause.min(now.until(self.deadline) / 2);
    }

    /// Takes an event of the watch that came while no request was in flight. A state that is newer than the one that was to be
    /// replaced is as good as a read: no write of ours is made on the older one any more.
    pub(crate) fn watched(&mut self, event: WatchEvent) {
        let known = self.on.as_ref().map_or(u64::MAX, |on| on.version.revision);
        match event {
            WatchEvent::Changed(seen) if seen.version.revision > known => self.observe(Some(seen)),
            WatchEvent::Deleted(revision) if revision > known => self.observe(None),
            _ => {}
        }
    }

    fn observe(&mut self, seen: Option<Snapshot>) {
        let version = seen.as_ref().map(|snapshot| &snapshot.version);
        let holder = seen.as_ref().and_then(|snapshot| snapshot.record.holder.clone());
        let claim_pending = matches!(&self.origin, Origin::Claim { on } if on.as_ref() == version);
        if claim_pending || holder.as_ref().is_some_and(|holder| self.ours.contains(holder)) {
            self.on = seen;
            self.must_read = false;
        } else if self.origin != Origin::Hold || self.maybe_released && self.is_marked_in(seen.as_ref()) {
            self.end(ReleaseOutcome::Done(None));
        } else {
            self.end(ReleaseOutcome::Lost(match (seen, holder) {
                (None, _) => Loss::Deleted,
                (Some(_), None) => Loss::Cleared,
                (Some(_), Some(by)) => Loss::TakenOver { by },
            }));
        }
    }

    /// Whether a state that a release of ours may have left shows the key that was to be marked.
    fn is_marked_in(&self, seen: Option<&Snapshot>) -> bool {
        let shows = |mark: &DoneKey| seen.is_some_and(|seen| seen.done.shows(mark));
        self.mark.as_ref().is_none_or(shows)
    }

    fn write(&self, now: Instant, wall: WallTime) -> Write {
        let Some(on) = &self.on else {
            return Write::create(Record::free(wall));
        };
        let queue = match self.rejoining {
            Some((ticket, always)) if always || !on.queue.is_empty() => on.queue.joined_by(ticket),
            _ => on.queue.merged(),
        };
        let ours = on.record.holder.as_ref().is_some_and(|holder| self.ours.contains(holder));
        // Without the queue, the ticket of this process would not come along. It would then have to join again.
        let keeps_ticket = self.rejoining.is_some()
            && self.races < Self::RACES_WITH_TICKET
            && self.half_time.is_none_or(|half| now < half);
        let on_record = self.races > 0 && ours && !keeps_ticket;
        let replace = if on_record { Write::replace_record } else { Write::replace };
        let mut write = replace(on, on.record.release(wall), queue);
        if let Some(mark) = &self.mark {
            write.done = on.done.with(mark);
        }
        write
    }

    fn end(&mut self, end: ReleaseOutcome) {
        self.end.get_or_insert(end);
    }
}

#[cfg(test)]
mod tests;

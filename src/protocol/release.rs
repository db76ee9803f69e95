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
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::{DoneKeys, Queue};

    const NOW: Instant = Instant::ORIGIN;
    const WALL: WallTime = WallTime(1_000_000_000);
    const TIMINGS: Timings = Timings { max_pause: Duration::ZERO, ..Timings::DEFAULTS };

    fn state(holder: &str, revision: u64) -> Snapshot {
        let record = Record::claim(holder, Duration::from_secs(15), None, WallTime(0));
        let record = if holder.is_empty() { record.release(WallTime(0)) } else { record };
        let version = Version { uid: "u".into(), revision };
        Snapshot { version, record, queue: Queue::EMPTY, done: DoneKeys::Empty }
    }

    fn deadline() -> Instant {
        NOW + Duration::from_secs(10)
    }

    fn of_hold(must_read: bool) -> ReleaseState {
        ReleaseState::of_hold("me".into(), state("me", 10), must_read, deadline(), TIMINGS)
    }

    fn of_claim(on: Option<u64>) -> ReleaseState {
        ReleaseState::of_claim(
            vec!["me".into()],
            on.map(|revision| state("", revision).version),
            deadline(),
            TIMINGS,
        )
    }

    fn write(release: &mut ReleaseState) -> Write {
        match release.step(NOW, WALL) {
            ReleaseStep::Write(write) => write,
            other => panic!("expected a write, not {other:?}"),
        }
    }

    fn answer(release: &mut ReleaseState, outcome: Outcome) {
        release.answered(outcome, NOW, &mut fastrand::Rng::with_seed(1));
    }

    fn in_doubt(retry_after: Option<Duration>) -> Outcome {
        Outcome::InDoubt { retry_after, server_known: true, refused: false }
    }

    fn read(release: &mut ReleaseState, seen: Option<Snapshot>) {
        assert_eq!(release.step(NOW, WALL), ReleaseStep::Read);
        answer(release, Outcome::Read(seen));
    }

    #[test]
    fn a_hold_is_released_in_one_write() {
        let mut release = of_hold(false);
        let write = write(&mut release);
        assert_eq!(write.on, Some(state("me", 10).version));
        assert_eq!((write.record.holder, write.record.duration), (None, Some(Duration::from_secs(1))));
        answer(&mut release, Outcome::Written(state("", 11)));
        assert_eq!(release.step(NOW, WALL), ReleaseStep::End(ReleaseOutcome::Done(Some(state("", 11)))));
    }

    #[test]
    fn a_process_that_will_be_back_joins_behind_the_processes_that_wait() {
        let ticket = |number| Ticket { number, head_start: Duration::from_millis(50) };
        let waiting = Queue::new(vec![ticket(1)], Some(vec![ticket(2)]));
        let back = Queue::EMPTY.joined_by(ticket(7));
        for (queue, always, left) in [
            (Queue::EMPTY, false, Queue::EMPTY),
            (Queue::EMPTY, true, back),
            (waiting.clone(), false, waiting.joined_by(ticket(7))),
        ] {
            let held = Snapshot { queue, ..state("me", 10) };
            let release = ReleaseState::of_hold("me".into(), held, false, deadline(), TIMINGS);
            assert_eq!(write(&mut release.rejoining(ticket(7), always)).queue, left);
        }
    }

    fn mark() -> DoneKey {
        DoneKey { key: "5".into(), by: "me".into(), at: WALL }
    }

    fn marked(snapshot: Snapshot) -> Snapshot {
        Snapshot { done: snapshot.done.with(&mark()), ..snapshot }
    }

    fn end(release: &mut ReleaseState) -> ReleaseOutcome {
        match release.step(NOW, WALL) {
            ReleaseStep::End(end) => end,
            other => panic!("expected the end, not {other:?}"),
        }
    }

    #[test]
    fn a_key_is_marked_by_the_releasing_write() {
        let mut release = of_hold(false).marking(Some(mark()));
        let write = write(&mut release);
        assert_eq!((write.record.holder, write.done), (None, DoneKeys::listed(vec![mark()])));
        answer(&mut release, Outcome::Written(marked(state("", 11))));
        assert_eq!(end(&mut release), ReleaseOutcome::Done(Some(marked(state("", 11)))));
    }

    #[test]
    fn a_key_that_the_lease_does_not_show_is_not_marked() {
        let mut release = of_hold(false).marking(Some(mark()));
        write(&mut release);
        answer(&mut release, Outcome::Written(state("", 11)));
        assert_eq!(end(&mut release), ReleaseOutcome::Unmarked(state("", 11)));
    }

    #[test]
    fn a_key_in_doubt_is_marked_if_the_lease_shows_it_as_done_by_this_holder() {
        let by_them = DoneKeys::Empty.with(&DoneKey { by: "them".into(), ..mark() });
        for (seen, is_marked) in [
            (Some(marked(state("", 11))), true),
            (Some(marked(state("them", 12))), true),
            (Some(state("", 11)), false),
            (Some(Snapshot { done: by_them, ..state("", 12) }), false),
            (None, false),
        ] {
            let mut release = of_hold(false).marking(Some(mark()));
            write(&mut release);
            answer(&mut release, in_doubt(None));
            read(&mut release, seen);
            assert_eq!(end(&mut release) == ReleaseOutcome::Done(None), is_marked);
        }
    }

    #[test]
    fn a_release_that_lost_races_is_conditional_on_the_record_alone() {
        let ticket = Ticket { number: 7, head_start: Duration::from_millis(50) };
        for (rejoining, races) in [(false, 1), (true, ReleaseState::RACES_WITH_TICKET)] {
            let mut release = of_hold(false);
            if rejoining {
                release = release.rejoining(ticket, true);
            }
            for revision in 10..10 + u64::from(races) {
                assert_eq!(write(&mut release).on_record, None);
                answer(&mut release, Outcome::Conflict);
                read(&mut release, Some(state("me", revision + 1)));
            }
            let on_record = Some(Box::new(state("me", 0).record));
            assert_eq!(write(&mut release).on_record, on_record);
        }
    }

    #[test]
    fn a_release_that_lost_races_marks_its_key_all_the_same() {
        let mut release = of_hold(false).marking(Some(mark()));
        write(&mut release);
        answer(&mut release, Outcome::Conflict);
        read(&mut release, Some(state("me", 11)));
        let write = write(&mut release);
        assert!(write.on_record.is_some());
        assert_eq!(write.done, DoneKeys::listed(vec![mark()]));
    }

    #[test]
    fn in_doubt_it_reads_first_and_leaves_a_successor_alone() {
        let mut release = of_hold(true);
        read(&mut release, Some(state("them", 12)));
        let lost = ReleaseOutcome::Lost(Loss::TakenOver { by: "them".into() });
        assert_eq!(release.step(NOW, WALL), ReleaseStep::End(lost));

        let mut release = of_hold(true);
        read(&mut release, None);
        assert_eq!(release.step(NOW, WALL), ReleaseStep::End(ReleaseOutcome::Lost(Loss::Deleted)));

        let mut release = of_hold(true);
        read(&mut release, Some(state("me", 12)));
        assert_eq!(
            write(&mut release).on,
            Some(state("me", 12).version),
            "it is conditional on the state that it has just read"
        );
    }

    #[test]
    fn a_release_in_doubt_is_resolved_by_a_read() {
        for (seen, released) in [(state("them", 13), true), (state("me", 10), false)] {
            let mut release = of_hold(false);
            write(&mut release);
            answer(&mut release, in_doubt(None));
            read(&mut release, Some(seen));
            let end = ReleaseStep::End(ReleaseOutcome::Done(None));
            assert_eq!(release.step(NOW, WALL) == end, released);
        }
    }

    #[test]
    fn an_event_is_as_good_as_a_read_if_it_is_newer() {
        let after_conflict = |event| {
            let mut release = of_hold(false);
            write(&mut release);
            answer(&mut release, Outcome::Conflict);
            release.watched(event);
            release.step(NOW, WALL)
        };
        let joined = WatchEvent::Changed(state("me", 11));
        let ReleaseStep::Write(write) = after_conflict(joined) else { panic!("no read is needed") };
        assert_eq!(write.on, Some(state("me", 11).version));
        let done = ReleaseStep::End(ReleaseOutcome::Done(None));
        assert_eq!(
            after_conflict(WatchEvent::Changed(state("them", 12))),
            done,
            "the release was made after all"
        );
        assert_eq!(after_conflict(WatchEvent::Deleted(12)), done);
        for old in [WatchEvent::Changed(state("me", 10)), WatchEvent::Deleted(9), WatchEvent::Bookmark] {
            assert_eq!(after_conflict(old), ReleaseStep::Read);
        }
    }

    #[test]
    fn past_the_deadline_nothing_is_written() {
        let mut release = of_hold(false);
        write(&mut release);
        answer(&mut release, in_doubt(None));
        assert_eq!(release.step(deadline(), WALL), ReleaseStep::End(ReleaseOutcome::Unconfirmed));
    }

    #[test]
    fn a_hold_that_was_over_before_its_release_is_lost() {
        for must_read in [false, true] {
            let lost = ReleaseStep::End(ReleaseOutcome::Lost(Loss::Deadline));
            assert_eq!(of_hold(must_read).step(deadline(), WALL), lost);
        }
        assert_eq!(of_claim(None).step(deadline(), WALL), ReleaseStep::End(ReleaseOutcome::Unconfirmed));
    }

    #[test]
    fn a_failed_read_is_no_release() {
        let mut release = of_hold(true);
        assert_eq!(release.step(NOW, WALL), ReleaseStep::Read);
        answer(&mut release, in_doubt(Some(Duration::from_secs(1))));
        assert_eq!(release.step(NOW, WALL), ReleaseStep::Wait(NOW + Duration::from_secs(1)));
    }

    #[test]
    fn a_claim_that_was_made_after_all_is_released() {
        let mut release = of_claim(Some(10));
        read(&mut release, Some(state("me", 11)));
        assert_eq!(write(&mut release).on, Some(state("me", 11).version));
    }

    #[test]
    fn a_claim_that_may_still_be_made_is_forestalled() {
        let mut release = of_claim(Some(10));
        read(&mut release, Some(state("", 10)));
        assert_eq!(
            write(&mut release).on,
            Some(state("", 10).version),
            "the version that the claim waits for is gone"
        );

        let mut release = of_claim(None);
        read(&mut release, None);
        let write = write(&mut release);
        assert_eq!((write.on, write.record.holder), (None, None));
    }

    #[test]
    fn a_claim_that_can_no_longer_be_made_needs_nothing() {
        for seen in [Some(state("them", 11)), Some(state("", 12)), None] {
            let mut release = of_claim(Some(10));
            read(&mut release, seen);
            assert_eq!(release.step(NOW, WALL), ReleaseStep::End(ReleaseOutcome::Done(None)));
        }
    }
}

//! Giving a Lease back: a finished hold, or a claim that nobody waits for any more.

use super::{Answer, Loss, Moment, Stamp, Write};
use crate::queue::Ticket;
use crate::record::{Record, Snapshot, Version};

/// Empties the holder of a Lease that is ours, or may be.
///
/// Conditional like every write, so it never touches a successor. Nothing is written past the deadline:
/// from then on expiry does the job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Release {
    /// The holder identities under which the Lease may be ours.
    ours: Vec<String>,
    /// The place in the queue to take with the release, where others wait.
    rejoining: Option<Ticket>,
    /// The state to overwrite; `None` where there is no Lease.
    on: Option<Snapshot>,
    origin: Origin,
    deadline: Moment,
    due: Moment,
    doubt: bool,
    /// A release may have been made without our knowing it.
    maybe_released: bool,
    under_way: bool,
    end: Option<Released>,
}

/// What is given back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Origin {
    Hold,
    /// A claim never answered, conditional on `on` (`None`: on there being no Lease). It may yet be made,
    /// unless something else is written over that state first.
    Claim {
        on: Option<Version>,
    },
    /// A hold that was over before, handed on to somebody who did not want it any more.
    Passed,
}

/// How a release ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Released {
    /// The Lease is no longer ours, by our own doing; the state we left, where that is known.
    Done(Option<Snapshot>),
    /// The Lease was no longer ours to release.
    Lost(Loss),
    /// The deadline came first: the Lease is released, or it expires.
    Unconfirmed,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ReleaseStep {
    Write(Write),
    Look,
    Wait(Moment),
    End(Released),
}

impl Release {
    /// Ends a hold by `me` that was last seen in `current`; in doubt, it looks first.
    pub(super) fn of_hold(me: String, current: Snapshot, doubt: bool, deadline: Moment) -> Self {
        Self::new(vec![me], Some(current), Origin::Hold, doubt, deadline)
    }

    /// Withdraws a claim, conditional on `on`, that was never answered.
    pub(crate) fn of_claim(ours: Vec<String>, on: Option<Version>, deadline: Moment) -> Self {
        Self::new(ours, None, Origin::Claim { on }, true, deadline)
    }

    /// Gives back what was handed on.
    pub(super) fn of_passed(ours: Vec<String>, deadline: Moment) -> Self {
        Self::new(ours, None, Origin::Passed, true, deadline)
    }

    /// The same, and waits in line for the Lease at once, if others do.
    pub(crate) fn rejoining(self, ticket: Ticket) -> Self {
        Self { rejoining: Some(ticket), ..self }
    }

    fn new(ours: Vec<String>, on: Option<Snapshot>, origin: Origin, doubt: bool, deadline: Moment) -> Self {
        Self {
            ours,
            rejoining: None,
            on,
            origin,
            deadline,
            due: Moment::ORIGIN,
            doubt,
            maybe_released: false,
            under_way: false,
            end: None,
        }
    }

    /// The end of trying.
    pub(crate) fn deadline(&self) -> Moment {
        self.deadline
    }

    /// Decides. A returned [`ReleaseStep::Write`] or [`ReleaseStep::Look`] counts as sent.
    pub(crate) fn step(&mut self, now: Moment, wall: Stamp) -> ReleaseStep {
        if now >= self.deadline {
            let end = self.too_late();
            self.end.get_or_insert(end);
        }
        if let Some(end) = &self.end {
            return ReleaseStep::End(end.clone());
        }
        if self.under_way || now < self.due {
            return ReleaseStep::Wait(if self.under_way {
                self.deadline
            } else {
                self.due.min(self.deadline)
            });
        }
        self.under_way = true;
        if self.doubt { ReleaseStep::Look } else { ReleaseStep::Write(self.write(wall)) }
    }

    /// A hold that was over before anything was tried was not released, but lost.
    fn too_late(&self) -> Released {
        let tried = self.under_way || self.maybe_released || self.due > Moment::ORIGIN;
        match self.origin {
            Origin::Hold if !tried => Released::Lost(Loss::Deadline),
            _ => Released::Unconfirmed,
        }
    }

    /// Takes the answer to the request under way.
    pub(crate) fn answered(&mut self, answer: Answer, now: Moment) {
        self.under_way = false;
        match answer {
            Answer::Written(snapshot) => self.end(Released::Done(Some(snapshot))),
            Answer::Seen(seen) => self.saw(seen),
            Answer::Unknown { pause } => {
                self.unsettle();
                self.due = now + pause;
            }
        }
    }

    fn saw(&mut self, seen: Option<Snapshot>) {
        let version = seen.as_ref().map(|snapshot| &snapshot.version);
        let holder = seen.as_ref().and_then(|snapshot| snapshot.record.holder.clone());
        let claim_pending = matches!(&self.origin, Origin::Claim { on } if on.as_ref() == version);
        if claim_pending || holder.as_ref().is_some_and(|holder| self.ours.contains(holder)) {
            self.on = seen;
            self.doubt = false;
        } else if self.maybe_released || self.origin != Origin::Hold {
            self.end(Released::Done(None));
        } else {
            self.end(Released::Lost(match (seen, holder) {
                (None, _) => Loss::Deleted,
                (Some(_), None) => Loss::Cleared,
                (Some(_), Some(by)) => Loss::TakenOver { by },
            }));
        }
    }

    fn write(&self, wall: Stamp) -> Write {
        let Some(on) = &self.on else {
            return Write::create(Record::free(wall));
        };
        let stamp = wall.distinct_from(on.record.renewed);
        let queue = match self.rejoining {
            Some(ticket) if !on.queue.is_empty() => on.queue.joined_by(ticket),
            _ => on.queue.clone(),
        };
        Write::replace(on, on.record.release(stamp), queue)
    }

    fn unsettle(&mut self) {
        // A look that failed leaves nothing behind; a write might have been made.
        self.maybe_released |= !self.doubt;
        self.doubt = true;
    }

    fn end(&mut self, end: Released) {
        self.end.get_or_insert(end);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::queue::Queue;

    const NOW: Moment = Moment::ORIGIN;
    const WALL: Stamp = Stamp(1_000_000_000);

    fn state(holder: &str, revision: u64) -> Snapshot {
        let record = Record::claim(holder, Duration::from_secs(15), None, Stamp(0));
        let record = if holder.is_empty() { record.release(Stamp(0)) } else { record };
        Snapshot { version: Version { uid: "u".into(), revision }, record, queue: Queue::default() }
    }

    fn deadline() -> Moment {
        NOW + Duration::from_secs(10)
    }

    fn of_hold(doubt: bool) -> Release {
        Release::of_hold("me".into(), state("me", 10), doubt, deadline())
    }

    fn of_claim(on: Option<u64>) -> Release {
        Release::of_claim(vec!["me".into()], on.map(|revision| state("", revision).version), deadline())
    }

    fn write(release: &mut Release) -> Write {
        match release.step(NOW, WALL) {
            ReleaseStep::Write(write) => write,
            other => panic!("expected a write, not {other:?}"),
        }
    }

    fn look(release: &mut Release, seen: Option<Snapshot>) {
        assert_eq!(release.step(NOW, WALL), ReleaseStep::Look);
        release.answered(Answer::Seen(seen), NOW);
    }

    #[test]
    fn a_hold_is_released_in_one_write() {
        let mut release = of_hold(false);
        let write = write(&mut release);
        assert_eq!(write.on, Some(state("me", 10).version));
        assert_eq!((write.record.holder, write.record.duration), (None, Some(Duration::from_secs(1))));
        release.answered(Answer::Written(state("", 11)), NOW);
        assert_eq!(release.step(NOW, WALL), ReleaseStep::End(Released::Done(Some(state("", 11)))));
    }

    #[test]
    fn who_will_be_back_takes_a_place_behind_those_who_wait() {
        let waiting = Queue::default().joined_by(Ticket(1));
        for (queue, left) in [(Queue::default(), None), (waiting.clone(), Some(waiting.joined_by(Ticket(7))))]
        {
            let held = Snapshot { queue, ..state("me", 10) };
            let release = Release::of_hold("me".into(), held, false, deadline());
            assert_eq!(write(&mut release.rejoining(Ticket(7))).queue, left);
        }
    }

    #[test]
    fn in_doubt_it_looks_first_and_leaves_a_successor_alone() {
        let mut release = of_hold(true);
        look(&mut release, Some(state("them", 12)));
        let lost = Released::Lost(Loss::TakenOver { by: "them".into() });
        assert_eq!(release.step(NOW, WALL), ReleaseStep::End(lost));

        let mut release = of_hold(true);
        look(&mut release, None);
        assert_eq!(release.step(NOW, WALL), ReleaseStep::End(Released::Lost(Loss::Deleted)));

        let mut release = of_hold(true);
        look(&mut release, Some(state("me", 12)));
        assert_eq!(
            write(&mut release).on,
            Some(state("me", 12).version),
            "it builds on what it has just seen"
        );
    }

    #[test]
    fn an_unknown_release_is_settled_by_looking() {
        for (seen, released) in [(state("them", 13), true), (state("me", 10), false)] {
            let mut release = of_hold(false);
            write(&mut release);
            release.answered(Answer::Unknown { pause: Duration::ZERO }, NOW);
            look(&mut release, Some(seen));
            let end = ReleaseStep::End(Released::Done(None));
            assert_eq!(release.step(NOW, WALL) == end, released);
        }
    }

    #[test]
    fn past_the_deadline_nothing_is_written() {
        let mut release = of_hold(false);
        write(&mut release);
        release.answered(Answer::Unknown { pause: Duration::ZERO }, NOW);
        assert_eq!(release.step(deadline(), WALL), ReleaseStep::End(Released::Unconfirmed));
    }

    #[test]
    fn a_hold_that_was_over_before_its_release_is_lost() {
        for doubt in [false, true] {
            let lost = ReleaseStep::End(Released::Lost(Loss::Deadline));
            assert_eq!(of_hold(doubt).step(deadline(), WALL), lost);
        }
        assert_eq!(of_claim(None).step(deadline(), WALL), ReleaseStep::End(Released::Unconfirmed));
    }

    #[test]
    fn a_failed_look_is_no_release() {
        let mut release = of_hold(true);
        assert_eq!(release.step(NOW, WALL), ReleaseStep::Look);
        release.answered(Answer::Unknown { pause: Duration::from_secs(1) }, NOW);
        assert_eq!(release.step(NOW, WALL), ReleaseStep::Wait(NOW + Duration::from_secs(1)));
    }

    #[test]
    fn a_claim_that_was_made_after_all_is_released() {
        let mut release = of_claim(Some(10));
        look(&mut release, Some(state("me", 11)));
        assert_eq!(write(&mut release).on, Some(state("me", 11).version));
    }

    #[test]
    fn a_claim_that_may_yet_be_made_is_forestalled() {
        let mut release = of_claim(Some(10));
        look(&mut release, Some(state("", 10)));
        assert_eq!(write(&mut release).on, Some(state("", 10).version), "the version it waits for goes away");

        let mut release = of_claim(None);
        look(&mut release, None);
        let write = write(&mut release);
        assert_eq!((write.on, write.record.holder), (None, None));
    }

    #[test]
    fn a_claim_that_can_no_longer_be_made_needs_nothing() {
        for seen in [Some(state("them", 11)), Some(state("", 12)), None] {
            let mut release = of_claim(Some(10));
            look(&mut release, seen);
            assert_eq!(release.step(NOW, WALL), ReleaseStep::End(Released::Done(None)));
        }
    }
}

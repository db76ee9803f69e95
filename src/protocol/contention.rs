//! The waiting side: when to look, when to claim, and what became of a claim that was not answered.

use super::judge::{Judge, Verdict};
use super::{Answer, Left, Moment, Release, Stamp, Terms, Write};
use crate::queue::{Queue, Ticket};
use crate::record::{Record, Snapshot, Version};

/// One acquisition by one holder identity, up to the claim that wins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Contention {
    me: String,
    ticket: Ticket,
    terms: Terms,
    /// Who of this process held the Lease before, and handed it on.
    predecessor: Option<String>,
    /// What was last received; `None`: there is no Lease.
    seen: Option<Snapshot>,
    /// The judgement on it; `None`: look before anything else.
    verdict: Option<Verdict>,
    under_way: Option<Request>,
    unsettled: Option<UnsettledClaims>,
    /// Nothing is sent before this.
    due: Moment,
    /// The last `renewTime` sent. They only rise, so that each claim can be told from the others.
    stamp: Option<Stamp>,
    won: Option<Claim>,
}

/// A claim that was made, and the sending that it counts from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub sent: Moment,
    pub snapshot: Snapshot,
    /// Whether it created the Lease.
    pub created: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Request {
    Look,
    Claim { on: Option<Version>, attempt: Attempt },
}

/// Claims that may have been made, or may yet be made, without our knowing it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct UnsettledClaims {
    /// The state they were conditional on; `None`: on there being no Lease.
    on: Option<Version>,
    attempts: Vec<Attempt>,
}

/// One sending of a claim, recognised in the Lease by its `renewTime`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    sent: Moment,
    stamp: Stamp,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContentionStep {
    /// Read the Lease and report its [`Answer`].
    Look,
    /// Send this write and report its [`Answer`].
    Claim(Write),
    /// Somebody holds the Lease: nothing before this moment, unless the watch tells something.
    Wait(Moment),
    /// A request failed: nothing before this moment.
    Pause(Moment),
    /// The Lease is ours.
    Won(Claim),
}

impl Contention {
    /// Starts with a look, unless the Lease was `left` for us to claim.
    pub(crate) fn new(me: String, ticket: Ticket, terms: Terms, left: Left) -> Self {
        let (predecessor, seen) = match left {
            Left::Unknown => (None, None),
            Left::Free(snapshot) => (None, Some(snapshot)),
            Left::Passed { by, snapshot } => (Some(by), Some(snapshot)),
        };
        Self {
            me,
            ticket,
            terms,
            predecessor,
            verdict: seen.as_ref().map(|_| Verdict::Claim),
            seen,
            under_way: None,
            unsettled: None,
            due: Moment::ORIGIN,
            stamp: None,
            won: None,
        }
    }

    /// Whether the next step is to claim what was seen.
    pub(crate) fn may_claim(&self) -> bool {
        self.won.is_none() && self.under_way.is_none() && self.verdict == Some(Verdict::Claim)
    }

    /// What was last received; `None`: there is no Lease, or nothing was received yet.
    pub(crate) fn seen(&self) -> Option<&Snapshot> {
        self.seen.as_ref()
    }

    /// The queue before the Lease, where it is for the first in it to claim: a record of our own is nobody else's.
    pub(crate) fn queue(&self) -> Option<&Queue> {
        self.seen.as_ref().filter(|seen| !self.is_ours(seen)).map(|seen| &seen.queue)
    }

    /// Whether the Lease has been seen, and nothing has cast doubt on it since.
    pub(crate) fn is_judged(&self) -> bool {
        self.verdict.is_some()
    }

    /// Whether a claim of ours may have created the Lease.
    pub(crate) fn may_have_created(&self) -> bool {
        let under_way = matches!(self.under_way, Some(Request::Claim { on: None, .. }));
        under_way || self.unsettled.as_ref().is_some_and(|claims| claims.on.is_none())
    }

    /// Decides. A returned [`ContentionStep::Look`] or [`ContentionStep::Claim`] counts as sent at `now`.
    pub(crate) fn step(&mut self, now: Moment, wall: Stamp) -> ContentionStep {
        if let Some(claim) = &self.won {
            return ContentionStep::Won(claim.clone());
        }
        if self.under_way.is_some() {
            return ContentionStep::Pause(now + self.terms.lease_duration);
        }
        match self.verdict {
            _ if now < self.due => ContentionStep::Pause(self.due),
            Some(Verdict::Wait(until)) if now < until => ContentionStep::Wait(until),
            Some(Verdict::Claim) => ContentionStep::Claim(self.claim(now, wall)),
            Some(Verdict::Wait(_)) | None => {
                self.under_way = Some(Request::Look);
                ContentionStep::Look
            }
        }
    }

    /// Takes the answer to the request under way.
    pub(crate) fn answered(&mut self, answer: Answer, judge: &mut Judge, now: Moment, wall: Stamp) {
        let Some(request) = self.under_way.take() else { return };
        if let Answer::Unknown { pause } = answer {
            self.due = now + pause;
        }
        match (request, answer) {
            // An answer that comes when the hold would be over already is as good as none.
            (Request::Claim { on, attempt }, Answer::Written(snapshot))
                if now < attempt.sent + self.terms.renew_deadline =>
            {
                self.unsettled = None;
                self.won = Some(Claim { sent: attempt.sent, snapshot, created: on.is_none() });
            }
            (Request::Claim { on, attempt }, _) => {
                self.unsettle(on, attempt);
                self.verdict = None;
            }
            (Request::Look, Answer::Seen(seen)) => {
                self.receive(seen, judge, now, wall);
                self.settle(now);
            }
            (Request::Look, _) => self.verdict = None,
        }
    }

    /// The request under way was refused for good: it has had, and will have, no effect.
    pub(crate) fn refused(&mut self) {
        self.under_way = None;
    }

    /// Takes a state of the Lease from the watch, told as of `revision`.
    pub(crate) fn watched(
        &mut self,
        revision: u64,
        seen: Option<Snapshot>,
        judge: &mut Judge,
        now: Moment,
        wall: Stamp,
    ) {
        let known = self.seen.as_ref().map_or(0, |seen| seen.version.revision);
        if revision > known && self.verdict.is_some() {
            self.receive(seen, judge, now, wall);
        }
    }

    /// Has the Lease looked at before anything else, but not before `due`.
    pub(crate) fn doubt(&mut self, due: Moment) {
        self.verdict = None;
        self.due = due;
    }

    /// The way to make sure that no claim of ours stays in the Lease; `None` if there was none.
    pub(crate) fn withdraw(mut self, now: Moment) -> Option<Release> {
        if let Some(Request::Claim { on, attempt }) = self.under_way.take() {
            self.unsettle(on, attempt);
        }
        let deadline = now + self.terms.renew_deadline;
        let ours = [self.predecessor, Some(self.me)].into_iter().flatten().collect::<Vec<_>>();
        match self.unsettled {
            Some(claims) => Some(Release::of_claim(ours, claims.on, deadline)),
            None => (ours.len() > 1).then(|| Release::of_passed(ours, deadline)),
        }
    }

    fn claim(&mut self, now: Moment, wall: Stamp) -> Write {
        let previous = self.seen.as_ref().map(|seen| &seen.record);
        let stamp = self.next_stamp(previous, wall);
        let record = Record::claim(&self.me, self.terms.lease_duration, previous, stamp);
        let write = match &self.seen {
            None => Write::create(record),
            Some(seen) if self.is_ours(seen) => Write::replace(seen, record, seen.queue.clone()),
            Some(seen) => Write::replace(seen, record, seen.queue.after(self.ticket)),
        };
        self.stamp = Some(stamp);
        let attempt = Attempt { sent: now, stamp };
        self.under_way = Some(Request::Claim { on: write.on.clone(), attempt });
        write
    }

    /// Whether a claim of ours is in the Lease, or what our predecessor handed on.
    fn is_ours(&self, seen: &Snapshot) -> bool {
        let ours = |holder: &String| *holder == self.me || Some(holder) == self.predecessor.as_ref();
        seen.record.holder.as_ref().is_some_and(ours)
    }

    /// Later than all of ours, and in another second than what it replaces.
    fn next_stamp(&self, previous: Option<&Record>, wall: Stamp) -> Stamp {
        let replaced = previous.and_then(|record| record.renewed);
        let stamp = self.stamp.map_or(wall, |last| wall.after(last));
        match replaced {
            Some(ours) if previous.is_some_and(|record| record.holder.as_ref() == Some(&self.me)) => {
                stamp.after(ours)
            }
            other => stamp.distinct_from(other),
        }
    }

    fn receive(&mut self, seen: Option<Snapshot>, judge: &mut Judge, now: Moment, wall: Stamp) {
        let ours = seen.as_ref().is_some_and(|seen| self.is_ours(seen));
        let judged = if ours { None } else { seen.as_ref() };
        self.verdict = Some(judge.judge(&self.me, judged, now, wall));
        self.seen = seen;
    }

    /// Nobody knows what became of a claim. Earlier ones on another state can no longer be made: that state
    /// had gone when this one was sent.
    fn unsettle(&mut self, on: Option<Version>, attempt: Attempt) {
        let earlier = self.unsettled.take().filter(|claims| claims.on == on);
        let mut attempts = earlier.map_or_else(Vec::new, |claims| claims.attempts);
        attempts.push(attempt);
        self.unsettled = Some(UnsettledClaims { on, attempts });
    }

    /// Looks for what became of unsettled claims. One that was made counts from its own sending; a record of
    /// ours that is not known to be one of them is claimed over.
    fn settle(&mut self, now: Moment) {
        let Some(claims) = &self.unsettled else { return };
        if self.seen.as_ref().map(|seen| &seen.version) == claims.on.as_ref() {
            return; // They may yet be made.
        }
        let Some(seen) = self.seen.as_ref().filter(|seen| seen.record.holder.as_ref() == Some(&self.me))
        else {
            self.unsettled = None; // They never will be.
            return;
        };
        let made = claims.attempts.iter().find(|attempt| seen.record.renewed == Some(attempt.stamp));
        let fresh = made.filter(|attempt| now < attempt.sent + self.terms.renew_interval);
        let intact = seen.record.duration == Some(self.terms.lease_duration);
        if let (Some(attempt), true) = (fresh, intact) {
            let claim = Claim { sent: attempt.sent, snapshot: seen.clone(), created: claims.on.is_none() };
            self.won = Some(claim);
            self.unsettled = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::ReleaseStep;

    const TERMS: Terms = Terms {
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        renew_interval: Duration::from_secs(5),
    };
    const WALL: Stamp = Stamp(1_000_000_000);
    const PAUSE: Duration = Duration::from_millis(250);

    fn at(millis: u64) -> Moment {
        Moment::ORIGIN + Duration::from_millis(millis)
    }

    fn state(holder: &str, revision: u64) -> Snapshot {
        let record = Record::claim(holder, TERMS.lease_duration, None, WALL);
        let record = if holder.is_empty() { record.release(WALL) } else { record };
        Snapshot { version: Version { uid: "u".into(), revision }, record, queue: Queue::default() }
    }

    struct Me(Contention, Judge);

    impl Me {
        fn new(left: Left) -> Self {
            let judge = Judge::new(TERMS.lease_duration, None);
            Self(Contention::new("me".into(), Ticket(7), TERMS, left), judge)
        }

        fn step(&mut self, millis: u64) -> ContentionStep {
            self.0.step(at(millis), WALL)
        }

        fn claim(&mut self, millis: u64) -> Write {
            match self.step(millis) {
                ContentionStep::Claim(write) => write,
                other => panic!("expected a claim, not {other:?}"),
            }
        }

        fn answer(&mut self, answer: Answer, millis: u64) {
            self.0.answered(answer, &mut self.1, at(millis), WALL);
        }

        fn look(&mut self, seen: Option<Snapshot>, millis: u64) {
            assert_eq!(self.step(millis), ContentionStep::Look);
            self.answer(Answer::Seen(seen), millis);
        }

        fn watch(&mut self, seen: Snapshot, millis: u64) {
            self.0.watched(seen.version.revision, Some(seen), &mut self.1, at(millis), WALL);
        }
    }

    fn unknown() -> Answer {
        Answer::Unknown { pause: PAUSE }
    }

    #[test]
    fn a_free_lease_takes_one_look_and_one_claim() {
        let mut me = Me::new(Left::Unknown);
        me.look(Some(state("", 4)), 0);
        let write = me.claim(1);
        assert_eq!((write.on, write.record.holder.as_deref()), (Some(state("", 4).version), Some("me")));
        me.answer(Answer::Written(state("me", 5)), 9);
        let claim = Claim { sent: at(1), snapshot: state("me", 5), created: false };
        assert_eq!(me.step(9), ContentionStep::Won(claim));
    }

    #[test]
    fn an_answer_that_comes_after_the_hold_would_be_over_wins_nothing() {
        let mut me = Me::new(Left::Free(state("", 4)));
        me.claim(0);
        me.answer(Answer::Written(state("me", 5)), 10_000);
        me.look(Some(state("them", 6)), 10_001);
        assert_eq!(me.step(10_001), ContentionStep::Wait(at(25_001)));
    }

    #[test]
    fn what_was_left_free_is_claimed_without_a_look_and_looked_at_after_a_conflict() {
        let mut me = Me::new(Left::Free(state("", 4)));
        assert_eq!(me.claim(0).on, Some(state("", 4).version));
        me.answer(Answer::Unknown { pause: Duration::ZERO }, 2);
        me.look(Some(state("them", 6)), 2);
        assert_eq!(me.step(2), ContentionStep::Wait(at(15_002)));
    }

    fn queue(tickets: &[u64]) -> Queue {
        tickets.iter().fold(Queue::default(), |queue, number| queue.joined_by(Ticket(*number)))
    }

    #[test]
    fn a_claim_takes_its_own_place_and_those_ahead_out_of_the_queue() {
        for (before, after) in
            [(&[][..], None), (&[7, 8], Some(&[8][..])), (&[5, 7, 8], Some(&[8])), (&[5, 6], Some(&[]))]
        {
            let mut me = Me::new(Left::Free(Snapshot { queue: queue(before), ..state("", 4) }));
            assert_eq!(me.claim(0).queue, after.map(queue), "{before:?}");
        }
    }

    #[test]
    fn what_was_handed_on_is_claimed_at_once_and_again_after_a_conflict() {
        let handed_on = Snapshot { queue: queue(&[5]), ..state("one", 4) };
        let mut me = Me::new(Left::Passed { by: "one".into(), snapshot: handed_on.clone() });
        assert_eq!(me.0.queue(), None, "nobody else can claim it");
        let write = me.claim(0);
        assert_eq!((write.on, write.queue), (Some(state("one", 4).version), Some(queue(&[5]))));
        me.answer(Answer::Unknown { pause: Duration::ZERO }, 2);
        me.look(Some(state("one", 5)), 2);
        assert_eq!(me.claim(3).on, Some(state("one", 5).version));
        me.answer(Answer::Unknown { pause: Duration::ZERO }, 4);
        me.look(Some(state("them", 6)), 4);
        assert_eq!(me.step(5), ContentionStep::Wait(at(15_004)));
    }

    #[test]
    fn what_was_handed_on_and_is_not_wanted_is_given_back() {
        for (seen, written) in [("one", true), ("me", true), ("them", false)] {
            let me = Me::new(Left::Passed { by: "one".into(), snapshot: state("one", 4) });
            let mut release = me.0.withdraw(at(0)).expect("something to give back");
            assert_eq!(release.step(at(0), WALL), ReleaseStep::Look);
            release.answered(Answer::Seen(Some(state(seen, 5))), at(1));
            assert_eq!(matches!(release.step(at(1), WALL), ReleaseStep::Write(_)), written, "{seen}");
        }
        assert_eq!(Me::new(Left::Free(state("", 4))).0.withdraw(at(0)), None);
    }

    #[test]
    fn a_claim_never_repeats_the_second_of_the_record_it_replaces() {
        let mut me = Me::new(Left::Free(state("", 4)));
        assert_eq!(me.claim(0).record.renewed.map(Stamp::second), Some(WALL.second() + 1));
    }

    #[test]
    fn a_release_told_by_the_watch_is_claimed_at_once_and_old_news_ignored() {
        let mut me = Me::new(Left::Unknown);
        me.look(Some(state("them", 4)), 0);
        me.watch(state("", 3), 10);
        assert_eq!(me.step(10), ContentionStep::Wait(at(15_000)));
        me.watch(state("", 5), 20);
        assert_eq!(me.claim(20).on, Some(state("", 5).version));
    }

    #[test]
    fn an_expired_lease_is_looked_at_once_more_before_it_is_claimed() {
        let mut me = Me::new(Left::Unknown);
        me.look(Some(state("them", 4)), 0);
        assert_eq!(me.step(14_999), ContentionStep::Wait(at(15_000)));
        me.look(Some(state("them", 4)), 15_000);
        assert_eq!(me.claim(15_001).on, Some(state("them", 4).version));
    }

    /// What a claim leaves.
    fn made(write: &Write, revision: u64) -> Snapshot {
        Snapshot {
            version: Version { uid: "u".into(), revision },
            record: write.record.clone(),
            queue: write.queue.clone().unwrap_or_default(),
        }
    }

    #[test]
    fn an_unanswered_claim_that_was_made_counts_from_its_own_sending() {
        for landed in [0, 1] {
            let mut me = Me::new(Left::Free(state("", 4)));
            let first = me.claim(0);
            me.answer(unknown(), 1_000);
            assert_eq!(me.step(1_000), ContentionStep::Pause(at(1_250)));
            me.look(Some(state("", 4)), 1_250);
            let second = me.claim(1_251);
            me.answer(unknown(), 2_000);
            let (write, sent) = [(first, at(0)), (second, at(1_251))][landed].clone();
            me.look(Some(made(&write, 5)), 2_250);
            let claim = Claim { sent, snapshot: made(&write, 5), created: false };
            assert_eq!(me.step(2_250), ContentionStep::Won(claim));
        }
    }

    #[test]
    fn an_earlier_claim_is_not_taken_for_a_later_one() {
        let mut me = Me::new(Left::Free(state("", 4)));
        let first = me.claim(0);
        me.answer(unknown(), 3_000);
        // Too old to build on; the claim over it fails, and somebody edits a label.
        me.look(Some(made(&first, 5)), 9_000);
        me.claim(9_001);
        me.answer(unknown(), 9_002);
        me.look(Some(made(&first, 6)), 9_252);
        assert_eq!(me.claim(9_253).on.map(|on| on.revision), Some(6), "not won, but claimed over once more");
    }

    #[test]
    fn one_that_is_too_old_to_build_on_is_claimed_again() {
        let mut me = Me::new(Left::Free(state("", 4)));
        let write = me.claim(0);
        me.answer(unknown(), 3_000);
        me.look(Some(made(&write, 5)), 5_000);
        assert_eq!(me.claim(5_001).on, Some(made(&write, 5).version));
        me.answer(Answer::Written(state("me", 6)), 5_010);
        assert!(matches!(me.step(5_010), ContentionStep::Won(claim) if claim.sent == at(5_001)));
    }

    #[test]
    fn one_that_was_edited_since_is_claimed_again() {
        let mut me = Me::new(Left::Free(state("", 4)));
        let write = me.claim(0);
        me.answer(unknown(), 100);
        let mut edited = made(&write, 6);
        edited.record.duration = Some(Duration::from_secs(1));
        me.look(Some(edited), 350);
        assert_eq!(me.claim(351).on.map(|on| on.revision), Some(6));
    }

    #[test]
    fn giving_up_leaves_nothing_to_do_unless_a_claim_may_have_been_made() {
        let withdraw = |me: Me| me.0.withdraw(at(0)).is_some();
        assert!(!withdraw(Me::new(Left::Unknown)));

        let mut me = Me::new(Left::Free(state("", 4)));
        me.claim(0);
        assert!(withdraw(me), "under way");

        let mut me = Me::new(Left::Free(state("", 4)));
        me.claim(0);
        me.answer(unknown(), 100);
        me.look(Some(state("", 4)), 350);
        assert!(me.0.unsettled.is_some() && withdraw(me), "it may yet be made");

        let mut me = Me::new(Left::Free(state("", 4)));
        me.claim(0);
        me.answer(unknown(), 100);
        me.look(Some(state("them", 5)), 350);
        assert!(!withdraw(me), "it never will be");

        let mut me = Me::new(Left::Free(state("", 4)));
        me.claim(0);
        me.0.refused();
        assert!(!withdraw(me), "it was refused");
    }
}

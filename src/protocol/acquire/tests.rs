use std::time::Duration;

use super::*;
use crate::protocol::ReleaseStep;

const TIMINGS: Timings = Timings {
    lease_duration: Duration::from_secs(15),
    token_deadline: Duration::from_secs(10),
    renew_interval: Duration::from_secs(5),
};
const WALL: WallTime = WallTime(1_000_000_000);
const PAUSE: Duration = Duration::from_millis(250);

fn at(millis: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(millis)
}

fn state(holder: &str, revision: u64) -> Snapshot {
    let record = Record::claim(holder, TIMINGS.lease_duration, None, WALL);
    let record = if holder.is_empty() { record.release(WALL) } else { record };
    Snapshot { version: Version { uid: "u".into(), revision }, record, queue: Queue::default() }
}

struct Me(AcquireState, ExpiryTracker);

impl Me {
    fn new(carryover: Carryover) -> Self {
        let expiry = ExpiryTracker::new(TIMINGS.lease_duration, None);
        Self(AcquireState::new("me".into(), Ticket(7), TIMINGS, carryover), expiry)
    }

    fn step(&mut self, millis: u64) -> AcquireStep {
        self.0.step(at(millis), WALL)
    }

    fn claim(&mut self, millis: u64) -> Write {
        match self.step(millis) {
            AcquireStep::Claim(write) => write,
            other => panic!("expected a claim, not {other:?}"),
        }
    }

    fn answer(&mut self, outcome: Outcome, millis: u64) {
        self.0.answered(outcome, &mut self.1, at(millis), WALL);
    }

    fn read(&mut self, seen: Option<Snapshot>, millis: u64) {
        assert_eq!(self.step(millis), AcquireStep::Read);
        self.answer(Outcome::Read(seen), millis);
    }

    fn watch(&mut self, seen: Snapshot, millis: u64) {
        self.0.watched(seen.version.revision, Some(seen), &mut self.1, at(millis), WALL);
    }
}

fn unknown() -> Outcome {
    Outcome::Unknown { pause: PAUSE }
}

#[test]
fn a_free_lease_takes_one_read_and_one_claim() {
    let mut me = Me::new(Carryover::Unknown);
    me.read(Some(state("", 4)), 0);
    let write = me.claim(1);
    assert_eq!((write.on, write.record.holder.as_deref()), (Some(state("", 4).version), Some("me")));
    me.answer(Outcome::Written(state("me", 5)), 9);
    let claim = Claim { sent: at(1), snapshot: state("me", 5), created: false };
    assert_eq!(me.step(9), AcquireStep::Won(claim));
}

#[test]
fn an_answer_after_the_end_of_the_hold_wins_nothing() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    me.claim(0);
    me.answer(Outcome::Written(state("me", 5)), 10_000);
    me.read(Some(state("them", 6)), 10_001);
    assert_eq!(me.step(10_001), AcquireStep::Wait(at(25_001)));
}

#[test]
fn a_lease_left_free_is_claimed_without_a_read_and_read_after_a_conflict() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    assert_eq!(me.claim(0).on, Some(state("", 4).version));
    me.answer(Outcome::Unknown { pause: Duration::ZERO }, 2);
    me.read(Some(state("them", 6)), 2);
    assert_eq!(me.step(2), AcquireStep::Wait(at(15_002)));
}

fn queue(tickets: &[u64]) -> Queue {
    tickets.iter().fold(Queue::default(), |queue, number| queue.joined_by(Ticket(*number)))
}

#[test]
fn a_claim_removes_its_own_ticket_and_the_tickets_ahead() {
    for (before, after) in
        [(&[][..], None), (&[7, 8], Some(&[8][..])), (&[5, 7, 8], Some(&[8])), (&[5, 6], Some(&[]))]
    {
        let mut me = Me::new(Carryover::Free(Snapshot { queue: queue(before), ..state("", 4) }));
        assert_eq!(me.claim(0).queue, after.map(queue), "{before:?}");
    }
}

#[test]
fn a_hand_off_is_claimed_at_once_and_again_after_a_conflict() {
    let handed_on = Snapshot { queue: queue(&[5]), ..state("one", 4) };
    let mut me = Me::new(Carryover::HandedOff { by: "one".into(), snapshot: handed_on.clone() });
    assert_eq!(me.0.queue(), None, "no other process can claim it");
    let write = me.claim(0);
    assert_eq!((write.on, write.queue), (Some(state("one", 4).version), Some(queue(&[5]))));
    me.answer(Outcome::Unknown { pause: Duration::ZERO }, 2);
    me.read(Some(state("one", 5)), 2);
    assert_eq!(me.claim(3).on, Some(state("one", 5).version));
    me.answer(Outcome::Unknown { pause: Duration::ZERO }, 4);
    me.read(Some(state("them", 6)), 4);
    assert_eq!(me.step(5), AcquireStep::Wait(at(15_004)));
}

#[test]
fn a_hand_off_that_is_not_wanted_is_released() {
    for (seen, written) in [("one", true), ("me", true), ("them", false)] {
        let me = Me::new(Carryover::HandedOff { by: "one".into(), snapshot: state("one", 4) });
        let mut release = me.0.withdraw(at(0)).expect("something to release");
        assert_eq!(release.step(at(0), WALL), ReleaseStep::Read);
        release.answered(Outcome::Read(Some(state(seen, 5))), at(1));
        assert_eq!(matches!(release.step(at(1), WALL), ReleaseStep::Write(_)), written, "{seen}");
    }
    assert_eq!(Me::new(Carryover::Free(state("", 4))).0.withdraw(at(0)), None);
}

#[test]
fn a_claim_never_repeats_the_second_of_the_record_that_it_replaces() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    assert_eq!(me.claim(0).record.renewed.map(WallTime::second), Some(WALL.second() + 1));
}

#[test]
fn a_release_from_the_watch_is_claimed_at_once_and_old_events_are_ignored() {
    let mut me = Me::new(Carryover::Unknown);
    me.read(Some(state("them", 4)), 0);
    me.watch(state("", 3), 10);
    assert_eq!(me.step(10), AcquireStep::Wait(at(15_000)));
    me.watch(state("", 5), 20);
    assert_eq!(me.claim(20).on, Some(state("", 5).version));
}

#[test]
fn an_expired_lease_is_read_once_more_before_it_is_claimed() {
    let mut me = Me::new(Carryover::Unknown);
    me.read(Some(state("them", 4)), 0);
    assert_eq!(me.step(14_999), AcquireStep::Wait(at(15_000)));
    me.read(Some(state("them", 4)), 15_000);
    assert_eq!(me.claim(15_001).on, Some(state("them", 4).version));
}

/// The Lease after a claim.
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
        let mut me = Me::new(Carryover::Free(state("", 4)));
        let first = me.claim(0);
        me.answer(unknown(), 1_000);
        assert_eq!(me.step(1_000), AcquireStep::Pause(at(1_250)));
        me.read(Some(state("", 4)), 1_250);
        let second = me.claim(1_251);
        me.answer(unknown(), 2_000);
        let (write, sent) = [(first, at(0)), (second, at(1_251))][landed].clone();
        me.read(Some(made(&write, 5)), 2_250);
        let claim = Claim { sent, snapshot: made(&write, 5), created: false };
        assert_eq!(me.step(2_250), AcquireStep::Won(claim));
    }
}

#[test]
fn an_earlier_claim_is_not_taken_for_a_later_one() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    let first = me.claim(0);
    me.answer(unknown(), 3_000);
    // It is too old to go on from. The next claim fails, and another client edits a label.
    me.read(Some(made(&first, 5)), 9_000);
    me.claim(9_001);
    me.answer(unknown(), 9_002);
    me.read(Some(made(&first, 6)), 9_252);
    assert_eq!(me.claim(9_253).on.map(|on| on.revision), Some(6), "not won, but claimed once more");
}

#[test]
fn a_claim_in_doubt_that_is_too_old_is_claimed_again() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    let write = me.claim(0);
    me.answer(unknown(), 3_000);
    me.read(Some(made(&write, 5)), 5_000);
    assert_eq!(me.claim(5_001).on, Some(made(&write, 5).version));
    me.answer(Outcome::Written(state("me", 6)), 5_010);
    assert!(matches!(me.step(5_010), AcquireStep::Won(claim) if claim.sent == at(5_001)));
}

#[test]
fn a_claim_in_doubt_that_was_edited_is_claimed_again() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    let write = me.claim(0);
    me.answer(unknown(), 100);
    let mut edited = made(&write, 6);
    edited.record.duration = Some(Duration::from_secs(1));
    me.read(Some(edited), 350);
    assert_eq!(me.claim(351).on.map(|on| on.revision), Some(6));
}

#[test]
fn giving_up_needs_no_request_unless_a_claim_may_have_been_made() {
    let withdraw = |me: Me| me.0.withdraw(at(0)).is_some();
    assert!(!withdraw(Me::new(Carryover::Unknown)));

    let mut me = Me::new(Carryover::Free(state("", 4)));
    me.claim(0);
    assert!(withdraw(me), "under way");

    let mut me = Me::new(Carryover::Free(state("", 4)));
    me.claim(0);
    me.answer(unknown(), 100);
    me.read(Some(state("", 4)), 350);
    assert!(me.0.in_doubt.is_some() && withdraw(me), "it may still be made");

    let mut me = Me::new(Carryover::Free(state("", 4)));
    me.claim(0);
    me.answer(unknown(), 100);
    me.read(Some(state("them", 5)), 350);
    assert!(!withdraw(me), "it never will be");

    let mut me = Me::new(Carryover::Free(state("", 4)));
    me.claim(0);
    me.0.refused();
    assert!(!withdraw(me), "it was refused");
}

#[test]
fn a_creation_that_a_read_revealed_is_ours_and_is_released_if_it_is_not_wanted() {
    let mut me = Me::new(Carryover::Unknown);
    me.read(None, 0);
    let write = me.claim(1);
    me.answer(unknown(), 2);
    me.read(Some(made(&write, 5)), 300);
    assert!(me.0.may_have_created(), "the claim in doubt was made");
    let mut release = me.0.withdraw(at(300)).expect("the won claim is released");
    let ReleaseStep::Write(write) = release.step(at(300), WALL) else { panic!("nothing is in doubt") };
    assert_eq!((write.on, write.record.holder), (Some(state("me", 5).version), None));
}

use super::*;
use crate::protocol::Version;

const TIMINGS: Timings = Timings {
    lease_duration: Duration::from_secs(15),
    token_deadline: Duration::from_secs(10),
    renew_interval: Duration::from_secs(5),
};
const PAUSE: Duration = Duration::from_millis(250);

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

/// The wall clock, far from the origin of the steady clock.
fn wall(millis: u64) -> WallTime {
    WallTime(1_000_000_000_000) + Duration::from_millis(millis)
}

fn version(revision: u64) -> Version {
    Version { uid: "u".into(), revision }
}

/// A hold claimed at 0 s as revision 10.
fn holder() -> HoldState {
    let record = Record::claim("me", TIMINGS.lease_duration, None, wall(0));
    HoldState::new(
        "me".into(),
        TIMINGS,
        at(0),
        Snapshot { version: version(10), record, queue: Queue::default() },
    )
}

/// Sends the renewal that is due, and returns the Lease after it, as `revision`.
fn renew(holder: &mut HoldState, millis: u64, revision: u64) -> Snapshot {
    match holder.step(at(millis), wall(millis)) {
        HoldStep::Renew(write) => {
            Snapshot { version: version(revision), record: write.record, queue: Queue::default() }
        }
        other => panic!("expected a renewal at {millis} ms, not {other:?}"),
    }
}

fn by(holder: &str, snapshot: &Snapshot, revision: u64) -> Snapshot {
    let mut snapshot = snapshot.clone();
    snapshot.version.revision = revision;
    snapshot.record.holder = (!holder.is_empty()).then(|| holder.to_owned());
    snapshot
}

#[test]
fn the_hold_lasts_from_the_sending_of_the_claim() {
    let mut me = holder();
    assert_eq!(me.deadline(), at(10_000));
    assert_eq!(me.step(at(4_999), wall(0)), HoldStep::Wait(at(5_000)));
    renew(&mut me, 5_000, 11);
    assert_eq!(me.step(at(9_999), wall(0)), HoldStep::Wait(at(10_000)));
    assert_eq!(me.step(at(10_000), wall(0)), HoldStep::Lost(Loss::Deadline));
}

#[test]
fn only_the_first_renewal_may_come_early() {
    let mut me = holder().renewing_from(at(3_000));
    let renewed = renew(&mut me, 3_000, 11);
    me.answered(Outcome::Written(renewed), at(3_010));
    assert_eq!((me.deadline(), me.step(at(3_010), wall(0))), (at(13_000), HoldStep::Wait(at(8_000))));
    assert_eq!(holder().renewing_from(at(6_000)).step(at(0), wall(0)), HoldStep::Wait(at(5_000)));
}

#[test]
fn a_renewal_counts_from_its_sending_not_from_its_answer() {
    let mut me = holder();
    let renewed = renew(&mut me, 5_000, 11);
    me.answered(Outcome::Written(renewed), at(7_900));
    assert_eq!(me.deadline(), at(15_000));
    assert_eq!(
        me.step(at(7_900), wall(7_900)),
        HoldStep::Wait(at(10_000)),
        "the next is due 5 s after the sending"
    );
}

#[test]
fn a_success_that_comes_at_the_deadline_revives_nothing() {
    let mut me = holder();
    let renewed = renew(&mut me, 5_000, 11);
    me.answered(Outcome::Written(renewed), at(10_000));
    assert_eq!(me.step(at(10_000), wall(10_000)), HoldStep::Lost(Loss::Deadline));
}

#[test]
fn one_failed_renewal_loses_nothing() {
    let mut me = holder();
    renew(&mut me, 5_000, 11);
    me.answered(Outcome::Unknown { pause: PAUSE }, at(8_000));
    assert_eq!(me.step(at(8_000), wall(8_000)), HoldStep::Wait(at(8_250)));
    assert_eq!(me.step(at(8_250), wall(8_250)), HoldStep::Read);
    me.answered(Outcome::Read(Some(me.current.clone())), at(8_260));
    let renewed = renew(&mut me, 8_260, 11);
    me.answered(Outcome::Written(renewed), at(8_270));
    assert_eq!(me.deadline(), at(18_260));
}

#[test]
fn a_write_in_doubt_that_was_made_counts_from_its_own_sending() {
    let mut me = holder();
    let renewed = renew(&mut me, 5_000, 11);
    me.answered(Outcome::Unknown { pause: PAUSE }, at(8_000));
    assert_eq!(me.step(at(8_250), wall(8_250)), HoldStep::Read);
    me.answered(Outcome::Read(Some(renewed.clone())), at(9_000));
    assert_eq!(me.deadline(), at(15_000), "not 9 s + 10 s, which is when the reading revealed it");
    assert_eq!(me.current.version, renewed.version);
}

#[test]
fn the_watch_can_resolve_a_write_in_doubt_too() {
    let mut me = holder();
    let renewed = renew(&mut me, 5_000, 11);
    me.answered(Outcome::Unknown { pause: PAUSE }, at(8_000));
    me.watched(renewed, at(8_100));
    assert_eq!(me.deadline(), at(15_000));
    assert_eq!(me.step(at(8_100), wall(8_100)), HoldStep::Wait(at(10_000)), "no read is needed any more");
}

#[test]
fn the_watch_can_overtake_the_answer() {
    let mut me = holder();
    let renewed = renew(&mut me, 5_000, 11);
    let mut labelled = renewed.clone();
    labelled.version = version(12);
    me.watched(renewed.clone(), at(5_010));
    me.watched(labelled, at(5_020));
    me.answered(Outcome::Written(renewed), at(5_030));
    assert_eq!((me.deadline(), me.revision()), (at(15_000), 12), "the older answer changes nothing");
    assert!(!me.must_read, "and no read is needed");
}

#[test]
fn an_unknown_outcome_leads_to_a_read_before_the_next_write() {
    let mut me = holder();
    renew(&mut me, 5_000, 11);
    me.answered(Outcome::Unknown { pause: Duration::ZERO }, at(5_010));
    assert_eq!(me.step(at(5_010), wall(5_010)), HoldStep::Read);
}

#[test]
fn no_two_renewals_share_a_second_however_fast_they_follow() {
    let mut me = holder();
    let mut stamps = vec![wall(0)];
    for _ in 0..3 {
        stamps.push(renew(&mut me, 5_000, 11).record.renewed.unwrap());
        me.answered(Outcome::Unknown { pause: Duration::ZERO }, at(5_000));
        assert_eq!(me.step(at(5_000), wall(5_000)), HoldStep::Read);
        me.answered(Outcome::Read(Some(me.current.clone())), at(5_000));
    }
    let mut seconds: Vec<i64> = stamps.into_iter().map(WallTime::second).collect();
    seconds.dedup();
    assert_eq!(seconds.len(), 4);
}

#[test]
fn renew_times_rise_even_if_the_wall_clock_does_not() {
    let mut me = holder();
    let mut stamps = vec![wall(0)];
    // Set back by an hour, then ahead by a minute, then back again.
    for (number, clock) in [WallTime(77), wall(60_000), wall(7_000), wall(60_000)].into_iter().enumerate() {
        let now = at(5_000 * (number as u64 + 1));
        let HoldStep::Renew(write) = me.step(now, clock) else { panic!("a renewal is due") };
        stamps.push(write.record.renewed.unwrap());
        let version = version(11 + number as u64);
        let snapshot = Snapshot { version, record: write.record, queue: Queue::default() };
        me.answered(Outcome::Written(snapshot), now);
    }
    assert!(stamps.is_sorted_by(|earlier, later| earlier.second() < later.second()), "{stamps:?}");
}

#[test]
fn another_holder_a_cleared_holder_a_deletion_or_a_new_object_ends_the_hold_at_once() {
    let lost = |tell: &dyn Fn(&mut HoldState)| {
        let mut me = holder();
        tell(&mut me);
        me.step(at(1_000), wall(1_000))
    };
    let claimed = holder().current;
    let taken = Loss::TakenOver { by: "them".into() };
    assert_eq!(lost(&|me| me.watched(by("them", &claimed, 11), at(1_000))), HoldStep::Lost(taken));
    assert_eq!(lost(&|me| me.watched(by("", &claimed, 11), at(1_000))), HoldStep::Lost(Loss::Cleared));
    assert_eq!(lost(&|me| me.watched_deletion(11, at(1_000))), HoldStep::Lost(Loss::Deleted));
    let mut recreated = claimed.clone();
    recreated.version = Version { uid: "v".into(), revision: 12 };
    assert_eq!(lost(&|me| me.watched(recreated.clone(), at(1_000))), HoldStep::Lost(Loss::Deleted));
}

#[test]
fn events_from_before_the_claim_change_nothing() {
    let mut me = holder();
    me.watched(by("them", &me.current.clone(), 9), at(1_000));
    me.watched_deletion(8, at(1_000));
    assert_eq!(me.step(at(1_000), wall(1_000)), HoldStep::Wait(at(5_000)));
}

#[test]
fn a_read_shows_a_takeover_or_a_deletion_too() {
    let doubtful = || {
        let mut me = holder();
        renew(&mut me, 5_000, 11);
        me.answered(Outcome::Unknown { pause: Duration::ZERO }, at(5_010));
        assert_eq!(me.step(at(5_010), wall(5_010)), HoldStep::Read);
        me
    };
    let mut me = doubtful();
    me.answered(Outcome::Read(None), at(5_020));
    assert_eq!(me.step(at(5_020), wall(5_020)), HoldStep::Lost(Loss::Deleted));
    let mut me = doubtful();
    me.answered(Outcome::Read(Some(by("them", &me.current.clone(), 12))), at(5_020));
    assert_eq!(me.step(at(5_020), wall(5_020)), HoldStep::Lost(Loss::TakenOver { by: "them".into() }));
}

#[test]
fn edits_beside_the_record_cost_nothing_and_are_kept() {
    let mut me = holder();
    let mut labelled = me.current.clone();
    labelled.version = version(12);
    me.watched(labelled, at(1_000));
    assert_eq!(me.step(at(1_000), wall(1_000)), HoldStep::Wait(at(5_000)));
    let HoldStep::Renew(write) = me.step(at(5_000), wall(5_000)) else { panic!("a renewal is due") };
    assert_eq!(write.on, Some(version(12)), "the renewal is conditional on the edited state");
}

#[test]
fn an_edited_count_of_transitions_is_kept() {
    let mut me = holder();
    let mut edited = me.current.clone();
    edited.version = version(12);
    edited.record.transitions = 41;
    me.watched(edited, at(3_000));
    assert_eq!(
        me.step(at(3_000), wall(3_000)),
        HoldStep::Wait(at(4_000)),
        "restored soon, but not without a pause"
    );
    let HoldStep::Renew(write) = me.step(at(4_000), wall(4_000)) else { panic!("a renewal is due") };
    assert_eq!(write.record.transitions, 41);
    assert_eq!(me.deadline(), at(10_000));
}

#[test]
fn a_shortened_duration_shortens_the_hold_until_it_is_restored() {
    let mut me = holder();
    let mut edited = me.current.clone();
    edited.version = version(12);
    edited.record.duration = Some(Duration::from_secs(3));
    me.watched(edited, at(1_000));
    assert_eq!(me.deadline(), at(3_000), "10/15 of 3 s from when it was seen");
    let restored = renew(&mut me, 1_000, 13);
    assert_eq!(restored.record.duration, Some(TIMINGS.lease_duration));
    me.answered(Outcome::Written(restored), at(1_010));
    assert_eq!(me.deadline(), at(11_000));
}

#[test]
fn a_shortened_duration_shortens_the_hold_also_on_top_of_a_renewal_in_doubt() {
    let mut me = holder();
    let renewed = renew(&mut me, 5_000, 11);
    let mut edited = renewed.clone();
    edited.version = version(12);
    edited.record.duration = Some(Duration::from_secs(3));
    me.watched(edited, at(5_010));
    me.answered(Outcome::Written(renewed), at(5_020));
    // The renewal counts, but contenders that saw the edit wait for 3 s only.
    assert_eq!(me.deadline(), at(7_010));
}

#[test]
fn a_record_without_a_duration_ends_the_hold() {
    let mut me = holder();
    let mut edited = me.current.clone();
    edited.version = version(12);
    edited.record.duration = None;
    me.watched(edited, at(1_000));
    assert_eq!(me.step(at(1_000), wall(1_000)), HoldStep::Lost(Loss::Deadline));
}

/// A store that was restored from a backup counts from an earlier revision.
#[test]
fn a_read_that_shows_another_holder_is_believed_whatever_its_revision() {
    for (other, loss) in [("them", Loss::TakenOver { by: "them".into() }), ("", Loss::Cleared)] {
        let mut me = holder();
        let renewed = renew(&mut me, 5_000, 11);
        me.answered(Outcome::Unknown { pause: Duration::ZERO }, at(5_001));
        assert_eq!(me.step(at(5_001), wall(5_001)), HoldStep::Read);
        me.answered(Outcome::Read(Some(by(other, &renewed, 3))), at(5_002));
        assert_eq!(me.step(at(5_002), wall(5_002)), HoldStep::Lost(loss));
    }
}

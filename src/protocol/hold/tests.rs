use super::*;
use crate::protocol::{Coordination, DoneKeys, Queue, ReleaseStep, Ticket, Version};

const TIMINGS: Timings = Timings { max_pause: Duration::ZERO, ..Timings::DEFAULTS };
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

/// A hold, with the memory of its lock.
struct Me {
    state: HoldState,
    memory: Memory,
    rng: fastrand::Rng,
}

/// A hold claimed at 0 s as revision 10. Its watch is open.
fn holder() -> Me {
    let record = Record::claim("me", TIMINGS.lease_duration, None, wall(0));
    let claimed = Snapshot { version: version(10), record, queue: Queue::EMPTY, done: DoneKeys::Empty };
    let mut memory = Memory::new(&TIMINGS, None, 7);
    memory.watch.open(10, at(0));
    let state = HoldState::new("me".into(), TIMINGS, at(0), claimed);
    Me { state, memory, rng: fastrand::Rng::with_seed(1) }
}

impl Me {
    fn renewing_from(mut self, first: Instant) -> Self {
        self.state = self.state.renewing_from(first);
        self
    }

    fn deadline(&self) -> Instant {
        self.state.deadline()
    }

    fn current(&self) -> Snapshot {
        self.state.current.clone()
    }

    fn step(&mut self, now: Instant, wall: WallTime) -> HoldStep {
        self.state.step(&mut self.memory, now, wall, &mut self.rng)
    }

    fn answered(&mut self, outcome: Outcome, now: Instant) {
        self.state.answered(outcome, &mut self.memory, now, &mut self.rng);
    }

    fn told(&mut self, event: WatchEvent, now: Instant) {
        self.state.watched(event, &mut self.memory, now, &mut self.rng);
    }

    fn watched(&mut self, snapshot: Snapshot, now: Instant) {
        self.told(WatchEvent::Changed(snapshot), now);
    }

    fn watched_deletion(&mut self, revision: u64, now: Instant) {
        self.told(WatchEvent::Deleted(revision), now);
    }
}

fn in_doubt(pause: Duration) -> Outcome {
    Outcome::InDoubt { retry_after: Some(pause), server_known: true, refused: false }
}

/// Sends the renewal that is due, and returns the Lease after it, as `revision`.
fn renew(holder: &mut Me, millis: u64, revision: u64) -> Snapshot {
    match holder.step(at(millis), wall(millis)) {
        HoldStep::Renew(write) => Snapshot {
            version: version(revision),
            record: write.record,
            queue: write.queue,
            done: write.done,
        },
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
    me.answered(in_doubt(PAUSE), at(8_000));
    assert_eq!(me.step(at(8_000), wall(8_000)), HoldStep::Wait(at(8_250)));
    assert_eq!(me.step(at(8_250), wall(8_250)), HoldStep::Read);
    me.answered(Outcome::Read(Some(me.current())), at(8_260));
    let renewed = renew(&mut me, 8_260, 11);
    me.answered(Outcome::Written(renewed), at(8_270));
    assert_eq!(me.deadline(), at(18_260));
}

#[test]
fn a_write_in_doubt_that_was_made_counts_from_its_own_sending() {
    let mut me = holder();
    let renewed = renew(&mut me, 5_000, 11);
    me.answered(in_doubt(PAUSE), at(8_000));
    assert_eq!(me.step(at(8_250), wall(8_250)), HoldStep::Read);
    me.answered(Outcome::Read(Some(renewed.clone())), at(9_000));
    assert_eq!(me.deadline(), at(15_000), "not 9 s + 10 s, which is when the reading revealed it");
    assert_eq!(me.current().version, renewed.version);
}

#[test]
fn the_watch_can_resolve_a_write_in_doubt_too() {
    let mut me = holder();
    let renewed = renew(&mut me, 5_000, 11);
    me.answered(in_doubt(PAUSE), at(8_000));
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
    assert_eq!(
        (me.deadline(), me.current().version.revision),
        (at(15_000), 12),
        "the older answer changes nothing"
    );
    assert!(!me.state.must_read, "and no read is needed");
}

#[test]
fn an_unknown_outcome_leads_to_a_read_before_the_next_write() {
    let mut me = holder();
    renew(&mut me, 5_000, 11);
    me.answered(in_doubt(Duration::ZERO), at(5_010));
    assert_eq!(me.step(at(5_010), wall(5_010)), HoldStep::Read);
}

#[test]
fn no_two_renewals_share_a_second_however_fast_they_follow() {
    let mut me = holder();
    let mut stamps = vec![wall(0)];
    for _ in 0..3 {
        stamps.push(renew(&mut me, 5_000, 11).record.renewed.unwrap());
        me.answered(in_doubt(Duration::ZERO), at(5_000));
        assert_eq!(me.step(at(5_000), wall(5_000)), HoldStep::Read);
        me.answered(Outcome::Read(Some(me.current())), at(5_000));
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
        let snapshot = Snapshot { version, record: write.record, queue: write.queue, done: write.done };
        me.answered(Outcome::Written(snapshot), now);
    }
    assert!(stamps.is_sorted_by(|earlier, later| earlier.second() < later.second()), "{stamps:?}");
}

#[test]
fn another_holder_a_cleared_holder_a_deletion_or_a_new_object_ends_the_hold_at_once() {
    let lost = |tell: &dyn Fn(&mut Me)| {
        let mut me = holder();
        tell(&mut me);
        me.step(at(1_000), wall(1_000))
    };
    let claimed = holder().current();
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
    me.watched(by("them", &me.current(), 9), at(1_000));
    me.watched_deletion(8, at(1_000));
    assert_eq!(me.step(at(1_000), wall(1_000)), HoldStep::Wait(at(5_000)));
}

#[test]
fn a_read_shows_a_takeover_or_a_deletion_too() {
    let doubtful = || {
        let mut me = holder();
        renew(&mut me, 5_000, 11);
        me.answered(in_doubt(Duration::ZERO), at(5_010));
        assert_eq!(me.step(at(5_010), wall(5_010)), HoldStep::Read);
        me
    };
    let mut me = doubtful();
    me.answered(Outcome::Read(None), at(5_020));
    assert_eq!(me.step(at(5_020), wall(5_020)), HoldStep::Lost(Loss::Deleted));
    let mut me = doubtful();
    me.answered(Outcome::Read(Some(by("them", &me.current(), 12))), at(5_020));
    assert_eq!(me.step(at(5_020), wall(5_020)), HoldStep::Lost(Loss::TakenOver { by: "them".into() }));
}

#[test]
fn edits_beside_the_record_cost_nothing_and_are_kept() {
    let mut me = holder();
    let mut labelled = me.current();
    labelled.version = version(12);
    me.watched(labelled, at(1_000));
    assert_eq!(me.step(at(1_000), wall(1_000)), HoldStep::Wait(at(5_000)));
    let HoldStep::Renew(write) = me.step(at(5_000), wall(5_000)) else { panic!("a renewal is due") };
    assert_eq!(write.on, Some(version(12)), "the renewal is conditional on the edited state");
}

#[test]
fn an_edited_count_of_transitions_is_kept() {
    let mut me = holder();
    let mut edited = me.current();
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
    let mut edited = me.current();
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
    let mut edited = me.current();
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
        me.answered(in_doubt(Duration::ZERO), at(5_001));
        assert_eq!(me.step(at(5_001), wall(5_001)), HoldStep::Read);
        me.answered(Outcome::Read(Some(by(other, &renewed, 3))), at(5_002));
        assert_eq!(me.step(at(5_002), wall(5_002)), HoldStep::Lost(loss));
    }
}

#[test]
fn a_store_that_was_set_back_shortens_the_hold_and_is_written_to_at_once() {
    let mut me = holder();
    let claimed = me.current();
    let renewed = renew(&mut me, 5_000, 20);
    me.answered(Outcome::Written(renewed), at(5_010));
    renew(&mut me, 10_000, 21);
    me.answered(Outcome::Conflict, at(10_010));
    assert_eq!(me.step(at(10_010), wall(10_010)), HoldStep::Read);
    // The claim is there, but the renewal is gone.
    me.answered(Outcome::Read(Some(claimed)), at(10_020));
    assert_eq!(me.deadline(), at(10_000), "others may have waited since the claim");
    let mut early = holder();
    let renewed = renew(&mut early, 5_000, 20);
    early.answered(Outcome::Written(renewed), at(5_010));
    early.told(WatchEvent::Broken { expired: false }, at(6_000));
    assert_eq!(early.step(at(6_100), wall(6_100)), HoldStep::OpenWatch(20));
}

/// The store answered a creation with a revision that was too high.
#[test]
fn a_renewal_goes_on_from_the_revision_that_a_read_shows() {
    let mut me = holder();
    let claimed = me.current();
    renew(&mut me, 5_000, 11);
    me.answered(Outcome::Conflict, at(5_001));
    assert_eq!(me.step(at(5_001), wall(5_001)), HoldStep::Read);
    me.answered(Outcome::Read(Some(Snapshot { version: version(8), ..claimed })), at(5_002));
    assert_eq!(
        me.step(at(5_002), wall(5_002)),
        HoldStep::CloseWatch,
        "it waits for a revision that is far away"
    );
    let HoldStep::Renew(write) = me.step(at(5_002), wall(5_002)) else { panic!("a renewal is due") };
    assert_eq!(write.on, Some(version(8)));
    assert_eq!(me.deadline(), at(10_000), "nothing is gone");
}

#[test]
fn a_read_that_was_overtaken_by_an_event_does_not_set_the_hold_back() {
    for read in [10, 8] {
        let mut me = holder();
        let claimed = me.current();
        renew(&mut me, 5_000, 11);
        me.answered(in_doubt(Duration::ZERO), at(5_001));
        assert_eq!(me.step(at(5_001), wall(5_001)), HoldStep::Read);
        me.watched(Snapshot { version: version(12), ..claimed.clone() }, at(5_002));
        me.answered(Outcome::Read(Some(Snapshot { version: version(read), ..claimed })), at(5_003));
        if read < 10 {
            assert_eq!(me.step(at(5_003), wall(5_003)), HoldStep::CloseWatch);
        }
        let HoldStep::Renew(write) = me.step(at(5_003), wall(5_003)) else { panic!("a renewal is due") };
        assert_eq!(write.on, Some(version(12)));
    }
}

#[test]
fn a_short_hold_opens_no_watch() {
    let mut me = holder();
    me.memory = Memory::new(&TIMINGS, None, 7);
    assert_eq!(me.step(at(1), wall(1)), HoldStep::Wait(at(1_000)));
    assert_eq!(me.step(at(1_000), wall(1_000)), HoldStep::OpenWatch(10));
    assert_eq!(me.step(at(1_000), wall(1_000)), HoldStep::Wait(at(5_000)));
}

#[test]
fn a_silent_watch_of_a_long_lease_is_checked_by_a_read() {
    let hour = Duration::from_secs(3_600);
    let timings = Timings {
        lease_duration: hour,
        token_deadline: hour / 3 * 2,
        renew_interval: hour / 3,
        max_pause: Duration::ZERO,
        ..Timings::DEFAULTS
    };
    let mut me = holder();
    me.state = HoldState::new("me".into(), timings, at(0), me.current());
    assert_eq!(me.step(at(1_000), wall(1_000)), HoldStep::Wait(at(30_000)));
    assert_eq!(me.step(at(30_000), wall(30_000)), HoldStep::Read);
    me.answered(Outcome::Read(Some(me.current())), at(30_010));
    assert_eq!(me.step(at(30_010), wall(30_010)), HoldStep::Wait(at(60_010)));
    me.told(WatchEvent::Bookmark, at(50_000));
    assert_eq!(
        me.step(at(60_010), wall(60_010)),
        HoldStep::Wait(at(80_000)),
        "a bookmark proves that it lives"
    );
    me.answered(Outcome::Read(None), at(80_000));
    assert_eq!(me.step(at(80_000), wall(80_000)), HoldStep::Read);
    me.answered(Outcome::Read(None), at(80_010));
    assert_eq!(me.step(at(80_010), wall(80_010)), HoldStep::Lost(Loss::Deleted));
}

#[test]
fn a_check_that_fails_does_not_delay_a_renewal() {
    let mut me = holder();
    me.told(WatchEvent::Broken { expired: false }, at(4_000));
    me.memory.watch.close();
    me.state.renew_at = at(40_000);
    me.state.deadline = at(50_000);
    assert_eq!(me.step(at(30_000), wall(30_000)), HoldStep::OpenWatch(10));
    assert_eq!(me.step(at(30_000), wall(30_000)), HoldStep::Read);
    me.answered(in_doubt(Duration::from_secs(5)), at(30_010));
    assert_eq!(me.step(at(34_000), wall(34_000)), HoldStep::Wait(at(35_010)));
    assert_eq!(me.step(at(35_010), wall(35_010)), HoldStep::Read);
    me.answered(in_doubt(Duration::from_secs(5)), at(35_020));
    renew(&mut me, 40_020, 11);
}

#[test]
fn nothing_is_sent_that_cannot_be_answered_before_the_deadline() {
    let mut me = holder();
    renew(&mut me, 5_000, 11);
    me.answered(in_doubt(Duration::from_secs(60)), at(9_900));
    assert_eq!(me.step(at(9_949), wall(9_949)), HoldStep::Wait(at(9_950)));
    assert_eq!(me.step(at(9_951), wall(9_951)), HoldStep::Wait(at(10_000)));
}

/// Reads that succeed do not make renewals that are refused follow each other without a pause.
#[test]
fn renewals_that_are_refused_again_and_again_come_ever_later() {
    let mut me = holder();
    me.state.backoff = Backoff::new(Duration::from_secs(1));
    let (mut now, mut renewals) = (5_000, 0);
    while now < 9_900 {
        match me.step(at(now), wall(now)) {
            HoldStep::Renew(_) => {
                renewals += 1;
                me.answered(Outcome::Conflict, at(now));
            }
            HoldStep::Read => me.answered(Outcome::Read(Some(me.current())), at(now)),
            HoldStep::Wait(until) => now = u64::try_from(until.since_origin().as_millis()).unwrap() + 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(renewals <= 12, "{renewals} renewals");
}

#[test]
fn other_processes_are_let_in_after_some_hand_offs() {
    let ticket = Ticket { number: 9, head_start: Duration::from_millis(50) };
    for (queue, hand_offs, waited_for, handed_off) in [
        (Queue::EMPTY, 0, true, true),
        (Queue::EMPTY, 0, false, false),
        (Queue::EMPTY, u32::MAX, true, true),
        (Queue::EMPTY.joined_by(ticket), HoldState::MAX_HAND_OFFS - 1, true, true),
        (Queue::EMPTY.joined_by(ticket), HoldState::MAX_HAND_OFFS, true, false),
    ] {
        let mut me = holder();
        me.memory.hand_offs = hand_offs;
        me.state.current.queue = queue;
        let stopped = me.state.stop(waited_for, &mut me.memory, at(100));
        assert_eq!(stopped == HoldStop::HandedOff, handed_off, "{hand_offs} hand-offs");
        assert_eq!(me.memory.has_hand_off(), handed_off);
    }
}

#[test]
fn a_hold_with_a_request_in_flight_is_released_after_a_read() {
    let mut me = holder();
    renew(&mut me, 5_000, 11);
    let HoldStop::Release(mut release) = me.state.stop(true, &mut me.memory, at(5_001)) else {
        panic!("it is not certain that the Lease is ours")
    };
    assert_eq!(release.step(at(5_001), wall(5_001)), ReleaseStep::Read);
}

#[test]
fn a_renewal_that_lost_a_race_is_conditional_on_the_record_alone() {
    let mut me = holder();
    let HoldStep::Renew(write) = me.step(at(5_000), wall(5_000)) else { panic!("no renewal") };
    assert_eq!((write.on, write.on_record), (Some(version(10)), None));
    me.answered(Outcome::Conflict, at(5_010));
    assert_eq!(me.step(at(5_010), wall(5_010)), HoldStep::Read);
    let joined = Snapshot { version: version(11), ..me.current() };
    me.answered(Outcome::Read(Some(joined.clone())), at(5_020));
    let HoldStep::Renew(write) = me.step(at(5_020), wall(5_020)) else { panic!("no renewal") };
    assert_eq!(write.on_record, Some(Box::new(joined.record)));
    let renewed = Snapshot { version: version(12), record: write.record, ..me.current() };
    me.answered(Outcome::Written(renewed), at(5_030));
    let HoldStep::Renew(write) = me.step(at(10_030), wall(10_030)) else { panic!("no renewal") };
    assert_eq!((write.on, write.on_record), (Some(version(12)), None), "the next one takes the queue along");
}

/// If the next task died, nobody would know what the task before has done.
#[test]
fn a_hold_that_marks_a_key_is_released_and_never_handed_off() {
    let mut me = holder();
    let them = DoneKey { key: "1".into(), by: "them".into(), at: wall(0) };
    me.state.current.done = DoneKeys::Empty.with(&them);
    assert!(me.state.may_hand_off(&me.memory, at(10)));
    me.state.mark_done("2".into(), wall(10));
    assert!(!me.state.may_hand_off(&me.memory, at(10)));
    let HoldStop::Release(mut release) = me.state.stop(true, &mut me.memory, at(10)) else {
        panic!("it was handed off");
    };
    let ReleaseStep::Write(write) = release.step(at(10), wall(10)) else { panic!("nothing is in doubt") };
    let mine = DoneKey { key: "2".into(), by: "me".into(), at: wall(10) };
    assert_eq!((write.record.holder, write.done), (None, DoneKeys::listed(vec![them, mine])));
}

#[test]
fn a_renewal_keeps_the_keys_that_are_done() {
    for done in [
        DoneKeys::Unreadable("garbage".into()),
        DoneKeys::Empty.with(&DoneKey { key: "1".into(), by: "them".into(), at: wall(0) }),
    ] {
        let mut me = holder();
        let edited = Snapshot { version: version(11), done: done.clone(), ..me.current() };
        me.watched(edited, at(2_000));
        assert_eq!(renew(&mut me, 5_000, 12).done, done);
    }
}

/// The same state, in which a coordinator prefers this holder.
fn preferring(preferred: &str, snapshot: &Snapshot, revision: u64) -> Snapshot {
    let mut snapshot = by("me", snapshot, revision);
    let coordination = Coordination { strategy: "oldest".into(), preferred_holder: Some(preferred.into()) };
    snapshot.record.coordination = Some(Box::new(coordination));
    snapshot
}

#[test]
fn the_hold_of_an_election_ends_when_a_coordinator_prefers_another_holder() {
    let preferred = HoldStep::Lost(Loss::NotPreferred { preferred: "them".into() });
    for yields in [true, false] {
        let mut holder = holder();
        holder.state = holder.state.yielding(yields);
        let claimed = holder.current();
        holder.watched(preferring("me", &claimed, 11), at(1_000));
        assert!(!matches!(holder.step(at(1_000), wall(1_000)), HoldStep::Lost(_)));
        holder.watched(preferring("them", &claimed, 12), at(1_100));
        assert_eq!(holder.step(at(1_100), wall(1_100)) == preferred, yields);
    }
    // A renewal tells it too.
    let mut holder = holder();
    holder.state = holder.state.yielding(true);
    let renewed = renew(&mut holder, 5_000, 11);
    holder.answered(Outcome::Written(preferring("them", &renewed, 11)), at(5_010));
    assert_eq!(holder.step(at(5_010), wall(5_010)), preferred);
}

#[test]
fn a_hold_whose_lease_is_deleted_early_delays_the_next_creation() {
    let mut me = holder();
    let (first, second) = (me.current(), by("them", &me.current(), 12));
    me.memory.recreation.exists(&first, at(0));
    me.watched_deletion(11, at(1_000));
    assert_eq!(me.step(at(1_000), wall(1_000)), HoldStep::Lost(Loss::Deleted));
    me.memory.recreation.exists(&second, at(1_100));
    me.memory.recreation.missing(at(1_200));
    assert!(me.memory.recreation.create_at(&mut me.rng) >= at(1_250), "the second early deletion");
}

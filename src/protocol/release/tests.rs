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

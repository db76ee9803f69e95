use super::*;
use crate::protocol::{DoneKeys, Queue, Record, Version};

const WALL: WallTime = WallTime(1_700_000_000_000_000);
const LEASE_DURATION: Duration = Duration::from_secs(15);

struct Observer {
    state: ObserveState,
    rng: fastrand::Rng,
}

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

fn held(by: &str, revision: u64) -> Snapshot {
    let record = Record::claim(by, LEASE_DURATION, None, WALL);
    Snapshot {
        version: Version { uid: "u".into(), revision },
        record,
        queue: Queue::EMPTY,
        done: DoneKeys::Empty,
    }
}

fn free(revision: u64) -> Snapshot {
    Snapshot { record: Record::EMPTY, ..held("", revision) }
}

impl Observer {
    fn new(max_clock_skew: Option<Duration>) -> Self {
        let state = ObserveState::new(LEASE_DURATION, max_clock_skew, at(0));
        Self { state, rng: fastrand::Rng::with_seed(1) }
    }

    /// An observer that has read this state at 1 s, and whose watch is connected.
    fn watching(seen: Option<Snapshot>) -> Self {
        let mut observer = Self::new(None);
        observer.reads(at(1));
        observer.answer(Outcome::Read(seen), at(1));
        assert!(matches!(observer.state.step(at(1), &mut observer.rng), ObserveStep::OpenWatch(_)));
        observer.tell(WatchEvent::Connected, at(1));
        observer
    }

    fn reads(&mut self, now: Instant) {
        assert_eq!(self.state.step(now, &mut self.rng), ObserveStep::Read);
    }

    fn waits(&mut self, now: Instant) -> Instant {
        match self.state.step(now, &mut self.rng) {
            ObserveStep::Wait(until) => until,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, outcome: Outcome, now: Instant) {
        self.state.answered(outcome, now, WALL, &mut self.rng);
    }

    fn fail(&mut self, now: Instant) {
        self.answer(Outcome::InDoubt { retry_after: None, server_known: true, refused: false }, now);
    }

    fn tell(&mut self, event: WatchEvent, now: Instant) {
        self.state.watched(event, now, WALL, &mut self.rng);
    }
}

#[test]
fn a_holder_is_expired_only_after_a_read_that_was_sent_after_the_expiry() {
    let mut observer = Observer::watching(Some(held("them", 10)));
    assert_eq!(observer.waits(at(2)), at(16));
    observer.reads(at(16));
    assert_eq!(observer.state.observation(), Observation::Held(&held("them", 10)), "not confirmed yet");
    observer.answer(Outcome::Read(Some(held("them", 10))), at(17));
    assert_eq!(observer.state.observation(), Observation::Expired(&held("them", 10)));
    // An edit beside the record, and a read: both show the same hold.
    observer.tell(WatchEvent::Changed(held("them", 11)), at(18));
    assert_eq!(observer.state.observation(), Observation::Expired(&held("them", 11)));
    let renewed = Snapshot {
        record: held("them", 12).record.renewal(LEASE_DURATION, WallTime(WALL.0 + 1)),
        ..held("them", 12)
    };
    observer.tell(WatchEvent::Changed(renewed.clone()), at(19));
    assert_eq!(observer.state.observation(), Observation::Held(&renewed));
    assert_eq!(observer.state.known.as_ref().unwrap().expires, Some(at(34)));
}

#[test]
fn a_read_that_was_sent_before_the_expiry_confirms_nothing() {
    let mut observer = Observer::watching(Some(held("them", 10)));
    observer.tell(WatchEvent::Broken { expired: false }, at(15));
    let mut now = at(15);
    while observer.state.step(now, &mut observer.rng) != ObserveStep::Read {
        now = now + Duration::from_millis(10);
    }
    assert!(now < at(16));
    observer.answer(Outcome::Read(Some(held("them", 10))), at(17));
    assert_eq!(observer.state.observation(), Observation::Held(&held("them", 10)));
}

#[test]
fn clock_skew_that_is_trusted_still_needs_a_second_read() {
    let mut observer = Observer::new(Some(Duration::ZERO));
    let old = Snapshot { record: Record::claim("them", LEASE_DURATION, None, WallTime(0)), ..held("", 10) };
    observer.reads(at(1));
    observer.answer(Outcome::Read(Some(old.clone())), at(2));
    assert_eq!(observer.state.observation(), Observation::Held(&old));
    assert_eq!(observer.state.step(at(2), &mut observer.rng), ObserveStep::OpenWatch(10));
    observer.reads(at(2));
    observer.answer(Outcome::Read(Some(old.clone())), at(3));
    assert_eq!(observer.state.observation(), Observation::Expired(&old));
}

#[test]
fn an_event_that_overtakes_a_read_stays_and_otherwise_the_read_is_believed() {
    for (told, read, expected) in [
        (Some(12), 11, held("event", 12)),
        (Some(12), 13, held("read", 13)),
        // The store was set back.
        (None, 3, held("read", 3)),
    ] {
        let mut observer = Observer::watching(Some(held("them", 10)));
        assert!(observer.waits(at(2)) > at(2));
        observer.reads(at(16));
        if let Some(revision) = told {
            observer.tell(WatchEvent::Changed(held("event", revision)), at(17));
        }
        observer.answer(Outcome::Read(Some(held("read", read))), at(18));
        assert_eq!(observer.state.observation(), Observation::Held(&expected));
    }
}

#[test]
fn a_failed_read_makes_the_answer_unknown_until_something_is_certain_again() {
    let mut observer = Observer::watching(Some(held("them", 10)));
    observer.reads(at(16));
    observer.fail(at(21));
    let unknown = Observation::Unknown { since: at(1), last: Some(&held("them", 10)) };
    assert_eq!(observer.state.observation(), unknown);
    // The watch has proved nothing yet.
    observer.tell(WatchEvent::Bookmark, at(22));
    assert!(observer.state.has_failed());
    observer.reads(at(22));
    observer.answer(Outcome::Read(Some(held("them", 10))), at(23));
    assert_eq!(observer.state.observation(), Observation::Expired(&held("them", 10)));
    // Now it has.
    observer.reads(at(53));
    observer.fail(at(58));
    assert!(observer.state.has_failed());
    observer.tell(WatchEvent::Bookmark, at(59));
    assert!(!observer.state.has_failed());
}

#[test]
fn nothing_is_known_before_the_first_answer() {
    let mut observer = Observer::new(None);
    assert_eq!(observer.state.observation(), Observation::Pending);
    observer.reads(at(0));
    observer.fail(at(5));
    assert_eq!(observer.state.observation(), Observation::Unknown { since: at(0), last: None });
}

#[test]
fn a_watch_of_a_missing_lease_is_kept() {
    let mut observer = Observer::watching(None);
    assert_eq!(observer.waits(at(2)), at(31));
    observer.reads(at(31));
    observer.answer(Outcome::Read(None), at(31));
    observer.tell(WatchEvent::Bookmark, at(50));
    assert_eq!(observer.waits(at(50)), at(80));
    observer.tell(WatchEvent::Changed(held("them", 10)), at(60));
    assert_eq!(observer.state.observation(), Observation::Held(&held("them", 10)));
    observer.tell(WatchEvent::Deleted(11), at(61));
    assert_eq!(observer.state.observation(), Observation::Free);
    observer.tell(WatchEvent::Changed(held("them", 10)), at(62));
    assert_eq!(observer.state.observation(), Observation::Free, "an event from before the deletion");
}

#[test]
fn a_watch_that_hides_a_new_lease_is_replaced() {
    let mut observer = Observer::watching(None);
    observer.reads(at(31));
    observer.answer(Outcome::Read(Some(free(10))), at(31));
    let mut now = at(31);
    while observer.state.step(now, &mut observer.rng) != ObserveStep::CloseWatch {
        now = now + Duration::from_millis(100);
        assert!(now < at(40));
    }
}

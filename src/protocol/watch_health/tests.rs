use super::*;
use crate::protocol::{DoneKeys, Queue, Record, Version};

const SECOND: u64 = 1_000;

/// A watch that was opened from revision 10 and connected, with what was measured.
struct Watched {
    health: WatchHealth,
    trip: RoundTrip,
    rng: fastrand::Rng,
}

fn at(millis: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(millis)
}

fn held(revision: u64, renewed: u64) -> WatchEvent {
    let wall = WallTime(7_000_000_000) + Duration::from_millis(renewed);
    let record = Record { renewed: Some(wall), ..Record::claim("them", Duration::from_secs(15), None, wall) };
    let version = Version { uid: "u".into(), revision };
    WatchEvent::Changed(Snapshot { version, record, queue: Queue::EMPTY, done: DoneKeys::Empty })
}

impl Watched {
    fn new() -> Self {
        let rng = fastrand::Rng::with_seed(1);
        let mut watched = Self { health: WatchHealth::new(), trip: RoundTrip::default(), rng };
        watched.health.read(Some(10), at(0), &mut watched.trip, at(0));
        assert_eq!(watched.health.open(10, at(0)), Some(10));
        watched.tell(&WatchEvent::Connected, 0);
        watched
    }

    /// A watch that has told of a write of this process.
    fn proven() -> Self {
        let mut watched = Self::new();
        watched.write(11, 0, 10);
        watched.tell(&held(11, 0), 20);
        watched
    }

    fn tell(&mut self, event: &WatchEvent, millis: u64) {
        self.health.delivered(event, &mut self.trip, at(millis), &mut self.rng);
    }

    fn write(&mut self, revision: u64, sent: u64, answered: u64) {
        self.health.wrote(revision, at(sent), &mut self.trip, at(answered));
    }

    fn read(&mut self, revision: Option<u64>, sent: u64) {
        self.health.reading();
        self.health.read(revision, at(sent), &mut self.trip, at(sent + 2));
    }

    fn is_given_up(&mut self, millis: u64) -> bool {
        self.health.give_up(&self.trip, at(millis), &mut self.rng)
    }

    fn read_at(&self) -> Instant {
        self.health.read_at(Duration::from_secs(2))
    }
}

#[test]
fn the_time_in_which_nobody_takes_events_is_no_part_of_a_round_trip() {
    for (attended, told, at_most) in [(125, 135, 20), (3_000, 3_005, 10)] {
        let mut watched = Watched::proven();
        let before = watched.trip;
        watched.write(12, 100, 110);
        watched.health.unattended(at(115));
        watched.health.unattended(at(120));
        watched.health.attended(at(attended));
        assert!(!watched.is_given_up(attended), "the time does not count against the watch either");
        watched.tell(&held(12, 0), told);
        assert!(watched.trip.typical() <= Duration::from_millis(at_most), "{:?}", watched.trip);
        // A long time is not measured, because the event may have come within it.
        assert_eq!(watched.trip == before, attended == 3_000, "{:?}", watched.trip);
    }
}

#[test]
fn a_write_that_the_watch_tells_of_proves_it_and_measures_the_round_trip() {
    let mut watched = Watched::new();
    watched.write(11, 100, 140);
    assert_eq!(watched.health.wake_at(&watched.trip), Some(at(2_140)));
    watched.tell(&held(11, 0), 180);
    assert_eq!(watched.trip.typical(), Duration::from_millis(10), "a first read of no time, then 80 ms");
    assert!(watched.health.trust == Trust::Proven && !watched.is_given_up(9 * SECOND));
}

#[test]
fn a_watch_that_does_not_tell_of_what_is_known_is_given_up() {
    let mut watched = Watched::new();
    watched.write(11, 0, 10);
    watched.tell(&held(10, 0), 20);
    assert!(!watched.is_given_up(2_009));
    assert!(watched.is_given_up(2_010), "an older event is no proof");
    assert!(!watched.health.is_open() && watched.health.open(11, at(2_010)).is_none(), "after a pause");
    assert_eq!(watched.health.open(11, at(2_200)), Some(11));
}

#[test]
fn the_first_debt_counts_also_if_later_ones_follow() {
    let mut watched = Watched::new();
    for number in 0..20 {
        // Each write is told of, but ever later.
        watched.write(11 + number, number * 200, number * 200 + 10);
    }
    watched.tell(&WatchEvent::Bookmark, 900);
    assert!(watched.is_given_up(2_010));
}

#[test]
fn the_grace_period_begins_when_the_watch_is_connected() {
    let mut watched = Watched::new();
    watched.health.connected = None;
    watched.write(11, 0, 10);
    assert!(!watched.is_given_up(60 * SECOND));
    watched.tell(&WatchEvent::Connected, 60 * SECOND);
    assert!(!watched.is_given_up(61_999) && watched.is_given_up(62 * SECOND));
}

#[test]
fn a_read_of_an_earlier_revision_refutes_the_watch_at_once() {
    let mut watched = Watched::proven();
    watched.read(Some(7), 100);
    assert!(watched.is_given_up(102), "the store was set back");
    let mut watched = Watched::proven();
    watched.health.reading();
    watched.tell(&held(12, 0), 101);
    watched.health.read(Some(11), at(100), &mut watched.trip, at(102));
    assert!(!watched.is_given_up(9 * SECOND), "the event overtook the read");
}

#[test]
fn a_read_that_finds_no_lease_refutes_a_watch_that_does_not_tell_of_the_deletion() {
    let mut watched = Watched::proven();
    watched.read(None, 100);
    watched.tell(&WatchEvent::Deleted(12), 200);
    assert!(!watched.is_given_up(9 * SECOND));
    let mut watched = Watched::proven();
    watched.read(None, 100);
    assert!(watched.is_given_up(2_102));
}

#[test]
fn renewals_in_time_and_bookmarks_need_no_read() {
    let mut watched = Watched::proven();
    assert_eq!(watched.read_at(), at(30_010));
    watched.tell(&held(12, 5_000), 5_020);
    assert_eq!(watched.read_at(), at(35_020));
    watched.tell(&WatchEvent::Bookmark, 9_000);
    assert_eq!(watched.read_at(), at(39_000));
    watched.tell(&held(13, 5_000), 20_000);
    assert_eq!(watched.read_at(), at(39_000), "an event beside the renewals may be old");
}

#[test]
fn a_renewal_that_comes_late_needs_a_read_at_once() {
    let mut watched = Watched::proven();
    watched.tell(&held(12, 5_000), 5_020);
    watched.tell(&held(13, 10_000), 15_021);
    assert_eq!(watched.read_at(), at(15_021));
    watched.read(Some(15), 15_021);
    assert_eq!(watched.read_at(), at(45_023));
    assert!(watched.is_given_up(17_023));
}

#[test]
fn a_watch_that_has_proved_nothing_makes_nothing_certain() {
    let mut watched = Watched::new();
    for number in 0..5 {
        watched.tell(&held(11 + number, 5_000 * number), 60_000 + 5_000 * number);
    }
    assert_eq!(watched.read_at(), at(30_000), "all of it may be a minute old");
}

#[test]
fn a_forgotten_revision_makes_the_next_watch_begin_anew() {
    let mut watched = Watched::proven();
    watched.tell(&WatchEvent::Broken { expired: true }, 100);
    assert!(watched.read_at() <= at(200), "changes may have been missed");
    assert_eq!(watched.health.open(11, at(200)), Some(0));
    watched.tell(&WatchEvent::Connected, 210);
    watched.tell(&held(11, 0), 210);
    assert!(!watched.is_given_up(9 * SECOND));
    watched.tell(&WatchEvent::Broken { expired: false }, 10 * SECOND);
    assert_eq!(watched.health.open(11, at(11 * SECOND)), Some(11));
}

#[test]
fn a_watch_that_begins_anew_and_finds_no_lease_needs_a_read() {
    let mut watched = Watched::new();
    watched.tell(&WatchEvent::Broken { expired: true }, 0);
    assert_eq!(watched.health.open(10, at(200)), Some(0));
    watched.tell(&WatchEvent::Connected, 200);
    assert!(watched.is_given_up(2_200));
    assert!(watched.read_at() <= at(2_200));
}

#[test]
fn a_watch_that_breaks_again_and_again_is_opened_ever_later() {
    let mut watched = Watched::proven();
    let (mut now, mut opened) = (0, 0);
    while now < 600 * SECOND {
        watched.tell(&WatchEvent::Broken { expired: opened % 2 == 0 }, now);
        now = u64::try_from(watched.health.retry_at.since_origin().as_millis()).unwrap() + 1;
        assert!(watched.health.open(11, at(now)).is_some());
        opened += 1;
    }
    assert!(opened <= 40, "{opened} in ten minutes");
    watched.tell(&WatchEvent::Forbidden, now);
    assert_eq!(watched.health.retry_at, at(now + 60 * SECOND));
}

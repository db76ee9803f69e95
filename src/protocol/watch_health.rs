//! Whether the watch can be believed: when to open it, when to give it up, and when a read has to check it.

use std::time::Duration;

use super::backoff::Backoff;
use super::record::Snapshot;
use super::round_trip::RoundTrip;
use super::time::{Instant, WallTime};

/// An event of the watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum WatchEvent {
    /// The server has accepted the watch. Events follow.
    Connected,
    /// The Lease is now in this state.
    Changed(Snapshot),
    /// The Lease was deleted, at this revision.
    Deleted(u64),
    /// The watch has told of everything so far.
    Bookmark,
    /// The watch broke off, and changes may have been missed. If `expired`, the server has forgotten the changes after the
    /// revision from which the watch was to begin.
    Broken { expired: bool },
    /// This client may not watch.
    Forbidden,
}

/// What one lock knows about its watch.
///
/// A watch can be dead and look alive: its connection is half open, it lags behind, or it waits for a revision that an API
/// server restored from a backup has yet to reach. So the watch has to prove itself, to waiters and holders alike.
///
/// Invariants:
///
/// 1. The state of the Lease is certain when a read or a write of this process has shown it, and when a watch that has proved
///    itself tells of a renewal in time, or sends a bookmark. Other events may be old.
/// 2. A watch proves itself if it tells of a revision that this process has learned in another way.
/// 3. If the watch does not tell of such a revision within a grace period, or if a read shows that it told of changes that are no
///    longer true, it is refuted, and closed.
/// 4. If the state has not been certain for [`SILENCE_LIMIT`](Self::SILENCE_LIMIT), a read is due. When a watch breaks off, a read is due
///    at once, unless others broke off before it and none has proved itself since.
/// 5. A watch that broke off or was refuted is opened again after a pause, which doubles until a watch proves itself. After
///    [`Broken`](WatchEvent::Broken) by expiry it begins with what there is, and not with a revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WatchHealth {
    open: bool,
    connected: Option<Instant>,
    /// A closed watch is not opened before this.
    retry_at: Instant,
    backoff: Backoff,
    /// Whether the next watch begins with what there is.
    begin_anew: bool,
    /// The revision of the last event, and whether the Lease existed then.
    told: (u64, bool),
    /// What the watch had told when the last read was sent.
    told_before_read: u64,
    trust: Trust,
    owed: Option<Owed>,
    /// When the state of the Lease was last certain.
    certain: Instant,
    /// When a read has to come, because the watch broke off or an event came late.
    recheck_at: Option<Instant>,
    /// The quickest news of the present holder.
    quickest: Option<Quickest>,
    /// Since when nobody takes the events of the watch.
    unattended: Option<Instant>,
}

/// How much later than the `renewTime` of its holder an event came, in microseconds. The clocks may differ by any amount.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Quickest {
    holder: String,
    least: i64,
    last_renewed: WallTime,
}

/// Whether the watch is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Trust {
    Unproven,
    /// It has told of a revision that was learned in another way.
    Proven,
    Refuted,
}

/// A revision that is known, and of which the watch has not told yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Owed {
    revision: u64,
    since: Instant,
    /// When the request was sent that showed it, if the time can be measured.
    sent: Option<Instant>,
}

impl WatchHealth {
    /// If the state of the Lease has not been certain for so long, a read is due.
    pub(crate) const SILENCE_LIMIT: Duration = Duration::from_secs(30);

    /// The shortest and the longest grace period. Behind a store that several servers poll once a second, a watch lags that long.
    const MIN_GRACE: Duration = Duration::from_secs(2);
    const MAX_GRACE: Duration = Duration::from_secs(5);

    /// An event that comes later than the quickest one of its holder by more than this shows that the watch lags.
    const MAX_LAG_MICROS: i64 = 5_000_000;

    /// The longest pause before a watch is opened again.
    const MAX_PAUSE: Duration = Duration::from_secs(30);

    /// The pause before a forbidden watch is tried again: permissions change.
    const FORBIDDEN_RETRY_INTERVAL: Duration = Duration::from_secs(60);

    pub(crate) fn new() -> Self {
        Self {
            open: false,
            connected: None,
            retry_at: Instant::ORIGIN,
            backoff: Backoff::new(Self::MAX_PAUSE),
            begin_anew: false,
            told: (0, true),
            told_before_read: 0,
            trust: Trust::Unproven,
            owed: None,
            certain: Instant::ORIGIN,
            recheck_at: None,
            quickest: None,
            unattended: None,
        }
    }

    /// Nobody takes events from now on, until [`attended`](Self::attended).
    pub(super) fn unattended(&mut self, now: Instant) {
        self.unattended.get_or_insert(now);
    }

    /// Events are taken again. The time without does not count against the watch, and is no part of a round trip. If it was long, the
    /// event may have come within it, and nothing can be measured.
    pub(super) fn attended(&mut self, now: Instant) {
        let Some(since) = self.unattended.take() else { return };
        if let Some(owed) = &mut self.owed {
            let pause = since.max(owed.since).until(now);
            owed.since = owed.since + pause;
            let measurable = |sent: &Instant| pause <= sent.until(since);
            owed.sent = owed.sent.filter(measurable).map(|sent| sent + pause);
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Opens the watch, if it is closed and its pause is over. Returns the revision from which it has to begin, for a Lease
    /// that is known to be in the revision `known`. Zero: with what there is.
    pub(crate) fn open(&mut self, known: u64, now: Instant) -> Option<u64> {
        if self.open || self.retry_at > now {
            return None;
        }
        let from = if std::mem::take(&mut self.begin_anew) { 0 } else { known };
        (self.open, self.connected, self.trust) = (true, None, Trust::Unproven);
        (self.told, self.quickest) = ((from, true), None);
        self.owed = (from == 0).then_some(Owed { revision: known, since: now, sent: None });
        Some(from)
    }

    /// Opens the watch of a Lease that is known not to exist, as [`open`](Self::open) does. It begins with what there is: nothing.
    pub(crate) fn open_absent(&mut self, now: Instant) -> Option<u64> {
        let from = self.open(0, now)?;
        (self.told, self.owed) = ((0, false), None);
        Some(from)
    }

    /// Closes the watch, because nobody needs it.
    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    /// Whether the watch is refuted. It counts as closed from then on.
    pub(crate) fn give_up(&mut self, trip: &RoundTrip, now: Instant, rng: &mut fastrand::Rng) -> bool {
        let overdue = self.due(trip).is_some_and(|due| due <= now);
        let refuted = self.open && (self.trust == Trust::Refuted || overdue);
        if refuted {
            if self.told.0 == 0 {
                // It began with what there is, and there is nothing.
                self.recheck_at = Some(now);
            }
            let pause = self.backoff.failed(None, rng);
            self.reopen_after(pause, now);
        }
        refuted
    }

    /// Takes an event of the watch.
    pub(crate) fn delivered(
        &mut self,
        event: &WatchEvent,
        trip: &mut RoundTrip,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) {
        let in_time = match event {
            WatchEvent::Connected => {
                self.connected = Some(now);
                return;
            }
            WatchEvent::Changed(seen) => {
                self.tell(seen.version.revision, true, trip, now);
                self.is_in_time(seen, now)
            }
            WatchEvent::Deleted(revision) => {
                self.tell(*revision, false, trip, now);
                None
            }
            WatchEvent::Bookmark => Some(true),
            WatchEvent::Broken { expired } => {
                self.begin_anew = *expired;
                // The store may have been set back.
                if self.backoff.is_fresh() {
                    self.recheck_at = Some(now);
                }
                let pause = self.backoff.failed(None, rng);
                return self.reopen_after(pause, now);
            }
            WatchEvent::Forbidden => return self.reopen_after(Self::FORBIDDEN_RETRY_INTERVAL, now),
        };
        match in_time {
            Some(true) if self.trust == Trust::Proven => self.certain = now,
            Some(false) => self.recheck_at = Some(now),
            _ => {}
        }
    }

    /// A read is sent.
    pub(crate) fn reading(&mut self) {
        self.told_before_read = self.told.0;
    }

    /// A read that was sent at `sent` has shown the Lease in this revision. `None`: it does not exist.
    pub(crate) fn read(&mut self, seen: Option<u64>, sent: Instant, trip: &mut RoundTrip, now: Instant) {
        self.learned(seen, sent, trip, now);
        // What the watch told before the sending of the read is no longer true: the store was set back.
        if self.open && seen.is_some_and(|seen| seen < self.told_before_read) {
            self.trust = Trust::Refuted;
        }
    }

    /// A write of this process that was sent at `sent` has left the Lease in this revision.
    pub(crate) fn wrote(&mut self, revision: u64, sent: Instant, trip: &mut RoundTrip, now: Instant) {
        self.learned(Some(revision), sent, trip, now);
    }

    /// When the state of the Lease was certain for the last time.
    pub(crate) fn certain(&self) -> Instant {
        self.certain
    }

    /// When a read is due. While there is no watch, it is due at the end of each `interval`.
    pub(crate) fn read_at(&self, interval: Duration) -> Instant {
        let regular = self.certain + if self.open { Self::SILENCE_LIMIT } else { interval };
        self.recheck_at.map_or(regular, |at| at.min(regular))
    }

    /// When something has to be done about the watch, if a closed watch is wanted open.
    pub(crate) fn wake_at(&self, trip: &RoundTrip) -> Option<Instant> {
        if self.open { self.due(trip) } else { Some(self.retry_at) }
    }

    #[cfg(test)]
    pub(super) fn forget_measurements(&mut self) {
        (self.certain, self.quickest) = (Instant::ORIGIN, None);
        self.unattended = self.unattended.map(|_| Instant::ORIGIN);
        self.connected = self.connected.map(|_| Instant::ORIGIN);
        self.backoff.succeeded();
    }

    fn learned(&mut self, seen: Option<u64>, sent: Instant, trip: &mut RoundTrip, now: Instant) {
        (self.certain, self.recheck_at) = (now, None);
        let (told, exists) = self.told;
        let owes = self.open
            && match seen {
                Some(revision) => revision > told,
                None => exists,
            };
        if owes {
            let sent = self.connected.map(|_| sent);
            let revision = seen.unwrap_or(told + 1);
            // The first debt counts: a watch that lags more and more would never be late.
            self.owed.get_or_insert(Owed { revision, since: now, sent });
        } else {
            trip.measured(sent.until(now));
            if self.open && self.owed.is_none() {
                self.prove();
            }
        }
    }

    fn tell(&mut self, revision: u64, exists: bool, trip: &mut RoundTrip, now: Instant) {
        self.told = (revision, exists);
        if let Some(owed) = self.owed.take_if(|owed| owed.revision <= revision) {
            if let Some(sent) = owed.sent {
                trip.measured(sent.until(now));
            }
            self.prove();
        }
    }

    fn prove(&mut self) {
        if self.trust == Trust::Unproven {
            self.trust = Trust::Proven;
        }
        self.backoff.succeeded();
    }

    /// The end of the grace period. It begins when the watch is connected.
    fn due(&self, trip: &RoundTrip) -> Option<Instant> {
        let grace = (2 * trip.bound()).clamp(Self::MIN_GRACE, Self::MAX_GRACE);
        let (owed, connected) = (self.owed.as_ref()?, self.connected?);
        Some(owed.since.max(connected) + grace)
    }

    /// Whether the news of a renewal comes as early as others of the same holder. Only differences of differences count. `None`: it
    /// cannot be told, because the event is not about a renewal.
    fn is_in_time(&mut self, seen: &Snapshot, now: Instant) -> Option<bool> {
        let (holder, renewed) = (seen.record.holder.as_ref()?, seen.record.renewed?);
        let local = i64::try_from(now.since_origin().as_micros()).unwrap_or(i64::MAX);
        let difference = local.saturating_sub(renewed.0);
        match &mut self.quickest {
            Some(quickest) if quickest.holder == *holder => {
                quickest.least = quickest.least.min(difference);
                let is_renewal = std::mem::replace(&mut quickest.last_renewed, renewed) != renewed;
                is_renewal.then(|| difference.saturating_sub(quickest.least) <= Self::MAX_LAG_MICROS)
            }
            other => {
                *other = Some(Quickest { holder: holder.clone(), least: difference, last_renewed: renewed });
                None
            }
        }
    }

    fn reopen_after(&mut self, pause: Duration, now: Instant) {
        self.open = false;
        self.retry_at = now + pause;
    }
}

#[cfg(test)]
mod tests {
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
        let record =
            Record { renewed: Some(wall), ..Record::claim("them", Duration::from_secs(15), None, wall) };
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
}

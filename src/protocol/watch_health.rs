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
mod tests;

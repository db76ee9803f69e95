//! One observation of a Lease: who holds it, for a process that does not contend for it.

use std::time::Duration;

use super::backoff::{Backoff, jittered};
use super::expiry::ExpiryTracker;
use super::record::Snapshot;
use super::request::Outcome;
use super::round_trip::RoundTrip;
use super::time::{Instant, WallTime};
use super::watch_health::{WatchEvent, WatchHealth};

/// Observes a Lease by one watch and few reads.
///
/// Invariants:
///
/// 1. It reads and watches, and never writes.
/// 2. A holder counts as expired only if a read that was sent after the expiry of its record still shows this record.
/// 3. If the last read has failed, the answer is unknown, until a read succeeds or a watch that is believed shows the state.
/// 4. There is always a watch, or the pause before one; or, before the first answer, a read or the pause before it.
/// 5. A read that was sent after everything that is known is believed, whatever its revision: a store can be set back.
/// 6. The pauses after reads that fail in a row double.
///
/// The driver calls [`step`](Self::step). If the step is a read, the driver reports its outcome by
/// [`answered`](Self::answered). At any time it may report what the watch delivers by [`watched`](Self::watched).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ObserveState {
    expiry: ExpiryTracker,
    watch: WatchHealth,
    trip: RoundTrip,
    /// The newest state that was received. `None`: nothing yet.
    known: Option<Known>,
    in_flight: Option<Read>,
    /// When the last read that succeeded was sent.
    last_read: Option<Instant>,
    /// When the last read failed, if nothing has been certain since.
    failed: Option<Instant>,
    started: Instant,
    /// No read is sent before this.
    not_before: Instant,
    failures: Backoff,
    denials: Backoff,
    /// How long to wait for the next read while there is no watch.
    poll_pause: Duration,
}

/// A state of the Lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Known {
    /// `None`: it does not exist.
    seen: Option<Snapshot>,
    /// The revision of the Lease or of its deletion; zero if no Lease was ever seen.
    revision: u64,
    /// When its record expires. `None`: nobody holds the Lease.
    expires: Option<Instant>,
}

/// A read in flight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Read {
    sent: Instant,
    /// The newest revision that was known at its sending.
    known: Option<u64>,
}

/// The next action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ObserveStep {
    /// Read the Lease and report the [`Outcome`].
    Read,
    /// Open the watch from this revision. Zero: with what there is.
    OpenWatch(u64),
    /// Close the watch: it is not to be believed.
    CloseWatch,
    /// Do nothing before this instant, unless something is reported.
    Wait(Instant),
}

/// Who holds the Lease, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observation<'a> {
    /// No answer has come yet.
    Pending,
    /// Nobody, or there is no Lease.
    Free,
    /// The holder of this record.
    Held(&'a Snapshot),
    /// Nobody: the holder of this record has not renewed it in time.
    Expired(&'a Snapshot),
    /// The last read has failed.
    Unknown {
        /// When the state was certain for the last time, or when the observation began.
        since: Instant,
        /// The state at that time, if somebody held the Lease.
        last: Option<&'a Snapshot>,
    },
}

impl ObserveState {
    /// If there is no watch, the Lease is read at this interval, less up to one half by chance.
    const POLL_INTERVAL: Duration = Duration::from_secs(2);

    /// The longest pause after a read that failed, and after one that was refused.
    const MAX_FAILURE_PAUSE: Duration = Duration::from_secs(5);
    const MAX_DENIAL_PAUSE: Duration = Duration::from_secs(30);

    /// The longest pause that a server can ask for.
    const MAX_RETRY_PAUSE: Duration = Duration::from_secs(60);

    /// A record without a duration of its own counts as held for `fallback_duration`.
    pub(crate) fn new(fallback_duration: Duration, max_clock_skew: Option<Duration>, now: Instant) -> Self {
        Self {
            expiry: ExpiryTracker::new(fallback_duration, max_clock_skew),
            watch: WatchHealth::new(),
            trip: RoundTrip::default(),
            known: None,
            in_flight: None,
            last_read: None,
            failed: None,
            started: now,
            not_before: Instant::ORIGIN,
            failures: Backoff::new(Self::MAX_FAILURE_PAUSE),
            denials: Backoff::new(Self::MAX_DENIAL_PAUSE),
            poll_pause: Self::POLL_INTERVAL,
        }
    }

    /// Before this instant no read is sent.
    pub(crate) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Whether the last read has failed, and nothing has been certain since.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Who holds the Lease.
    pub(crate) fn observation(&self) -> Observation<'_> {
        let seen = self.known.as_ref().and_then(|known| known.seen.as_ref());
        let held = seen.filter(|seen| seen.record.holder.is_some());
        if self.failed.is_some() {
            let since = self.known.as_ref().map_or(self.started, |_| self.watch.certain());
            return Observation::Unknown { since, last: held };
        }
        match (&self.known, held) {
            (None, _) => Observation::Pending,
            (Some(_), None) => Observation::Free,
            (Some(known), Some(seen)) if self.has_confirmed_expiry(known) => Observation::Expired(seen),
            (Some(_), Some(seen)) => Observation::Held(seen),
        }
    }

    /// Whether a read has shown that the record was not renewed in time.
    fn has_confirmed_expiry(&self, known: &Known) -> bool {
        known.expires.zip(self.last_read).is_some_and(|(expires, read)| expires <= read)
    }

    /// Decides. A returned [`ObserveStep::Read`] counts as sent at `now`.
    pub(crate) fn step(&mut self, now: Instant, rng: &mut fastrand::Rng) -> ObserveStep {
        if self.watch.give_up(&self.trip, now, rng) {
            return ObserveStep::CloseWatch;
        }
        if let Some(known) = &self.known {
            let from = match &known.seen {
                Some(seen) => self.watch.open(seen.version.revision, now),
                None => self.watch.open_absent(now),
            };
            if let Some(from) = from {
                return ObserveStep::OpenWatch(from);
            }
        }
        let wake_at = self.known.as_ref().and_then(|_| self.watch.wake_at(&self.trip));
        let wake_at = wake_at.filter(|at| *at > now);
        if self.in_flight.is_some() {
            return ObserveStep::Wait(wake_at.unwrap_or(now + WatchHealth::SILENCE_LIMIT));
        }
        let read_at = self.read_at().max(self.not_before);
        if read_at > now {
            return ObserveStep::Wait(wake_at.into_iter().fold(read_at, Instant::min));
        }
        self.watch.reading();
        let known = self.known.as_ref().map(|known| known.revision);
        self.in_flight = Some(Read { sent: now, known });
        ObserveStep::Read
    }

    /// When a read is due.
    fn read_at(&self) -> Instant {
        let Some(known) = self.known.as_ref().filter(|_| self.failed.is_none()) else {
            return Instant::ORIGIN;
        };
        let expiry = known.expires.filter(|_| !self.has_confirmed_expiry(known));
        expiry.into_iter().fold(self.watch.read_at(self.poll_pause), Instant::min)
    }

    /// Takes the outcome of the read in flight.
    pub(crate) fn answered(
        &mut self,
        outcome: Outcome,
        now: Instant,
        wall: WallTime,
        rng: &mut fastrand::Rng,
    ) {
        let Some(Read { sent, known }) = self.in_flight.take() else { return };
        let Outcome::Read(seen) = outcome else {
            return self.fail(&outcome, now, rng);
        };
        self.failures.succeeded();
        self.denials.succeeded();
        self.poll_pause = jittered(Self::POLL_INTERVAL, rng);
        let revision = seen.as_ref().map(|seen| seen.version.revision);
        self.watch.read(revision, sent, &mut self.trip, now);
        self.failed = None;
        self.last_read = Some(sent);
        let newest = self.known.as_ref().map(|known| known.revision);
        // An event may have overtaken the read.
        if newest == known || revision >= newest {
            self.observe(seen, revision.or(newest).unwrap_or(0), now, wall);
        }
    }

    fn fail(&mut self, outcome: &Outcome, now: Instant, rng: &mut fastrand::Rng) {
        let denied = matches!(outcome, Outcome::Denied { .. });
        let backoff = if denied { &mut self.denials } else { &mut self.failures };
        self.not_before = now + backoff.failed_with(outcome, rng).min(Self::MAX_RETRY_PAUSE);
        self.failed = Some(now);
    }

    /// Takes an event of the watch.
    pub(crate) fn watched(
        &mut self,
        event: WatchEvent,
        now: Instant,
        wall: WallTime,
        rng: &mut fastrand::Rng,
    ) {
        self.watch.delivered(&event, &mut self.trip, now, rng);
        self.failed = self.failed.filter(|failed| self.watch.certain() <= *failed);
        let newest = self.known.as_ref().map_or(0, |known| known.revision);
        match event {
            WatchEvent::Changed(seen) if seen.version.revision > newest => {
                let revision = seen.version.revision;
                self.observe(Some(seen), revision, now, wall);
            }
            WatchEvent::Deleted(revision) if revision > newest => self.observe(None, revision, now, wall),
            _ => {}
        }
    }

    fn observe(&mut self, seen: Option<Snapshot>, revision: u64, now: Instant, wall: WallTime) {
        let held = seen.as_ref().filter(|seen| seen.record.holder.is_some());
        let expires = held.map(|held| self.expiry.expiry(held, now, wall));
        self.known = Some(Known { seen, revision, expires });
    }
}

#[cfg(test)]
mod tests;

//! The knowledge of one lock about its Lease, from one acquisition to the next.

use std::time::Duration;

use super::carryover::Carryover;
use super::contention::ContentionWindow;
use super::expiry::ExpiryTracker;
use super::queueing::QueuePolicy;
use super::record::{Record, Snapshot};
use super::recreation::Recreation;
use super::round_trip::RoundTrip;
use super::time::Instant;
use super::timings::Timings;
use super::watch_health::{WatchEvent, WatchHealth};

/// The knowledge of one lock about its Lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    pub expiry: ExpiryTracker,
    pub watch: WatchHealth,
    pub trip: RoundTrip,
    pub queueing: QueuePolicy,
    pub contention: ContentionWindow,
    pub recreation: Recreation,
    /// Whether a claim came too late, because other processes are quicker.
    pub outpaced: bool,
    /// The record with which this process last released the Lease.
    left_record: Option<Record>,
    /// Whether this lock has created the Lease.
    pub created: bool,
    /// How often in a row the Lease was handed off within this process.
    pub hand_offs: u32,
    carryover: Carryover,
    /// When the last acquisition ended.
    left: Instant,
}

impl Memory {
    /// For so long, a released Lease counts as free although no watch is open. After that it is read first.
    const CARRYOVER_TIMEOUT: Duration = Duration::from_secs(1);

    /// For so long after a release, nobody asks whether this process may write.
    const PERMISSION_TIMEOUT: Duration = Duration::from_secs(10);

    /// `number` stands on the ticket of this lock.
    pub(crate) fn new(timings: &Timings, max_clock_skew: Option<Duration>, number: u32) -> Self {
        Self {
            expiry: ExpiryTracker::new(timings.lease_duration, max_clock_skew),
            watch: WatchHealth::new(),
            trip: RoundTrip::default(),
            queueing: QueuePolicy::new(number),
            contention: ContentionWindow::default(),
            recreation: Recreation::default(),
            outpaced: false,
            left_record: None,
            created: false,
            hand_offs: 0,
            carryover: Carryover::Unknown,
            left: Instant::ORIGIN,
        }
    }

    /// An acquisition begins. It goes on from what the last one left, if that is still likely to be true.
    pub(super) fn begin(&mut self, now: Instant) -> Carryover {
        self.queueing.acquiring(&self.trip, now);
        self.watch.attended(now);
        let stale = !self.watch.is_open() && self.left + Self::CARRYOVER_TIMEOUT < now;
        match std::mem::take(&mut self.carryover) {
            Carryover::Free(_) if stale => Carryover::Unknown,
            carryover => carryover,
        }
    }

    /// An acquisition has ended. Nobody takes the events of the watch until the next one begins.
    pub(crate) fn ended(&mut self, now: Instant) {
        self.watch.unattended(now);
    }

    /// A hold ended with a release, which left the Lease in this state, if that is known.
    pub(crate) fn released(&mut self, left: Option<Snapshot>, now: Instant) {
        self.queueing.released(now);
        if let Some(left) = &left {
            self.recreation.exists(left, now);
        }
        self.left_record = left.as_ref().map(|left| left.record.clone());
        (self.carryover, self.left) = (left.map_or(Carryover::Unknown, Carryover::Free), now);
    }

    /// An acquisition ended without a claim, and leaves this state, in which the Lease is free, to the next one. After a while one
    /// of them has to read again, however quickly they follow each other: another client may have edited the Lease.
    pub(super) fn leave_free(&mut self, seen: Snapshot, now: Instant) {
        if now <= self.left + Self::CARRYOVER_TIMEOUT {
            self.carryover = Carryover::Free(seen);
        }
    }

    /// The watch has delivered an event.
    pub(crate) fn told(&mut self, event: &WatchEvent, now: Instant, rng: &mut fastrand::Rng) {
        self.watch.delivered(event, &mut self.trip, now, rng);
    }

    /// The API server has answered with this state.
    pub(super) fn shown(&mut self, seen: &Snapshot) {
        // If no other process has used the Lease meanwhile, none is quicker.
        self.outpaced &= self.left_record.as_ref() != Some(&seen.record);
    }

    /// Until when it goes without saying that this process may write, because it has released the Lease lately.
    pub(super) fn may_write_until(&self) -> Instant {
        let released = self.left_record.as_ref().map(|_| self.left);
        released.map_or(Instant::ORIGIN, |at| at + Self::PERMISSION_TIMEOUT)
    }

    /// A hold was handed off to the next task of this process.
    pub(super) fn handed_off(&mut self, by: String, snapshot: Snapshot) {
        self.hand_offs = self.hand_offs.saturating_add(1);
        self.carryover = Carryover::HandedOff { by, snapshot };
    }

    /// Forgets what was measured and drawn, so that a search does not tell apart states that differ in nothing else.
    #[cfg(test)]
    pub(crate) fn forget_measurements(&mut self) {
        (self.trip, self.contention) = (RoundTrip::default(), ContentionWindow::default());
        self.recreation = Recreation::default();
        self.queueing.forget_measurements();
        self.watch.forget_measurements();
    }

    /// An acquisition left this.
    #[cfg(test)]
    pub(crate) fn leave(&mut self, carryover: Carryover) {
        self.carryover = carryover;
    }

    /// Whether a hold was handed off, and no task has taken it yet.
    pub(crate) fn has_hand_off(&self) -> bool {
        matches!(self.carryover, Carryover::HandedOff { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{DoneKeys, Queue, Version};

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn a_released_lease_counts_as_free_for_a_second_or_while_a_watch_is_open() {
        let version = Version { uid: "u".into(), revision: 5 };
        let free = Snapshot { version, record: Record::EMPTY, queue: Queue::EMPTY, done: DoneKeys::Empty };
        for (watched, next, known) in [(false, 1_000, true), (false, 1_001, false), (true, 9_000, true)] {
            let mut memory = Memory::new(&Timings::DEFAULTS, None, 1);
            memory.released(Some(free.clone()), at(0));
            if watched {
                memory.watch.open(5, at(0));
            }
            let carryover = memory.begin(at(next));
            assert_eq!(carryover == Carryover::Free(free.clone()), known, "{next} ms, watched: {watched}");
            assert_eq!(memory.begin(at(next)), Carryover::Unknown, "once");
        }
    }
}

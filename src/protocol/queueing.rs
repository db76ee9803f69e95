//! When to join the queue that a Lease carries, and how long to leave a free Lease to the processes ahead.

use std::time::Duration;

use super::identity;
use super::queue::{Queue, Ticket};
use super::record::{Record, Snapshot};
use super::request::{Join, Outcome};
use super::round_trip::RoundTrip;
use super::time::Instant;

/// How one lock uses the queue.
///
/// Invariants:
///
/// 1. A process leaves a free Lease to each process ahead for the head start that the ticket of that process asks for.
///    Both one head start and their sum are bounded.
/// 2. A process joins only if the queue of the newest known state has room and does not have its ticket. At most one join is
///    in flight.
/// 3. It joins after a pause drawn from a window. Collisions with other joins and a ticket that was removed widen the
///    window, whatever the cause. Only another holder narrows it. This is Ethernet's binary exponential backoff (Metcalfe and
///    Boggs, 1976).
/// 4. While the Lease changes hands quickly, it joins only if no other process is joining.
/// 5. The join is made only under the observed holder. The exception is a process whose last join came too late, while the Lease
///    changes hands quickly, if no holder of another library was ever observed.
/// 6. After a refusal it waits for another state than the one that it tried. If claims, renewals and releases have come first several
///    times in a row, it no longer insists on the list that it expects: then the others are quicker than its requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueuePolicy {
    number: u32,
    window: Duration,
    /// When to join, once that is drawn.
    join_at: Option<Instant>,
    /// The join in flight.
    in_flight: Option<Attempt>,
    /// The revision of the state on which the last join was refused.
    refused_on: Option<u64>,
    /// How many joins in a row came later than a claim, renewal or release.
    late_joins: usize,
    /// Whether the last join came too late, and the Lease has changed hands quickly ever since.
    is_slower: bool,
    /// The holder under which the queue had the ticket of this process. Empty: nobody held the Lease.
    placed_under: Option<String>,
    /// Whether a holder of another library was ever observed.
    foreign_observed: bool,
    /// The record that was observed last, and since when.
    record: Option<Record>,
    changed: Instant,
    released: Option<Instant>,
    /// For how many more releases this process is expected to acquire again at once.
    expected_returns: u32,
}

/// A join that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    sent: Instant,
    on: u64,
    under: Record,
}

/// What to do about the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JoinStep {
    /// Send this join.
    Join(Join),
    /// Not before this instant.
    Wait(Instant),
    /// Nothing, until the Lease changes.
    None,
}

impl QueuePolicy {
    /// The head start of a process that is close to the API server.
    const MIN_HEAD_START: Duration = Duration::from_millis(50);
    const MAX_HEAD_START: Duration = Duration::from_secs(2);

    const MIN_WINDOW: Duration = Duration::from_millis(10);
    const MAX_WINDOW: Duration = Duration::from_secs(30);

    /// The least window while the queue is full: hundreds of processes may wait for the next place in it.
    const FULL_QUEUE_WINDOW: Duration = Duration::from_secs(10);

    /// With fewer tickets, the queue may become empty before a process joins. So then the window narrows faster.
    const SHORT_QUEUE_TICKETS: usize = 4;

    /// After so many late joins in a row, the next one is forced. Behind a long queue there is less hurry: one more for every
    /// four tickets.
    const MAX_LATE_JOINS: usize = 2;

    /// A process that acquires again within this time after its release, or within so many round trips, will probably do so
    /// once more.
    const QUICK_RETURN: Duration = Duration::from_millis(5);
    const QUICK_RETURN_TRIPS: u32 = 6;

    /// One slow return does not end that expectation, because the machine may be busy. Two in a row do.
    const EXPECTED_RETURNS: u32 = 2;

    pub(crate) fn new(number: u32) -> Self {
        Self {
            number,
            window: Self::MIN_WINDOW,
            join_at: None,
            in_flight: None,
            refused_on: None,
            late_joins: 0,
            is_slower: false,
            placed_under: None,
            foreign_observed: false,
            record: None,
            changed: Instant::ORIGIN,
            released: None,
            expected_returns: 0,
        }
    }

    /// The number on the ticket of this process.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// How long to leave a free Lease to the processes ahead. `max_total` bounds the sum of their head starts: a process that asks for
    /// more than is left gets what is left, and each one after it only a small one, so that they still claim one after the other.
    ///
    /// This process hears of their claims with some variation, and has to wait for that too.
    pub(crate) fn head_start(&self, queue: &Queue, trip: &RoundTrip, max_total: Duration) -> Duration {
        let variation =
            if queue.ahead_of(self.number).next().is_some() { trip.uncertainty() } else { Duration::ZERO };
        variation.min(Self::MAX_HEAD_START) + self.head_starts(queue, max_total)
    }

    fn head_starts(&self, queue: &Queue, max_total: Duration) -> Duration {
        let least =
            Self::MIN_HEAD_START.min(max_total / u32::try_from(Queue::MAX_TICKETS).unwrap_or(u32::MAX));
        queue.ahead_of(self.number).fold(Duration::ZERO, |total, ticket| {
            let asked = ticket.head_start.clamp(Self::MIN_HEAD_START, Self::MAX_HEAD_START);
            total + asked.min(max_total.saturating_sub(total)).max(least)
        })
    }

    /// The ticket of this process, with a head start of twice the time in which it can claim a Lease that was released.
    fn ticket(&self, trip: &RoundTrip) -> Ticket {
        let needed = (trip.typical() + trip.bound()).clamp(Self::MIN_HEAD_START, Self::MAX_HEAD_START);
        let millis = u64::try_from(needed.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        Ticket { number: self.number, head_start: Duration::from_millis(millis) }
    }

    /// Takes a state of the Lease into account. Returns whether the process was overtaken: another process behind it in the
    /// queue has claimed first.
    pub(crate) fn observed(&mut self, seen: &Snapshot, now: Instant) -> bool {
        let Snapshot { record, queue, .. } = seen;
        self.foreign_observed |= !record.holder.as_deref().is_none_or(identity::is_generated);
        let known = self.record.as_ref();
        if known != Some(record) {
            let other_holder = known.is_none_or(|known| known.holder != record.holder);
            if other_holder && self.window > Self::MIN_WINDOW {
                let short = queue.len() < Self::SHORT_QUEUE_TICKETS;
                self.window = if short { self.window / 2 } else { self.window * 3 / 4 }.max(Self::MIN_WINDOW);
                self.join_at = None;
            }
            self.changed = now;
            self.record = Some(record.clone());
        }
        let holder = record.holder.clone().unwrap_or_default();
        if queue.contains(self.number) {
            self.placed_under = Some(holder);
            return false;
        }
        match self.placed_under.take() {
            // The ticket was removed, and no claim has removed it.
            Some(placed_under) if placed_under == holder => {
                self.widen(4);
                false
            }
            Some(_) => !holder.is_empty(),
            None => false,
        }
    }

    /// Whether to join the queue of the newest known state.
    pub(crate) fn join(
        &mut self,
        seen: &Snapshot,
        trip: &RoundTrip,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> JoinStep {
        let Snapshot { version, record, queue, .. } = seen;
        if queue.len() >= Queue::MAX_TICKETS {
            self.window = self.window.max(Self::FULL_QUEUE_WINDOW);
        }
        let refused = self.refused_on == Some(version.revision);
        let wanted = !queue.contains(self.number) && queue.has_room();
        if !wanted || self.in_flight.is_some() || refused {
            self.join_at = None;
            return JoinStep::None;
        }
        // While the Lease changes hands faster than a request arrives, a join makes the next claim or release fail once. So
        // then only one process joins at a time.
        let settled = self.changed + 2 * trip.typical();
        let quick = settled > now;
        self.is_slower &= quick;
        let expected = if quick { &[] } else { queue.joining().unwrap_or_default() };
        let forced = self.late_joins >= Self::MAX_LATE_JOINS + queue.len() / 4;
        if queue.joining() != Some(expected) && !forced {
            self.join_at = None;
            return JoinStep::Wait(settled);
        }
        // A late join that follows the same event again would be late again.
        let late = if self.late_joins > 0 { trip.typical() / 2 } else { Duration::ZERO };
        let window = self.window;
        let due = *self.join_at.get_or_insert_with(|| {
            let pause = window.max(late).mul_f64(rng.f64());
            now + if window > Self::MIN_WINDOW { (window + pause) / 2 } else { pause }
        });
        if due > now {
            return JoinStep::Wait(due);
        }
        self.join_at = None;
        self.in_flight = Some(Attempt { sent: now, on: version.revision, under: record.clone() });
        JoinStep::Join(Join {
            uid: version.uid.clone(),
            under: (!self.is_slower || self.foreign_observed)
                .then(|| record.holder.clone().unwrap_or_default()),
            expected: expected.to_vec(),
            forced,
            ticket: self.ticket(trip),
        })
    }

    /// Whether a join is in flight.
    pub(crate) fn is_joining(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Takes the outcome of the join in flight, and returns when it was sent. An answer without the ticket is a refusal.
    pub(crate) fn answered(&mut self, outcome: &Outcome, trip: &RoundTrip, now: Instant) -> Option<Instant> {
        let Attempt { sent, on, under } = self.in_flight.take()?;
        match outcome {
            Outcome::Written(seen) if seen.queue.contains(self.number) => {
                (self.refused_on, self.late_joins) = (None, 0);
            }
            Outcome::Conflict => {
                self.refused_on = Some(on);
                let took = sent.until(now);
                // If the watch lags behind the requests, the news of a change is still on its way.
                let unchanged = self.record.as_ref() == Some(&under) && took >= trip.typical() / 2;
                if unchanged {
                    // Another join came first. An answer that is late besides shows that the server is busy with many of them.
                    self.window = self.window.max(took.saturating_sub(trip.typical()));
                    self.widen(3);
                } else {
                    self.late_joins += 1;
                    self.is_slower = true;
                }
            }
            _ => {
                self.refused_on = Some(on);
                self.widen(4);
            }
        }
        Some(sent)
    }

    fn widen(&mut self, factor: u32) {
        self.window = (self.window * factor).min(Self::MAX_WINDOW);
        self.join_at = None;
    }

    #[cfg(test)]
    pub(super) fn forget_measurements(&mut self) {
        (self.window, self.changed, self.released) = (Self::MIN_WINDOW, Instant::ORIGIN, None);
    }

    /// An acquisition begins. The answer to an earlier join is not waited for.
    pub(crate) fn acquiring(&mut self, trip: &RoundTrip, now: Instant) {
        self.in_flight = None;
        self.placed_under = None;
        let soon = Self::QUICK_RETURN.max(Self::QUICK_RETURN_TRIPS * trip.typical());
        let quick = self.released.take().is_some_and(|released| released.until(now) < soon);
        self.expected_returns =
            if quick { Self::EXPECTED_RETURNS } else { self.expected_returns.saturating_sub(1) };
    }

    /// The Lease was released.
    pub(crate) fn released(&mut self, now: Instant) {
        self.released = Some(now);
    }

    /// The ticket to add in the releasing write, if this process will probably acquire again at once.
    pub(crate) fn rejoining(&self, waited_for: bool, trip: &RoundTrip) -> Option<Ticket> {
        (waited_for || self.expected_returns > 0).then(|| self.ticket(trip))
    }
}

#[cfg(test)]
mod tests;

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
mod tests {
    use super::*;
    use crate::protocol::{DoneKeys, Version, WallTime};

    const ME: u32 = 7;
    const HALF_LEASE: Duration = Duration::from_millis(7_500);

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn ticket(number: u32, head_start: u64) -> Ticket {
        Ticket { number, head_start: millis(head_start) }
    }

    fn queue(numbers: impl IntoIterator<Item = u32>) -> Queue {
        Queue::new(numbers.into_iter().map(|number| ticket(number, 50)).collect(), Some(Vec::new()))
    }

    fn held_by(holder: &str, revision: u64, queue: Queue) -> Snapshot {
        let record = Record::claim(holder, Duration::from_secs(15), None, WallTime(0));
        Snapshot { version: Version { uid: "u".into(), revision }, record, queue, done: DoneKeys::Empty }
    }

    struct Joiner {
        policy: QueuePolicy,
        trip: RoundTrip,
        rng: fastrand::Rng,
    }

    impl Joiner {
        fn new() -> Self {
            Self {
                policy: QueuePolicy::new(ME),
                trip: RoundTrip::default(),
                rng: fastrand::Rng::with_seed(1),
            }
        }

        fn observe(&mut self, seen: &Snapshot, now: Instant) -> JoinStep {
            self.policy.observed(seen, now);
            self.policy.join(seen, &self.trip, now, &mut self.rng)
        }

        fn answered(&mut self, outcome: &Outcome, now: Instant) {
            self.policy.answered(outcome, &self.trip, now);
        }

        /// Waits for its time, and joins. Returns the join and the time of its sending.
        fn join(&mut self, seen: &Snapshot, now: Instant) -> (Join, Instant) {
            match self.observe(seen, now) {
                JoinStep::Join(join) => (join, now),
                JoinStep::Wait(until) => self.join(seen, until),
                JoinStep::None => panic!("it should join: {:?}", self.policy),
            }
        }
    }

    #[test]
    fn each_process_waits_for_the_head_start_of_every_process_ahead() {
        let policy = QueuePolicy::new(ME);
        let tickets = [ticket(1, 80), ticket(2, 0), ticket(3, 60_000), ticket(ME, 50), ticket(4, 50)];
        let head_start = |count: usize| {
            policy.head_starts(&Queue::new(tickets[..count].to_vec(), Some(Vec::new())), HALF_LEASE)
        };
        assert_eq!([0, 1, 2, 3].map(head_start), [0, 80, 130, 2_130].map(millis));
        assert_eq!(head_start(5), millis(2_130), "tickets behind do not count");
    }

    #[test]
    fn a_process_that_hears_of_claims_with_some_variation_waits_for_that_too() {
        let mut joiner = Joiner::new();
        joiner.trip.measured(millis(100));
        let head_start = |numbers: &[u32]| {
            joiner.policy.head_start(&queue(numbers.iter().copied()), &joiner.trip, HALF_LEASE)
        };
        assert_eq!(head_start(&[1, ME]), millis(50 + 200));
        assert_eq!(head_start(&[ME, 1]), Duration::ZERO);
    }

    #[test]
    fn the_sum_of_head_starts_is_bounded() {
        let policy = QueuePolicy::new(ME);
        let far =
            |count: u32| Queue::new((100..100 + count).map(|number| ticket(number, 2_000)).collect(), None);
        let head_starts: Vec<_> = (0..128).map(|count| policy.head_starts(&far(count), HALF_LEASE)).collect();
        assert_eq!(head_starts[..6], [0, 2_000, 4_000, 6_000, 7_500, 7_550].map(millis));
        let brief = policy.head_starts(&far(1), millis(1_500));
        assert_eq!(brief, millis(1_500), "a process that asks for more than there is gets what there is");
        assert!(head_starts.is_sorted_by(|one, next| one < next), "no two processes claim at once");
        assert!(head_starts[127] <= 2 * HALF_LEASE);
        let short = policy.head_starts(&far(127), millis(1_500));
        assert!(short <= millis(3_000), "{short:?}");
    }

    #[test]
    fn a_ticket_asks_for_twice_the_time_in_which_its_process_can_claim() {
        let mut joiner = Joiner::new();
        assert_eq!(joiner.policy.ticket(&joiner.trip).head_start, QueuePolicy::MIN_HEAD_START);
        (0..50).for_each(|_| joiner.trip.measured(millis(100)));
        assert!((millis(200)..millis(203)).contains(&joiner.policy.ticket(&joiner.trip).head_start));
        (0..2).for_each(|_| joiner.trip.measured(Duration::from_secs(60)));
        assert_eq!(joiner.policy.ticket(&joiner.trip).head_start, QueuePolicy::MAX_HEAD_START);
    }

    #[test]
    fn it_joins_once_if_there_is_room() {
        let mut joiner = Joiner::new();
        let seen = held_by("them", 5, queue([1]));
        let JoinStep::Wait(due) = joiner.observe(&seen, at(100)) else { panic!("it joins after a pause") };
        assert!((at(100)..=at(110)).contains(&due));
        let later = held_by("them", 6, queue([1, 2]));
        assert_eq!(
            joiner.observe(&later, at(100)),
            JoinStep::Wait(due),
            "it keeps the instant that it has drawn"
        );
        assert!(matches!(joiner.observe(&later, due), JoinStep::Join(_)));
        assert_eq!(
            joiner.observe(&held_by("them", 7, queue([1, 2, 3])), due),
            JoinStep::None,
            "one at a time"
        );
        joiner.answered(&Outcome::Written(held_by("them", 8, queue([1, 2, 3, ME]))), due);
        assert_eq!(joiner.observe(&held_by("them", 8, queue([1, 2, 3, ME])), due), JoinStep::None);
    }

    #[test]
    fn it_joins_no_full_queue_and_none_without_the_list() {
        let mut joiner = Joiner::new();
        assert_eq!(joiner.observe(&held_by("them", 5, queue(20..200)), at(0)), JoinStep::None);
        assert_eq!(joiner.policy.window, QueuePolicy::FULL_QUEUE_WINDOW);
        assert_eq!(joiner.observe(&held_by("them", 6, Queue::default()), at(0)), JoinStep::None);
    }

    #[test]
    fn while_the_lease_changes_hands_quickly_one_process_joins_at_a_time() {
        let joining = vec![ticket(1, 50)];
        let seen = |holder: &str, revision, joining: &[Ticket]| {
            let holder = format!("{holder}_0123456789abcdef");
            held_by(&holder, revision, Queue::new(vec![], Some(joining.to_vec())))
        };
        let mut joiner = Joiner::new();
        joiner.trip.measured(millis(500));
        assert_eq!(joiner.observe(&seen("a", 5, &joining), at(10_000)), JoinStep::Wait(at(11_000)));
        assert_eq!(joiner.observe(&seen("b", 6, &joining), at(10_900)), JoinStep::Wait(at(11_900)));
        let (join, sent) = joiner.join(&seen("b", 6, &joining), at(11_900));
        assert_eq!(join.expected, joining, "it has not changed hands for a while");
        assert_eq!(join.under.as_deref(), Some("b_0123456789abcdef"));
        joiner.answered(&Outcome::Conflict, sent + millis(500));
        let (join, sent) = joiner.join(&seen("c", 7, &[]), at(20_000));
        assert_eq!((join.expected, join.under.is_some()), (vec![], true));
        joiner.policy.observed(&seen("d", 8, &[]), sent);
        joiner.answered(&Outcome::Conflict, sent);
        let (join, sent) = joiner.join(&seen("e", 9, &[]), sent);
        assert_eq!(join.under, None, "the others are quicker");
        joiner.answered(&Outcome::Conflict, sent);
        joiner.policy.observed(&held_by("another library", 10, Queue::EMPTY), sent);
        let (join, _) = joiner.join(&seen("f", 11, &[]), sent);
        assert!(join.under.is_some(), "that library may hold the Lease when the join arrives");
    }

    #[test]
    fn collisions_widen_the_window_and_another_holder_narrows_it() {
        let (mut joiner, mut now) = (Joiner::new(), at(0));
        for revision in 5..35 {
            let (_, sent) = joiner.join(&held_by("them", revision, queue(20..30)), now);
            now = sent + millis(1);
            joiner.answered(&Outcome::Conflict, now);
            assert_eq!(
                joiner.observe(&held_by("them", revision, queue(20..30)), now),
                JoinStep::None,
                "not again on the same state"
            );
        }
        assert_eq!(joiner.policy.window, QueuePolicy::MAX_WINDOW);
        for revision in 35..80 {
            joiner.observe(&held_by("them", revision, queue([1])), now);
        }
        assert_eq!(joiner.policy.window, QueuePolicy::MAX_WINDOW, "the same holder");
        for revision in 80..120 {
            joiner.observe(&held_by(&format!("holder {revision}"), revision, queue([1])), now);
        }
        assert_eq!(joiner.policy.window, QueuePolicy::MIN_WINDOW);
    }

    #[test]
    fn a_join_that_is_refused_before_the_watch_can_tell_why_was_late() {
        let mut joiner = Joiner::new();
        joiner.trip.measured(millis(230));
        let (_, sent) = joiner.join(&held_by("them", 5, queue([1])), at(1_000));
        joiner.answered(&Outcome::Conflict, sent + millis(2));
        assert_eq!((joiner.policy.late_joins, joiner.policy.window), (1, QueuePolicy::MIN_WINDOW));
    }

    #[test]
    fn a_slow_answer_widens_the_window_at_once() {
        let mut joiner = Joiner::new();
        let (_, sent) = joiner.join(&held_by("them", 5, queue([1])), at(0));
        joiner.answered(&Outcome::Conflict, sent + millis(1_000));
        assert_eq!(joiner.policy.window, millis(3_000));
    }

    #[test]
    fn a_join_without_effect_widens_the_window_whatever_the_cause() {
        let without_ticket = held_by("them", 6, queue([1]));
        let in_doubt = Outcome::InDoubt { retry_after: None, server_known: true, refused: false };
        for outcome in [Outcome::Written(without_ticket), in_doubt, Outcome::Denied { any_write: false }] {
            let mut joiner = Joiner::new();
            let seen = held_by("them", 5, queue([1]));
            let (_, sent) = joiner.join(&seen, at(0));
            joiner.answered(&outcome, sent);
            assert_eq!(joiner.policy.window, 4 * QueuePolicy::MIN_WINDOW);
            assert_eq!(joiner.observe(&seen, sent), JoinStep::None, "not again on the same state");
        }
    }

    #[test]
    fn writes_of_changing_holders_do_not_widen_the_window_and_force_the_next_join() {
        let (mut joiner, mut now) = (Joiner::new(), at(0));
        for turn in 0..30 {
            let (join, sent) = joiner.join(&held_by(&format!("holder {turn}"), 2 * turn, queue(20..30)), now);
            assert_eq!(join.forced, turn >= 2 + 10 / 4, "{turn}");
            now = sent + millis(1);
            joiner.observe(&held_by(&format!("next {turn}"), 2 * turn + 1, queue(20..30)), now);
            joiner.answered(&Outcome::Conflict, now);
        }
        assert_eq!(joiner.policy.window, QueuePolicy::MIN_WINDOW);
    }

    #[test]
    fn a_ticket_that_is_removed_again_and_again_is_put_back_ever_later() {
        let (mut joiner, mut now, mut joins) = (Joiner::new(), at(0), 0);
        for revision in 0.. {
            let (_, sent) = joiner.join(&held_by("them", 2 * revision, queue([1])), now);
            if sent > at(60_000) {
                break;
            }
            joins += 1;
            let placed = held_by("them", 2 * revision + 1, queue([1, ME]));
            joiner.answered(&Outcome::Written(placed.clone()), sent);
            assert_eq!(joiner.observe(&placed, sent), JoinStep::None);
            now = sent + millis(10);
        }
        assert!(joins <= 8, "{joins} joins in a minute");
    }

    #[test]
    fn a_process_notices_that_it_was_overtaken() {
        let mut policy = QueuePolicy::new(ME);
        assert!(!policy.observed(&held_by("a", 5, queue([1, ME, 2])), at(0)));
        assert!(!policy.observed(&held_by("b", 6, queue([ME, 2])), at(0)));
        assert!(policy.observed(&held_by("c", 7, queue([])), at(0)));
        assert!(!policy.observed(&held_by("d", 8, queue([])), at(0)), "once");
        assert_eq!(policy.window, QueuePolicy::MIN_WINDOW);
    }

    #[test]
    fn a_process_that_came_back_at_once_is_expected_to_do_so_again() {
        let (mut policy, trip) = (QueuePolicy::new(ME), RoundTrip::default());
        assert_eq!(policy.rejoining(false, &trip), None);
        assert_eq!(policy.rejoining(true, &trip), Some(ticket(ME, 50)), "others of this process wait");
        for (pause, back) in [(50, false), (1, true), (50, true), (1, true), (50, true), (50, false)] {
            policy.released(at(1_000));
            policy.acquiring(&trip, at(1_000 + pause));
            assert_eq!(policy.rejoining(false, &trip).is_some(), back);
        }
    }
}

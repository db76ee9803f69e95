//! When to join the queue that a Lease carries, and how long to leave a free Lease to other processes.

use std::time::Duration;

use super::queue::{Queue, Ticket};
use super::record::{Snapshot, Version};
use super::time::Instant;

/// How one lock uses the queue.
///
/// Invariants:
///
/// 1. A process joins only if the queue of the newest known version has room and does not have its ticket.
/// 2. It joins after a pause drawn from a window. Collisions with other processes that join double the window; a short queue
///    halves it. This is Ethernet's binary exponential backoff (Metcalfe and Boggs, 1976).
/// 3. After a collision it waits for the news of the write that came first.
#[derive(Debug)]
pub(crate) struct QueuePolicy {
    ticket: Ticket,
    window: Duration,
    /// When to join, once that is drawn.
    join_at: Option<Instant>,
    /// The last attempt to join: its sending, the holder at that time, and whether another write came first.
    tried: Instant,
    tried_under: Option<String>,
    collided: bool,
    /// The newest revision of the Lease that was taken into account.
    known: u64,
    released: Option<Instant>,
    /// For how many more releases this process is expected to acquire again at once.
    expected_returns: u32,
}

impl QueuePolicy {
    /// How long each process in the queue has for its claim before the processes behind it go on.
    pub(crate) const HEAD_START: Duration = Duration::from_millis(50);

    const MIN_WINDOW: Duration = Duration::from_millis(10);
    const MAX_WINDOW: Duration = Duration::from_secs(30);

    /// The least window while the queue is full: hundreds of processes may wait for the next place in it.
    const FULL_QUEUE_WINDOW: Duration = Duration::from_secs(10);

    /// With fewer tickets, the queue may become empty before a process joins.
    const SHORT_QUEUE_TICKETS: usize = 4;

    /// A process that acquires again within this time after its release will probably do so once more.
    const QUICK_RETURN: Duration = Duration::from_millis(5);

    /// One slow return does not end that expectation, because the machine may be busy. Two in a row do.
    const EXPECTED_RETURNS: u32 = 2;

    pub(crate) fn new(ticket: Ticket) -> Self {
        Self {
            ticket,
            window: Self::MIN_WINDOW,
            join_at: None,
            tried: Instant::ORIGIN,
            tried_under: None,
            collided: false,
            known: 0,
            released: None,
            expected_returns: 0,
        }
    }

    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// How long to leave a free Lease to the processes ahead.
    pub(crate) fn head_start(&self, queue: &Queue) -> Duration {
        let ahead = u32::try_from(queue.ahead_of(self.ticket)).unwrap_or(u32::MAX);
        Self::HEAD_START.saturating_mul(ahead)
    }

    /// When to join the queue of a held Lease. `None` if there is no room or no need, or if the news of a collision is
    /// still on its way.
    pub(crate) fn join_at(
        &mut self,
        seen: &Snapshot,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<Instant> {
        let Snapshot { version: Version { revision, .. }, queue, .. } = seen;
        let is_new = *revision > self.known;
        if self.collided && !is_new {
            return None;
        }
        let collided = std::mem::take(&mut self.collided);
        // If the holder has changed, the holder wrote first, and not another process that joins.
        if collided && self.tried_under == seen.record.holder {
            self.widen();
        }
        if queue.is_full() {
            self.window = self.window.max(Self::FULL_QUEUE_WINDOW);
        }
        if queue.is_full() || queue.contains(self.ticket) {
            self.join_at = None;
            return None;
        }
        let is_short = queue.len() < Self::SHORT_QUEUE_TICKETS;
        if is_short && is_new && !collided && self.window > Self::MIN_WINDOW {
            self.window = (self.window / 2).max(Self::MIN_WINDOW);
            self.join_at = None;
        }
        self.known = *revision;
        Some(*self.join_at.get_or_insert_with(|| now + self.window.mul_f64(rng.f64())))
    }

    /// An attempt to join is sent.
    pub(crate) fn joining(&mut self, seen: &Snapshot, now: Instant) {
        (self.join_at, self.tried) = (None, now);
        self.tried_under.clone_from(&seen.record.holder);
    }

    /// Another write came first. A slow answer shows that many processes have tried.
    pub(crate) fn collided(&mut self, now: Instant) {
        self.collided = true;
        self.window = self.window.max(4 * self.tried.until(now)).min(Self::MAX_WINDOW);
    }

    /// Too many processes join, or the server is in trouble.
    pub(crate) fn widen(&mut self) {
        self.window = (self.window * 2).min(Self::MAX_WINDOW);
        self.join_at = None;
    }

    /// An acquisition begins.
    pub(crate) fn acquiring(&mut self, now: Instant) {
        let quick = self.released.take().is_some_and(|released| released.until(now) < Self::QUICK_RETURN);
        self.expected_returns =
            if quick { Self::EXPECTED_RETURNS } else { self.expected_returns.saturating_sub(1) };
    }

    /// The Lease was released.
    pub(crate) fn released(&mut self, now: Instant) {
        self.released = Some(now);
    }

    /// The ticket to add in the releasing write, if this process will probably acquire again at once.
    pub(crate) fn rejoining(&self, waited_for: bool) -> Option<Ticket> {
        (waited_for || self.expected_returns > 0).then_some(self.ticket)
    }
}

/// The window over which the claims of colliding contenders are spread.
///
/// It is zero until a collision, so a lone waiter claims at once. Each collision doubles it, each win halves it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContentionWindow {
    window: Duration,
}

impl ContentionWindow {
    const FIRST_WINDOW: Duration = Duration::from_millis(4);
    const MAX_WINDOW: Duration = Duration::from_millis(250);
    /// A shorter window becomes zero.
    const MIN_WINDOW: Duration = Duration::from_millis(1);

    pub(crate) fn collided(&mut self) {
        self.window = (self.window * 2).clamp(Self::FIRST_WINDOW, Self::MAX_WINDOW);
    }

    pub(crate) fn won(&mut self) {
        self.window /= 2;
        if self.window < Self::MIN_WINDOW {
            self.window = Duration::ZERO;
        }
    }

    /// A pause drawn from the window.
    pub(crate) fn pause(&self, rng: &mut fastrand::Rng) -> Duration {
        self.window.mul_f64(rng.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Record, WallTime};

    const ME: Ticket = Ticket(7);

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn queue(tickets: impl IntoIterator<Item = u64>) -> Queue {
        tickets.into_iter().fold(Queue::default(), |queue, number| queue.joined_by(Ticket(number)))
    }

    fn held_by(holder: &str, revision: u64, queue: Queue) -> Snapshot {
        let record = Record::claim(holder, Duration::from_secs(15), None, WallTime(0));
        Snapshot { version: Version { uid: "u".into(), revision }, record, queue }
    }

    #[test]
    fn each_process_waits_for_the_head_start_of_every_process_ahead() {
        let policy = QueuePolicy::new(ME);
        assert_eq!(policy.head_start(&queue([])), Duration::ZERO);
        assert_eq!(policy.head_start(&queue([7, 1])), Duration::ZERO);
        assert_eq!(policy.head_start(&queue([1, 2, 7])), 2 * QueuePolicy::HEAD_START);
        assert_eq!(
            policy.head_start(&queue([1, 2])),
            2 * QueuePolicy::HEAD_START,
            "a process outside the queue is last"
        );
    }

    #[test]
    fn it_joins_once_if_there_is_room() {
        let (mut policy, mut rng) = (QueuePolicy::new(ME), fastrand::Rng::with_seed(1));
        let mut join_at =
            |revision, queue, now| policy.join_at(&held_by("them", revision, queue), at(now), &mut rng);
        let due = join_at(5, queue([1]), 100).unwrap();
        assert!((at(100)..=at(110)).contains(&due));
        assert_eq!(join_at(6, queue([1, 2]), 105), Some(due), "it keeps the instant that it has drawn");
        assert_eq!(join_at(7, queue([1, 7]), 106), None);
        assert_eq!(join_at(8, queue(20..60), 106), None, "full");
        assert_eq!(policy.window, QueuePolicy::FULL_QUEUE_WINDOW);
    }

    #[test]
    fn collisions_widen_the_window_and_a_short_queue_narrows_it() {
        let (mut policy, mut rng) = (QueuePolicy::new(ME), fastrand::Rng::with_seed(1));
        for revision in 5..35 {
            let seen = held_by("them", revision, queue(20..30));
            policy.join_at(&seen, at(0), &mut rng);
            policy.joining(&seen, at(0));
            policy.collided(at(1));
        }
        policy.join_at(&held_by("them", 35, queue(20..30)), at(0), &mut rng);
        assert_eq!(policy.window, QueuePolicy::MAX_WINDOW);
        for revision in 36..80 {
            policy.join_at(&held_by("them", revision, queue([1])), at(0), &mut rng);
            policy.join_at(&held_by("them", revision, queue([1])), at(0), &mut rng);
        }
        assert_eq!(policy.window, QueuePolicy::MIN_WINDOW);
    }

    #[test]
    fn a_slow_answer_widens_the_window_at_once() {
        let (mut policy, mut rng) = (QueuePolicy::new(ME), fastrand::Rng::with_seed(1));
        policy.joining(&held_by("them", 5, queue([1])), at(0));
        policy.collided(at(1_000));
        policy.join_at(&held_by("them", 6, queue([1, 2])), at(1_000), &mut rng);
        assert_eq!(policy.window, Duration::from_secs(8));
    }

    #[test]
    fn writes_of_changing_holders_do_not_widen_the_window() {
        let (mut policy, mut rng) = (QueuePolicy::new(ME), fastrand::Rng::with_seed(1));
        for turn in 0..30 {
            let seen = held_by(&format!("holder {turn}"), turn, queue(20..30));
            policy.join_at(&seen, at(0), &mut rng);
            policy.joining(&seen, at(0));
            policy.collided(at(1));
            assert_eq!(policy.join_at(&seen, at(0), &mut rng), None, "not again on an outdated version");
        }
        assert_eq!(policy.window, QueuePolicy::MIN_WINDOW);
    }

    #[test]
    fn a_process_that_came_back_at_once_is_expected_to_do_so_again() {
        let mut policy = QueuePolicy::new(ME);
        assert_eq!(policy.rejoining(false), None);
        assert_eq!(policy.rejoining(true), Some(ME), "others of this process wait");
        for (pause, back) in [(50, false), (1, true), (50, true), (1, true), (50, true), (50, false)] {
            policy.released(at(1_000));
            policy.acquiring(at(1_000 + pause));
            assert_eq!(policy.rejoining(false).is_some(), back);
        }
    }

    #[test]
    fn only_collisions_spread_claims() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut window = ContentionWindow::default();
        assert_eq!(window.pause(&mut rng), Duration::ZERO);
        for _ in 0..20 {
            window.collided();
            assert!(window.pause(&mut rng) <= ContentionWindow::MAX_WINDOW);
        }
        assert_eq!(window.window, ContentionWindow::MAX_WINDOW);
        for _ in 0..20 {
            window.won();
        }
        assert_eq!(window.pause(&mut rng), Duration::ZERO);
    }
}

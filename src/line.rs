//! The line of waiting processes: when to get into the queue that the Lease carries, and how long to give way to those
//! ahead.

use std::time::Duration;

use crate::queue::{Queue, Ticket};
use crate::record::{Snapshot, Version};
use crate::time::Moment;

/// One lock's dealings with the queue.
#[derive(Debug)]
pub(crate) struct Line {
    ticket: Ticket,
    /// Attempts to join are spread over this: doubled where they collide, as in Ethernet's binary exponential backoff
    /// (Metcalfe and Boggs, 1976), and halved where the queue runs short.
    window: Duration,
    /// When to join.
    due: Option<Moment>,
    /// When it last tried to join, under which holder, and whether somebody else wrote first.
    tried: Moment,
    under: Option<String>,
    collided: bool,
    /// The newest version of the Lease that was taken into account.
    known: u64,
    released: Option<Moment>,
    /// For how many more releases a return is expected.
    returns: u32,
}

impl Line {
    /// How long everybody in the queue has for their claim before those behind them go on.
    pub(crate) const HEAD_START: Duration = Duration::from_millis(50);

    const NARROWEST: Duration = Duration::from_millis(10);
    const WIDEST: Duration = Duration::from_secs(30);

    /// Where the queue is full, there may be hundreds who wait for the next place in it.
    const CROWDED: Duration = Duration::from_secs(10);

    /// With fewer waiting, the queue may run empty before somebody joins.
    const SHORT: usize = 4;

    /// Who acquires again so soon after a release will probably do so once more, ..
    const SOON: Duration = Duration::from_millis(5);
    /// .. and be late no more than once: the machine is busy.
    const RETURNS: u32 = 2;

    pub(crate) fn new(ticket: Ticket) -> Self {
        Self {
            ticket,
            window: Self::NARROWEST,
            due: None,
            tried: Moment::ORIGIN,
            under: None,
            collided: false,
            known: 0,
            released: None,
            returns: 0,
        }
    }

    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// How long to leave a free Lease to those ahead.
    pub(crate) fn head_start(&self, queue: &Queue) -> Duration {
        let ahead = u32::try_from(queue.ahead_of(self.ticket)).unwrap_or(u32::MAX);
        Self::HEAD_START.saturating_mul(ahead)
    }

    /// When to join the queue of a Lease that is held; `None` where there is no place, or no need.
    pub(crate) fn join_at(
        &mut self,
        seen: &Snapshot,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Option<Moment> {
        let Snapshot { version: Version { revision, .. }, queue, .. } = seen;
        let is_new = *revision > self.known;
        if self.collided && !is_new {
            return None; // The news of who wrote first is on its way.
        }
        let collided = std::mem::take(&mut self.collided);
        // If the holder has changed, it was the holder who wrote first, not somebody who would join as well.
        if collided && self.under == seen.record.holder {
            self.widen();
        }
        if queue.is_full() {
            self.window = self.window.max(Self::CROWDED);
        }
        if queue.is_full() || queue.contains(self.ticket) {
            self.due = None;
            return None;
        }
        if queue.len() < Self::SHORT && is_new && !collided && self.window > Self::NARROWEST {
            self.window = (self.window / 2).max(Self::NARROWEST);
            self.due = None;
        }
        self.known = *revision;
        Some(*self.due.get_or_insert_with(|| now + self.window.mul_f64(rng.f64())))
    }

    /// It is due, and under way.
    pub(crate) fn joins(&mut self, seen: &Snapshot, now: Moment) {
        (self.due, self.tried) = (None, now);
        self.under.clone_from(&seen.record.holder);
    }

    /// Somebody else wrote first. That the answer took long shows how many have tried.
    pub(crate) fn collided(&mut self, now: Moment) {
        self.collided = true;
        self.window = self.window.max(4 * self.tried.until(now)).min(Self::WIDEST);
    }

    /// There are too many, or the server is in trouble.
    pub(crate) fn widen(&mut self) {
        self.window = (self.window * 2).min(Self::WIDEST);
        self.due = None;
    }

    pub(crate) fn acquires(&mut self, now: Moment) {
        let soon = self.released.take().is_some_and(|released| released.until(now) < Self::SOON);
        self.returns = if soon { Self::RETURNS } else { self.returns.saturating_sub(1) };
    }

    pub(crate) fn releases(&mut self, now: Moment) {
        self.released = Some(now);
    }

    /// The place to take in the very write that releases, by one who will probably be back.
    pub(crate) fn rejoining(&self, waited_for: bool) -> Option<Ticket> {
        (waited_for || self.returns > 0).then_some(self.ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::time::Stamp;

    const ME: Ticket = Ticket(7);

    fn at(millis: u64) -> Moment {
        Moment::ORIGIN + Duration::from_millis(millis)
    }

    fn queue(tickets: impl IntoIterator<Item = u64>) -> Queue {
        tickets.into_iter().fold(Queue::default(), |queue, number| queue.joined_by(Ticket(number)))
    }

    fn held_by(holder: &str, revision: u64, queue: Queue) -> Snapshot {
        let record = Record::claim(holder, Duration::from_secs(15), None, Stamp(0));
        Snapshot { version: Version { uid: "u".into(), revision }, record, queue }
    }

    #[test]
    fn the_first_goes_at_once_and_the_others_one_after_the_other() {
        let line = Line::new(ME);
        assert_eq!(line.head_start(&queue([])), Duration::ZERO);
        assert_eq!(line.head_start(&queue([7, 1])), Duration::ZERO);
        assert_eq!(line.head_start(&queue([1, 2, 7])), 2 * Line::HEAD_START);
        assert_eq!(line.head_start(&queue([1, 2])), 2 * Line::HEAD_START, "who is not in the queue is last");
    }

    #[test]
    fn it_joins_once_where_there_is_a_place() {
        let (mut line, mut rng) = (Line::new(ME), fastrand::Rng::with_seed(1));
        let mut join_at =
            |revision, queue, now| line.join_at(&held_by("them", revision, queue), at(now), &mut rng);
        let due = join_at(5, queue([1]), 100).unwrap();
        assert!((at(100)..=at(110)).contains(&due));
        assert_eq!(join_at(6, queue([1, 2]), 105), Some(due), "it keeps what it has drawn");
        assert_eq!(join_at(7, queue([1, 7]), 106), None);
        assert_eq!(join_at(8, queue(20..60), 106), None, "full");
        assert_eq!(line.window, Line::CROWDED);
    }

    #[test]
    fn collisions_spread_attempts_and_a_short_queue_brings_them_nearer() {
        let (mut line, mut rng) = (Line::new(ME), fastrand::Rng::with_seed(1));
        for revision in 5..35 {
            let seen = held_by("them", revision, queue(20..30));
            line.join_at(&seen, at(0), &mut rng);
            line.joins(&seen, at(0));
            line.collided(at(1));
        }
        line.join_at(&held_by("them", 35, queue(20..30)), at(0), &mut rng);
        assert_eq!(line.window, Line::WIDEST);
        for revision in 36..80 {
            line.join_at(&held_by("them", revision, queue([1])), at(0), &mut rng);
            line.join_at(&held_by("them", revision, queue([1])), at(0), &mut rng);
        }
        assert_eq!(line.window, Line::NARROWEST);
    }

    #[test]
    fn a_slow_answer_spreads_attempts_at_once() {
        let (mut line, mut rng) = (Line::new(ME), fastrand::Rng::with_seed(1));
        line.joins(&held_by("them", 5, queue([1])), at(0));
        line.collided(at(1_000));
        line.join_at(&held_by("them", 6, queue([1, 2])), at(1_000), &mut rng);
        assert_eq!(line.window, Duration::from_secs(8));
    }

    #[test]
    fn holders_that_come_and_go_do_not_keep_anybody_out() {
        let (mut line, mut rng) = (Line::new(ME), fastrand::Rng::with_seed(1));
        for turn in 0..30 {
            let seen = held_by(&format!("holder {turn}"), turn, queue(20..30));
            line.join_at(&seen, at(0), &mut rng);
            line.joins(&seen, at(0));
            line.collided(at(1));
            assert_eq!(line.join_at(&seen, at(0), &mut rng), None, "not again on what is out of date");
        }
        assert_eq!(line.window, Line::NARROWEST);
    }

    #[test]
    fn who_came_back_at_once_is_expected_to_do_so_again() {
        let mut line = Line::new(ME);
        assert_eq!(line.rejoining(false), None);
        assert_eq!(line.rejoining(true), Some(ME), "others of this process wait");
        for (pause, back) in [(50, false), (1, true), (50, true), (1, true), (50, true), (50, false)] {
            line.releases(at(1_000));
            line.acquires(at(1_000 + pause));
            assert_eq!(line.rejoining(false).is_some(), back);
        }
    }
}

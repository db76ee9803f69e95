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
        Self { policy: QueuePolicy::new(ME), trip: RoundTrip::default(), rng: fastrand::Rng::with_seed(1) }
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
    let head_start =
        |numbers: &[u32]| joiner.policy.head_start(&queue(numbers.iter().copied()), &joiner.trip, HALF_LEASE);
    assert_eq!(head_start(&[1, ME]), millis(50 + 200));
    assert_eq!(head_start(&[ME, 1]), Duration::ZERO);
}

#[test]
fn the_sum_of_head_starts_is_bounded() {
    let policy = QueuePolicy::new(ME);
    let far = |count: u32| Queue::new((100..100 + count).map(|number| ticket(number, 2_000)).collect(), None);
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
    assert_eq!(joiner.observe(&held_by("them", 7, queue([1, 2, 3])), due), JoinStep::None, "one at a time");
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

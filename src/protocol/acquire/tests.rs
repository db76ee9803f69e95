use std::time::Duration;

use super::*;
use crate::protocol::{Carryover, Coordination, Record, ReleaseStep, Ticket, Version};

const TIMINGS: Timings = Timings { max_pause: Duration::ZERO, ..Timings::DEFAULTS };
const WALL: WallTime = WallTime(1_000_000_000);
const PAUSE: Duration = Duration::from_millis(250);

fn at(millis: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(millis)
}

fn state(holder: &str, revision: u64) -> Snapshot {
    let record = Record::claim(holder, TIMINGS.lease_duration, None, WALL);
    let record = if holder.is_empty() { record.release(WALL) } else { record };
    let version = Version { uid: "u".into(), revision };
    Snapshot { version, record, queue: Queue::EMPTY, done: DoneKeys::Empty }
}

struct Me {
    state: AcquireState,
    memory: Memory,
    rng: fastrand::Rng,
}

impl Me {
    fn new(carryover: Carryover) -> Self {
        Self::with(Mode::Wait, CreateMode::IfMissing, carryover)
    }

    fn with(mode: Mode, create_mode: CreateMode, carryover: Carryover) -> Self {
        let mut memory = Memory::new(&TIMINGS, None, 7);
        memory.leave(carryover);
        let state = AcquireState::new("me".into(), mode, create_mode, TIMINGS, &mut memory, at(0));
        Self { state, memory, rng: fastrand::Rng::with_seed(1) }
    }

    fn one_step(&mut self, millis: u64) -> AcquireStep {
        self.state.step(&mut self.memory, at(millis), WALL, &mut self.rng)
    }

    /// The next step that is not about the watch or the queue.
    fn step(&mut self, millis: u64) -> AcquireStep {
        match self.one_step(millis) {
            AcquireStep::OpenWatch(_)
            | AcquireStep::CloseWatch
            | AcquireStep::Join(_)
            | AcquireStep::Probe => self.step(millis),
            step => step,
        }
    }

    fn claim(&mut self, millis: u64) -> Write {
        match self.step(millis) {
            AcquireStep::Claim(write) => write,
            other => panic!("expected a claim, not {other:?}"),
        }
    }

    fn answer(&mut self, outcome: Outcome, millis: u64) {
        self.state.answered(outcome, &mut self.memory, at(millis), WALL, &mut self.rng);
    }

    fn read(&mut self, seen: Option<Snapshot>, millis: u64) {
        assert_eq!(self.step(millis), AcquireStep::Read);
        self.answer(Outcome::Read(seen), millis);
    }

    fn watch(&mut self, seen: Snapshot, millis: u64) {
        self.state.watched(WatchEvent::Changed(seen), &mut self.memory, at(millis), WALL, &mut self.rng);
    }

    /// Waits as long as the machine wants to, and returns the first other step.
    fn wait(&mut self, from: u64) -> (AcquireStep, u64) {
        match self.one_step(from) {
            AcquireStep::Wait(until) => self.wait(millis(until)),
            step => (step, from),
        }
    }

    fn withdraw(mut self, millis: u64) -> Option<ReleaseState> {
        self.state.withdraw(&mut self.memory, at(millis))
    }
}

fn millis(instant: Instant) -> u64 {
    u64::try_from(instant.since_origin().as_micros().div_ceil(1_000)).unwrap()
}

fn in_doubt() -> Outcome {
    Outcome::InDoubt { retry_after: Some(PAUSE), server_known: true, refused: false }
}

/// The latest instant at which the machine acts by itself.
#[track_caller]
fn waits_until(step: &AcquireStep, latest: u64) {
    assert!(matches!(step, AcquireStep::Wait(until) if *until <= at(latest)), "{step:?}");
}

#[test]
fn a_free_lease_takes_one_read_and_one_claim() {
    let mut me = Me::new(Carryover::Unknown);
    me.read(Some(state("", 4)), 0);
    let write = me.claim(1);
    assert_eq!((write.on, write.record.holder.as_deref()), (Some(state("", 4).version), Some("me")));
    me.answer(Outcome::Written(state("me", 5)), 9);
    let claim = Claim { sent: at(1), snapshot: state("me", 5), created: false };
    assert_eq!(me.step(9), AcquireStep::Won(claim));
}

#[test]
fn an_answer_after_the_end_of_the_hold_wins_nothing() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    me.claim(0);
    me.answer(Outcome::Written(state("me", 5)), 10_000);
    me.read(Some(state("them", 6)), 10_001);
    waits_until(&me.step(10_001), 25_001);
}

#[test]
fn a_lease_left_free_is_claimed_without_a_read_and_read_after_a_conflict() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    assert_eq!(me.claim(0).on, Some(state("", 4).version));
    me.answer(Outcome::Conflict, 2);
    me.read(Some(state("them", 6)), 2);
    waits_until(&me.step(2), 15_002);
}

fn queue(numbers: &[u32]) -> Queue {
    let ticket = |number: &u32| Ticket { number: *number, head_start: Duration::from_millis(50) };
    Queue::new(numbers.iter().map(ticket).collect(), Some(Vec::new()))
}

fn waited_for(numbers: &[u32], snapshot: Snapshot) -> Snapshot {
    Snapshot { queue: queue(numbers), ..snapshot }
}

#[test]
fn a_claim_removes_its_own_ticket_and_the_tickets_ahead() {
    for (before, at, after) in
        [(&[][..], 0, &[][..]), (&[7, 8], 0, &[8]), (&[5, 7, 8], 50, &[8]), (&[5, 6], 100, &[])]
    {
        let mut me = Me::new(Carryover::Free(waited_for(before, state("", 4))));
        me.step(0);
        assert_eq!(me.claim(at).queue, queue(after), "{before:?}");
    }
}

#[test]
fn a_hand_off_is_claimed_at_once_and_again_after_a_conflict() {
    let handed_off = waited_for(&[5], state("one", 4));
    let mut me = Me::new(Carryover::HandedOff { by: "one".into(), snapshot: handed_off });
    let write = me.claim(0);
    assert_eq!((write.on, write.queue), (Some(state("one", 4).version), queue(&[5])));
    me.answer(Outcome::Conflict, 2);
    me.read(Some(state("one", 5)), 2);
    assert_eq!(me.claim(3).on, Some(state("one", 5).version));
    me.answer(Outcome::Conflict, 4);
    me.read(Some(state("them", 6)), 4);
    waits_until(&me.step(5), 15_004);
}

#[test]
fn a_hand_off_that_is_not_wanted_is_released() {
    for (seen, written) in [("one", true), ("me", true), ("them", false)] {
        let me = Me::new(Carryover::HandedOff { by: "one".into(), snapshot: state("one", 4) });
        let mut release = me.withdraw(0).expect("something to release");
        assert_eq!(release.step(at(0), WALL), ReleaseStep::Read);
        release.answered(Outcome::Read(Some(state(seen, 5))), at(1), &mut fastrand::Rng::with_seed(1));
        assert_eq!(matches!(release.step(at(1), WALL), ReleaseStep::Write(_)), written, "{seen}");
    }
    assert_eq!(Me::new(Carryover::Free(state("", 4))).withdraw(0), None);
}

#[test]
fn a_claim_names_the_true_time_and_repeats_no_second_of_its_own() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    let first = me.claim(0);
    assert_eq!((first.record.acquired, first.record.renewed), (Some(WALL), Some(WALL)));
    me.answer(in_doubt(), 1);
    me.read(Some(state("", 4)), 251);
    let second = me.claim(252).record;
    assert_eq!(second.acquired, Some(WALL));
    assert_eq!(second.renewed.map(WallTime::second), Some(WALL.second() + 1), "the two claims differ");
}

#[test]
fn a_release_from_the_watch_is_claimed_at_once_and_old_events_are_ignored() {
    let mut me = Me::new(Carryover::Unknown);
    me.read(Some(state("them", 4)), 0);
    me.watch(state("", 3), 10);
    waits_until(&me.step(10), 15_000);
    me.watch(state("", 5), 20);
    assert_eq!(me.claim(20).on, Some(state("", 5).version));
}

#[test]
fn an_expired_lease_is_read_once_more_before_it_is_claimed() {
    let mut me = Me::new(Carryover::Unknown);
    me.read(Some(state("them", 4)), 0);
    me.watch(state("them", 5), 1);
    waits_until(&me.step(14_999), 15_000);
    me.read(Some(state("them", 5)), 15_000);
    assert_eq!(me.claim(15_001).on, Some(state("them", 5).version));
}

/// The Lease after a claim.
fn made(write: &Write, revision: u64) -> Snapshot {
    Snapshot {
        version: Version { uid: "u".into(), revision },
        record: write.record.clone(),
        queue: write.queue.clone(),
        done: write.done.clone(),
    }
}

#[test]
fn an_unanswered_claim_that_was_made_counts_from_its_own_sending() {
    for landed in [0, 1] {
        let mut me = Me::new(Carryover::Free(state("", 4)));
        let first = me.claim(0);
        me.answer(in_doubt(), 1_000);
        assert_eq!(me.step(1_000), AcquireStep::Wait(at(1_250)));
        me.read(Some(state("", 4)), 1_250);
        let second = me.claim(1_251);
        me.answer(in_doubt(), 2_000);
        let (write, sent) = [(first, at(0)), (second, at(1_251))][landed].clone();
        me.read(Some(made(&write, 5)), 2_250);
        let claim = Claim { sent, snapshot: made(&write, 5), created: false };
        assert_eq!(me.step(2_250), AcquireStep::Won(claim));
    }
}

#[test]
fn an_earlier_claim_is_not_taken_for_a_later_one() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    let first = me.claim(0);
    me.answer(in_doubt(), 3_000);
    // It is too old to go on from. The next claim fails, and another client edits a label.
    me.read(Some(made(&first, 5)), 9_000);
    me.claim(9_001);
    me.answer(in_doubt(), 9_002);
    me.read(Some(made(&first, 6)), 9_252);
    assert_eq!(me.claim(9_253).on.map(|on| on.revision), Some(6), "not won, but claimed once more");
}

#[test]
fn a_claim_in_doubt_that_is_too_old_is_claimed_again() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    let write = me.claim(0);
    me.answer(in_doubt(), 3_000);
    me.read(Some(made(&write, 5)), 5_000);
    assert_eq!(me.claim(5_001).on, Some(made(&write, 5).version));
    me.answer(Outcome::Written(state("me", 6)), 5_010);
    assert!(matches!(me.step(5_010), AcquireStep::Won(claim) if claim.sent == at(5_001)));
}

#[test]
fn a_claim_in_doubt_that_was_edited_is_claimed_again() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    let write = me.claim(0);
    me.answer(in_doubt(), 100);
    let mut edited = made(&write, 6);
    edited.record.duration = Some(Duration::from_secs(1));
    me.read(Some(edited), 350);
    assert_eq!(me.claim(351).on.map(|on| on.revision), Some(6));
}

#[test]
fn giving_up_needs_no_request_unless_a_claim_may_have_been_made() {
    let withdraw = |me: Me| me.withdraw(0).is_some();
    assert!(!withdraw(Me::new(Carryover::Unknown)));

    let mut me = Me::new(Carryover::Free(state("", 4)));
    me.claim(0);
    assert!(withdraw(me), "under way");

    let mut me = Me::new(Carryover::Free(state("", 4)));
    me.claim(0);
    me.answer(in_doubt(), 100);
    me.read(Some(state("", 4)), 350);
    assert!(withdraw(me), "it may still be made");

    let mut me = Me::new(Carryover::Free(state("", 4)));
    me.claim(0);
    me.answer(in_doubt(), 100);
    me.read(Some(state("them", 5)), 350);
    assert!(!withdraw(me), "it never will be");

    let mut me = Me::new(Carryover::Free(state("", 4)));
    me.claim(0);
    me.answer(Outcome::Denied { any_write: false }, 1);
    assert_eq!(me.step(1), AcquireStep::GiveUp(GiveUp::Denied));
    assert!(!withdraw(me), "it was refused");
}

#[test]
fn a_creation_that_a_read_revealed_is_ours_and_is_released_if_it_is_not_wanted() {
    let mut me = Me::new(Carryover::Unknown);
    me.read(None, 0);
    let write = me.claim(1);
    me.answer(in_doubt(), 2);
    me.read(Some(made(&write, 5)), 300);
    assert!(me.state.may_have_created(), "the claim in doubt was made");
    let mut release = me.withdraw(300).expect("the won claim is released");
    let ReleaseStep::Write(write) = release.step(at(300), WALL) else { panic!("nothing is in doubt") };
    assert_eq!((write.on, write.record.holder), (Some(state("me", 5).version), None));
}

#[test]
fn a_waiter_joins_the_queue_and_watches() {
    let mut me = Me::new(Carryover::Unknown);
    me.read(Some(state("them_0123456789abcdef", 4)), 0);
    let (step, joined_at) = me.wait(0);
    assert_eq!(step, AcquireStep::OpenWatch(4));
    let (step, joined_at) = me.wait(joined_at);
    let AcquireStep::Join(join) = step else { panic!("{step:?}") };
    assert!(joined_at <= 10);
    assert_eq!((join.uid.as_str(), join.expected.len(), join.ticket.number), ("u", 0, 7));
    let placed = waited_for(&[7], state("them_0123456789abcdef", 5));
    me.state.joined(Outcome::Written(placed), &mut me.memory, at(joined_at + 2), WALL);
    waits_until(&me.one_step(joined_at + 2), 15_000);
}

#[test]
fn a_waiter_does_not_probe_while_its_join_is_in_flight() {
    let mut me = Me::new(Carryover::Unknown);
    me.read(Some(state("them_0123456789abcdef", 4)), 0);
    let (_, joined_at) = me.wait(0);
    let (step, joined_at) = me.wait(joined_at);
    assert!(matches!(step, AcquireStep::Join(_)), "{step:?}");
    let other_library = WatchEvent::Changed(state("pod_0b9f2f6e-6c0e-4b1e-9a51-3f2f6c1f2a77", 5));
    me.state.watched(other_library, &mut me.memory, at(joined_at), WALL, &mut me.rng);
    assert!(matches!(me.one_step(joined_at), AcquireStep::Wait(_)));
    me.state.joined(Outcome::Conflict, &mut me.memory, at(joined_at + 2), WALL);
    assert!(matches!(me.one_step(joined_at + 2), AcquireStep::Wait(_)), "the join has asked already");
}

#[test]
fn a_waiter_does_not_join_while_another_library_holds_the_lease() {
    let mut me = Me::new(Carryover::Unknown);
    me.read(Some(state("pod_0b9f2f6e-6c0e-4b1e-9a51-3f2f6c1f2a77", 4)), 0);
    assert_eq!(me.one_step(0), AcquireStep::Probe);
    let (step, _) = me.wait(0);
    assert_eq!(step, AcquireStep::OpenWatch(4));
    let (step, _) = me.wait(1);
    assert_eq!(step, AcquireStep::Read, "when it has expired");
}

#[test]
fn a_waiter_gives_up_if_a_probe_shows_that_it_may_not_write() {
    for any_write in [true, false] {
        let mut me = Me::new(Carryover::Unknown);
        me.read(Some(state("pod_0b9f2f6e-6c0e-4b1e-9a51-3f2f6c1f2a77", 4)), 0);
        assert_eq!(me.one_step(0), AcquireStep::Probe);
        me.state.joined(Outcome::Denied { any_write }, &mut me.memory, at(1), WALL);
        assert_eq!(me.one_step(1) == AcquireStep::GiveUp(GiveUp::Denied), any_write);
    }
}

#[test]
fn a_free_lease_is_left_to_the_processes_ahead() {
    let mut me = Me::new(Carryover::Free(waited_for(&[5, 6, 7], state("", 4))));
    assert_eq!(me.one_step(0), AcquireStep::OpenWatch(4));
    assert_eq!(me.one_step(0), AcquireStep::Wait(at(100)));
    me.watch(waited_for(&[6, 7], state("five", 5)), 40);
    me.watch(waited_for(&[6, 7], state("", 6)), 60);
    waits_until(&me.one_step(60), 110);
    assert!(matches!(me.one_step(109), AcquireStep::Wait(_)));
    me.claim(110);
}

#[test]
fn an_expired_lease_is_read_after_the_head_starts_of_the_processes_ahead() {
    let mut me = Me::new(Carryover::Unknown);
    let held = waited_for(&[5, 6, 7], state("them_0123456789abcdef", 4));
    me.read(Some(held.clone()), 0);
    let (step, _) = me.wait(0);
    assert_eq!(step, AcquireStep::OpenWatch(4));
    assert_eq!(me.wait(0), (AcquireStep::Probe, 5_000), "it is in the queue, so it does not join");
    let (step, read_at) = me.wait(5_000);
    assert_eq!((step, read_at), (AcquireStep::Read, 15_100));
    me.answer(Outcome::Read(Some(held)), 15_102);
    me.claim(15_102);
}

#[test]
fn a_process_whose_claim_came_too_late_joins_the_queue_of_a_free_lease() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    me.claim(0);
    me.answer(Outcome::Conflict, 500);
    me.read(Some(state("", 9)), 1_000);
    let (step, at_millis) = match me.wait(1_000) {
        (AcquireStep::OpenWatch(9), at_millis) => me.wait(at_millis),
        other => other,
    };
    assert!(matches!(step, AcquireStep::Join(_)), "{step:?}");
    waits_until(&me.one_step(at_millis), 5_000);
    let placed = waited_for(&[7], state("", 12));
    me.state.joined(Outcome::Written(placed), &mut me.memory, at(at_millis + 500), WALL);
    assert_eq!(me.claim(at_millis + 500).on.map(|on| on.revision), Some(12));
}

#[test]
fn a_process_whose_claim_came_too_late_leaves_the_queue_of_a_free_lease_alone_if_another_waits() {
    let mut me = Me::new(Carryover::Free(state("", 4)));
    me.claim(0);
    me.answer(Outcome::Conflict, 2);
    me.read(Some(waited_for(&[5], state("", 9))), 4);
    assert_eq!(
        me.wait(4).0,
        AcquireStep::OpenWatch(9),
        "a join now could make the claim of that process fail"
    );
    assert!(matches!(me.wait(4).0, AcquireStep::Claim(_)));
}

#[test]
fn a_try_gives_up_at_once_if_the_lease_is_held_or_a_request_fails() {
    let started = || Me::with(Mode::Try, CreateMode::IfMissing, Carryover::Unknown);
    let mut me = started();
    me.read(Some(state("them", 4)), 0);
    assert_eq!(me.one_step(0), AcquireStep::GiveUp(GiveUp::Held));
    let mut me = started();
    me.read(Some(state("", 4)), 0);
    me.claim(0);
    me.answer(Outcome::Conflict, 1);
    me.read(Some(state("", 5)), 2);
    me.claim(2);
    me.answer(Outcome::Conflict, 3);
    assert_eq!(me.one_step(3), AcquireStep::GiveUp(GiveUp::Failed), "after the second conflict");
    let mut me = started();
    me.step(0);
    me.answer(in_doubt(), 1);
    assert_eq!(me.one_step(1), AcquireStep::GiveUp(GiveUp::Failed));
}

#[test]
fn a_wait_gives_up_if_no_server_has_ever_answered() {
    for server_known in [true, false] {
        let mut me = Me::new(Carryover::Unknown);
        let unanswered = Outcome::InDoubt { retry_after: None, server_known, refused: false };
        for now in [0, 20_000, 40_000, 59_999] {
            assert_eq!(me.step(now), AcquireStep::Read);
            me.answer(unanswered.clone(), now);
        }
        assert_eq!(me.step(60_000), AcquireStep::Read);
        me.answer(unanswered.clone(), 60_000);
        let given_up = GiveUp::NotAccepted { waited: Timings::DEFAULTS.startup_timeout };
        let expected = if server_known { AcquireStep::Read } else { AcquireStep::GiveUp(given_up) };
        assert_eq!(me.step(60_000), expected);
    }
}

#[test]
fn the_create_mode_is_checked_as_soon_as_the_lease_is_known() {
    let outcome = |create_mode, seen| {
        let mut me = Me::with(Mode::Wait, create_mode, Carryover::Unknown);
        me.read(seen, 0);
        me.step(0)
    };
    let missing = AcquireStep::GiveUp(GiveUp::LeaseMissing);
    assert_eq!(outcome(CreateMode::MustExist, None), missing);
    assert!(matches!(outcome(CreateMode::MustExist, Some(state("", 4))), AcquireStep::Claim(_)));
    assert!(matches!(outcome(CreateMode::MustNotExist, None), AcquireStep::Claim(_)));
    let exists = AcquireStep::GiveUp(GiveUp::LeaseExists);
    assert_eq!(outcome(CreateMode::MustNotExist, Some(state("", 4))), exists);
}

/// The same state of a Lease whose holder a coordinator chooses.
fn coordinated(seen: Snapshot) -> Snapshot {
    let coordination = Coordination { strategy: "oldest".into(), preferred_holder: None };
    Snapshot { record: Record { coordination: Some(Box::new(coordination)), ..seen.record.clone() }, ..seen }
}

#[test]
fn a_lease_of_a_coordinator_is_not_claimed_whether_it_is_free_or_held() {
    for seen in [state("", 4), state("them", 4)] {
        for mode in [Mode::Wait, Mode::Try] {
            let mut me = Me::with(mode, CreateMode::IfMissing, Carryover::Unknown);
            me.read(Some(coordinated(seen.clone())), 0);
            assert_eq!(me.one_step(1), AcquireStep::GiveUp(GiveUp::Coordinated));
            assert_eq!(me.state.strategy(), Some("oldest"));
            assert!(me.withdraw(2).is_none());
        }
    }
    let mut waiter = Me::new(Carryover::Unknown);
    waiter.read(Some(state("them", 4)), 0);
    waiter.watch(coordinated(state("", 5)), 10);
    assert_eq!(waiter.one_step(10), AcquireStep::GiveUp(GiveUp::Coordinated));
}

#[test]
fn a_hold_that_was_handed_off_under_a_coordinator_is_released() {
    let snapshot = coordinated(state("other task", 4));
    let mut me = Me::new(Carryover::HandedOff { by: "other task".into(), snapshot: snapshot.clone() });
    assert_eq!(me.one_step(0), AcquireStep::GiveUp(GiveUp::Coordinated));
    let mut release = me.withdraw(0).expect("a release");
    assert_eq!(release.step(at(0), WALL), ReleaseStep::Read);
    release.answered(Outcome::Read(Some(snapshot)), at(0), &mut fastrand::Rng::with_seed(1));
    assert!(matches!(release.step(at(0), WALL), ReleaseStep::Write(write) if write.record.holder.is_none()));
}

#[test]
fn a_waiter_without_a_watch_reads_now_and_then() {
    let mut me = Me::new(Carryover::Unknown);
    me.read(Some(state("them", 4)), 0);
    assert_eq!(me.one_step(0), AcquireStep::Probe);
    assert_eq!(me.one_step(0), AcquireStep::OpenWatch(4));
    me.state.watched(WatchEvent::Forbidden, &mut me.memory, at(10), WALL, &mut me.rng);
    for _ in 0..5 {
        let now = millis(me.memory.watch.read_at(Duration::ZERO));
        let (step, read_at) = me.wait(now + 1);
        assert_eq!(step, AcquireStep::Read);
        assert!((now + 1_000..=now + 2_001).contains(&read_at), "{now} {read_at}");
        me.answer(Outcome::Read(Some(state("them", 4))), read_at);
        me.watch(state("them", 4), read_at);
    }
}

fn done(key: &str) -> DoneKey {
    DoneKey { key: key.into(), by: "them".into(), at: WALL }
}

fn with_done(key: &str, snapshot: Snapshot) -> Snapshot {
    Snapshot { done: snapshot.done.with(&done(key)), ..snapshot }
}

impl Me {
    fn for_key(self, key: &str) -> Self {
        Self { state: self.state.for_key(Some(key.into())), ..self }
    }
}

#[test]
fn an_acquisition_for_a_key_that_is_done_ends_with_the_first_read() {
    for holder in ["", "them"] {
        let mut me = Me::new(Carryover::Unknown).for_key("5");
        me.read(Some(with_done("4", with_done("5", state(holder, 4)))), 0);
        assert_eq!(me.step(1), AcquireStep::GiveUp(GiveUp::AlreadyDone));
        assert_eq!(me.state.done(), Some(&done("5")));
        assert_eq!(me.withdraw(1), None);
    }
}

#[test]
fn an_acquisition_for_another_key_claims_and_keeps_what_is_done() {
    for mut me in [Me::new(Carryover::Unknown).for_key("6"), Me::new(Carryover::Unknown)] {
        let free = with_done("5", state("", 4));
        me.read(Some(free.clone()), 0);
        let write = me.claim(1);
        assert_eq!(write.done, free.done);
        me.answer(Outcome::Written(made(&write, 5)), 9);
        assert!(matches!(me.step(9), AcquireStep::Won(_)));
    }
}

#[test]
fn a_waiter_ends_when_it_hears_that_its_key_is_done() {
    let mut me = Me::new(Carryover::Unknown).for_key("5");
    me.read(Some(state("them", 4)), 0);
    waits_until(&me.step(1), 15_000);
    me.watch(with_done("5", state("", 6)), 3);
    assert_eq!(me.step(3), AcquireStep::GiveUp(GiveUp::AlreadyDone));
}

/// Another client can edit the annotation while the claim is on its way.
#[test]
fn a_claim_that_was_won_is_given_up_if_the_key_is_done() {
    let mut me = Me::new(Carryover::Unknown).for_key("5");
    me.read(Some(state("", 4)), 0);
    let write = me.claim(1);
    me.answer(Outcome::Written(with_done("5", made(&write, 6))), 9);
    assert_eq!(me.step(9), AcquireStep::GiveUp(GiveUp::AlreadyDone));
    let mut release = me.withdraw(9).expect("the claim was won");
    let ReleaseStep::Write(write) = release.step(at(9), WALL) else { panic!("nothing is in doubt") };
    assert_eq!(write.done, DoneKeys::Empty.with(&done("5")));
}

#[test]
fn nothing_is_acquired_for_a_key_if_it_cannot_be_read_what_is_done() {
    let garbled = Snapshot { done: DoneKeys::Unreadable("garbage".into()), ..state("", 4) };
    let mut me = Me::new(Carryover::Unknown).for_key("5");
    me.read(Some(garbled.clone()), 0);
    assert_eq!(me.step(1), AcquireStep::GiveUp(GiveUp::DoneUnreadable));

    let mut me = Me::new(Carryover::Unknown);
    me.read(Some(garbled.clone()), 0);
    assert_eq!(me.claim(1).done, garbled.done, "without a key it does not matter");
}

#[test]
fn a_state_that_shows_the_key_is_left_to_the_next_task() {
    let free = with_done("5", state("", 4));
    let held = with_done("5", state("them", 4));
    for (seen, watched, millis, left) in [
        (free.clone(), false, 1_000, true),
        (free.clone(), true, 1_000, true),
        (free, true, 1_001, false),
        (held, false, 1_000, false),
    ] {
        let mut me = Me::new(Carryover::Free(seen.clone())).for_key("5");
        if watched {
            me.memory.watch.open(4, at(0));
        }
        assert_eq!(me.step(millis), AcquireStep::GiveUp(GiveUp::AlreadyDone));
        me.state.withdraw(&mut me.memory, at(millis));
        assert_eq!(me.memory.begin(at(millis)) == Carryover::Free(seen), left, "{millis}");
    }
}

#[test]
fn a_lease_that_is_deleted_early_again_is_created_after_a_pause() {
    for mode in [Mode::Wait, Mode::Try] {
        let mut me = Me::with(mode, CreateMode::IfMissing, Carryover::Free(state("", 3)));
        for (revision, millis) in [(4, 100), (6, 300)] {
            me.watch(state("them", revision), millis);
            let deleted = WatchEvent::Deleted(revision + 1);
            me.state.watched(deleted, &mut me.memory, at(millis + 100), WALL, &mut me.rng);
        }
        match (mode, me.one_step(400)) {
            (Mode::Wait, AcquireStep::Wait(until)) => {
                assert!(at(450) <= until && until <= at(500), "{until:?}");
            }
            (Mode::Try, AcquireStep::Claim(write)) => {
                assert_eq!(write.on, None, "its caller sets the pace");
            }
            (mode, other) => panic!("{mode:?}: {other:?}"),
        }
        if mode == Mode::Wait {
            assert_eq!(me.claim(500).on, None);
            // Another process was quicker, and its Lease is gone too: a third early deletion.
            me.answer(Outcome::Conflict, 510);
            me.read(None, 510);
            assert!(matches!(me.one_step(510), AcquireStep::Wait(until) if until >= at(610)));
        }
    }
}

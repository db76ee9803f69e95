//! Stepping down, stopping, dropping, shutting down: the Lease is released, and the channel shows it.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Verb};
use kube_lease_lock::{AcquireError, Election, EndReason, ReleaseError};
use tokio::time::{Instant, sleep, timeout};

use super::{AT_ONCE, STEP_DOWN_PAUSE, candidate, ended, leads};
use crate::fixture::{LEASE_DURATION, connect, holder};

#[tokio::test(start_paused = true)]
async fn stepping_down_lets_even_a_polling_candidate_lead() {
    let server = LeaseServer::new();
    let mut first = candidate(&server);
    let held = leads(&mut first).await;
    let (link, lock) = connect(&server);
    link.inject(Fault::status(403).on(Verb::Watch));
    let mut second = lock.elect().unwrap();
    sleep(LEASE_DURATION).await;
    let mut leadership = first.subscribe_bool();
    leadership.mark_unchanged();
    first.step_down().await.unwrap();
    assert!(!held.is_held() && !first.is_leader());
    assert_eq!(held.ended().await, EndReason::Released);
    leadership.changed().await.unwrap();
    assert!(!*leadership.borrow());
    ended(&mut first).await;
    let stepped_down = Instant::now();
    leads(&mut second).await;
    assert!(stepped_down.elapsed() < STEP_DOWN_PAUSE);
    assert!(timeout(4 * LEASE_DURATION, first.changed()).await.is_err(), "the first candidate should follow");
    second.step_down().await.unwrap();
    leads(&mut first).await;
}

#[tokio::test(start_paused = true)]
async fn a_sole_candidate_that_steps_down_leads_again_after_a_pause() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let mut election = lock.elect().unwrap();
    election.step_down().await.unwrap();
    leads(&mut election).await;
    link.inject(Fault::delay_after(Duration::from_secs(2)).on(Verb::Apply).times(1));
    let asked = Instant::now();
    let stepped_down = election.step_down();
    // The step down goes on after its future has been dropped.
    assert!(timeout(AT_ONCE, stepped_down).await.is_err());
    ended(&mut election).await;
    election.step_down().await.unwrap();
    leads(&mut election).await;
    let paused = asked.elapsed();
    let earliest = Duration::from_secs(2) + STEP_DOWN_PAUSE; // after the release
    assert!(paused >= earliest && paused <= earliest + AT_ONCE, "{paused:?}");
}

#[tokio::test(start_paused = true)]
async fn stopping_and_stepping_down_report_the_outcome_of_the_release() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let mut election = lock.elect().unwrap();
    leads(&mut election).await;
    let leadership = election.subscribe_bool();
    link.inject(Fault::hang());
    assert!(matches!(election.step_down().await, Err(ReleaseError::Unconfirmed { .. })));
    ended(&mut election).await;
    link.heal();
    leads(&mut election).await;
    link.inject(Fault::hang());
    assert!(matches!(election.stop().await, Err(ReleaseError::Unconfirmed { .. })));
    assert!(leadership.has_changed().is_err() && !*leadership.borrow());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_election_has_released_and_closes_its_channel() {
    let server = LeaseServer::new();
    let mut election = candidate(&server);
    let held = leads(&mut election).await;
    let mut leadership = election.subscribe_bool();
    leadership.mark_unchanged();
    election.stop().await.unwrap();
    assert_eq!(holder(&server), None);
    assert!(!held.is_held());
    leadership.changed().await.unwrap();
    assert!(!*leadership.borrow_and_update());
    assert!(leadership.changed().await.is_err(), "closed");
    sleep(4 * LEASE_DURATION).await;
    assert_eq!(holder(&server), None, "a stopped election should not acquire again");
}

#[tokio::test(start_paused = true)]
async fn an_election_stopped_before_it_leads_leaves_nothing_behind() {
    leaves_nothing_behind(async |election| election.stop().await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_election_cancels_its_token_and_shutdown_waits_for_its_release() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let mut election = lock.elect().unwrap();
    let held = leads(&mut election).await;
    let leadership = election.subscribe_bool();
    link.inject(Fault::delay_before(Duration::from_secs(2)).on(Verb::Apply));
    std::thread::spawn(move || drop(election)).join().unwrap();
    assert!(!held.is_held() && held.token().is_cancelled());
    lock.shutdown().await.unwrap();
    assert_eq!(holder(&server), None);
    assert!(leadership.has_changed().is_err() && !*leadership.borrow());
}

#[tokio::test(start_paused = true)]
async fn an_election_dropped_at_any_time_leaves_nothing_behind() {
    leaves_nothing_behind(async |election| drop(election)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_election_dropped_on_another_thread_leaves_nothing_behind() {
    for after in 0..300 {
        let server = LeaseServer::new();
        let (link, lock) = connect(&server);
        // A shutdown that does not wait for the release leaves the Lease held.
        link.inject(Fault::delay_before(Duration::from_millis(5)).on(Verb::Apply));
        let election = lock.elect().unwrap();
        // The drop comes at any point between the claim and the start of the leadership.
        while after % 5 != 0 && link.count(Verb::Update) == 0 {
            std::hint::spin_loop();
        }
        for _ in 0..(after * 20) {
            std::hint::spin_loop();
        }
        drop(election);
        lock.shutdown().await.unwrap();
        assert_eq!(holder(&server), None, "dropped after {after} yields");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_follower_stops_waiting() {
    let server = LeaseServer::new();
    let mut leader = candidate(&server);
    leads(&mut leader).await;
    let (link, lock) = connect(&server);
    let follower = lock.elect().unwrap();
    sleep(AT_ONCE).await;
    assert_eq!(link.open_watches(), 1);
    let leadership = follower.subscribe_bool();
    drop(follower);
    sleep(AT_ONCE).await;
    assert_eq!(link.open_watches(), 0);
    assert!(leadership.has_changed().is_err(), "closed");
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_an_election_whether_it_leads_or_not() {
    let server = LeaseServer::new();
    let (link, leading) = connect(&server);
    let mut leader = leading.elect().unwrap();
    let hold = leads(&mut leader).await;
    let (_link, following) = connect(&server);
    let mut follower = following.elect().unwrap();
    sleep(AT_ONCE).await;
    following.shutdown().await.unwrap();
    let changed = timeout(AT_ONCE, follower.changed()).await.unwrap();
    assert!(matches!(changed, Err(AcquireError::ShutDown(_))), "{changed:?}");
    assert!(matches!(follower.last_error(), Some(AcquireError::ShutDown(_))));
    assert!(matches!(following.elect(), Err(AcquireError::ShutDown(_))));

    // A shutdown that does not wait for the release leaves the Lease held.
    link.inject(Fault::delay_before(Duration::from_secs(2)).on(Verb::Apply));
    let leadership = leader.subscribe_bool();
    leading.shutdown().await.unwrap();
    assert_eq!(holder(&server), None);
    assert!(!leader.is_leader() && hold.token().is_cancelled());
    assert_eq!(hold.ended().await, EndReason::Released);
    ended(&mut leader).await;
    let changed = timeout(AT_ONCE, leader.changed()).await.unwrap();
    assert!(matches!(changed, Err(AcquireError::ShutDown(_))), "{changed:?}");
    assert!(leadership.has_changed().is_err() && !*leadership.borrow());
    leader.step_down().await.unwrap();
    leader.stop().await.unwrap();
    sleep(4 * LEASE_DURATION).await;
    assert_eq!(holder(&server), None);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_an_election_at_any_time() {
    for after in 0..40 {
        let server = LeaseServer::new();
        let (_link, lock) = connect(&server);
        let election = lock.elect().unwrap();
        yield_times(after).await;
        lock.shutdown().await.unwrap();
        assert_eq!(holder(&server), None, "shut down after {after} yields");
        assert!(election.subscribe_bool().has_changed().is_err(), "stands after {after} yields");
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_an_election_that_has_stepped_down() {
    let server = LeaseServer::new();
    let (_link, lock) = connect(&server);
    let mut election = lock.elect().unwrap();
    leads(&mut election).await;
    election.step_down().await.unwrap();
    sleep(AT_ONCE).await;
    lock.shutdown().await.unwrap();
    assert!(election.subscribe_bool().has_changed().is_err());
    sleep(4 * LEASE_DURATION).await;
    assert_eq!(holder(&server), None);
}

#[test]
fn an_election_ends_with_its_runtime() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let server = LeaseServer::new();
    let first = runtime();
    let (lock, mut election, held) = first.block_on(async {
        let (_link, lock) = connect(&server);
        let mut election = lock.elect().unwrap();
        let held = leads(&mut election).await;
        (lock, election, held)
    });
    drop(first);
    assert!(!held.is_held() && !election.is_leader());
    assert!(!*election.subscribe_bool().borrow());
    assert!(matches!(lock.elect(), Err(AcquireError::NoRuntime(_))));
    runtime().block_on(async {
        ended(&mut election).await;
        assert!(matches!(election.changed().await, Err(AcquireError::TaskEnded(_))));
        assert!(election.stop().await.is_ok());
    });
}

#[tokio::test(start_paused = true)]
async fn a_hold_handed_off_to_nobody_is_released_whenever_the_election_ends() {
    let released = async |before, after| {
        let server = LeaseServer::new();
        let (_link, lock) = connect(&server);
        let mut election = lock.elect().unwrap();
        leads(&mut election).await;
        let mut waiting = Box::pin(lock.acquire());
        assert!(timeout(AT_ONCE, &mut waiting).await.is_err());
        election.step_down().await.unwrap();
        yield_times(before).await;
        drop(waiting);
        yield_times(after).await;
        drop(election);
        sleep(AT_ONCE).await;
        assert_eq!(holder(&server), None, "given up after {before} yields, ended after {after} more");
    };
    // In a task, because the runtime polls the test itself only after all tasks.
    let any_time = async move {
        for moment in 0..16 {
            released(moment / 4, moment % 4).await;
        }
    };
    tokio::spawn(any_time).await.unwrap();
}

/// Ends an election after each number of yields.
async fn leaves_nothing_behind(end: impl AsyncFn(Election)) {
    for after in 0..40 {
        let server = LeaseServer::new();
        let (_link, lock) = connect(&server);
        let election = lock.elect().unwrap();
        yield_times(after).await;
        end(election).await;
        lock.shutdown().await.unwrap();
        assert_eq!(holder(&server), None, "ended after {after} yields");
    }
}

/// Lets all other tasks run this many times.
async fn yield_times(count: u32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

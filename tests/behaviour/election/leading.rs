//! When a process leads, when it follows, and what its watch channel shows.

use kube_lease_lock::testing::LeaseServer;
use kube_lease_lock::{Election, EndReason, LossReason};
use tokio::time::{Instant, sleep, timeout};

use super::{AT_ONCE, candidate, candidate_on_a_machine, ended, leads};
use crate::fixture::{LEASE_DURATION, NAME, NAMESPACE, RENEW_DEADLINE, connect, delete_lease, holder};

#[tokio::test(start_paused = true)]
async fn a_sole_candidate_leads_and_keeps_leading() {
    let server = LeaseServer::new();
    let mut election = candidate(&server);
    assert!(!election.is_leader() && election.hold().is_none(), "not before the Lease is held");
    let held = leads(&mut election).await;
    assert_eq!(holder(&server).as_deref(), Some(held.holder_identity()));
    assert_eq!(election.hold().unwrap().fencing_token(), held.fencing_token());
    assert!(timeout(10 * LEASE_DURATION, election.changed()).await.is_err(), "nothing changes");
    assert!(election.is_leader() && held.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_for_the_leader_and_takes_over_when_it_stops() {
    let server = LeaseServer::new();
    let mut first = candidate(&server);
    let held = leads(&mut first).await;
    let mut second = candidate(&server);
    assert!(timeout(4 * LEASE_DURATION, second.changed()).await.is_err(), "another process leads");
    assert!(!second.is_leader() && second.last_error().is_none());
    let asked = Instant::now();
    first.stop().await.unwrap();
    let next = leads(&mut second).await;
    assert!(asked.elapsed() < AT_ONCE);
    assert!(next.fencing_token() > held.fencing_token());
}

#[tokio::test(start_paused = true)]
async fn a_new_subscriber_receives_the_present_state() {
    let server = LeaseServer::new();
    let mut election = candidate(&server);
    let mut early = election.subscribe();
    assert!(timeout(AT_ONCE, early.changed()).await.unwrap().unwrap().is_none());
    let held = leads(&mut election).await;
    let mut late = election.subscribe();
    for subscriber in [&mut early, &mut late] {
        let told = timeout(AT_ONCE, subscriber.changed()).await.unwrap().unwrap().unwrap();
        assert_eq!(told.fencing_token(), held.fencing_token());
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_is_cancelled_before_the_channel_changes_and_before_another_leads() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let mut first = lock.elect().unwrap();
    let held = leads(&mut first).await;
    let mut second = candidate(&server);
    sleep(LEASE_DURATION).await;
    let mut leads_now = first.subscribe_bool();
    link.cut();
    timeout(LEASE_DURATION, leads_now.wait_for(|leads| !leads)).await.unwrap().unwrap();
    assert!(held.token().is_cancelled() && !first.is_leader());
    assert!(!second.is_leader());
    ended(&mut first).await;
    assert!(matches!(held.ended().await, EndReason::Lost(LossReason::DeadlinePassed { .. })));

    leads(&mut second).await;
    link.mend();
    assert!(timeout(4 * LEASE_DURATION, first.changed()).await.is_err(), "the first candidate should follow");
    second.stop().await.unwrap();
    leads(&mut first).await;
}

#[tokio::test(start_paused = true)]
async fn is_leader_is_false_past_the_deadline_even_if_nothing_runs() {
    let server = LeaseServer::new();
    let (machine, mut election) = candidate_on_a_machine(&server);
    leads(&mut election).await;
    machine.freeze();
    sleep(RENEW_DEADLINE).await;
    assert!(*election.subscribe_bool().borrow(), "the task had no chance to publish the end");
    assert!(!election.is_leader() && election.hold().is_none());
    let mut second = candidate(&server);
    leads(&mut second).await;
    machine.thaw();
    ended(&mut election).await;
}

#[tokio::test(start_paused = true)]
async fn a_leadership_that_ended_before_it_was_published_is_not_published() {
    let server = LeaseServer::new();
    let (machine, mut election) = candidate_on_a_machine(&server);
    sleep(AT_ONCE).await;
    machine.suspended_for(RENEW_DEADLINE);
    assert!(*election.subscribe_bool().borrow(), "the task has not published the end");
    let held = leads(&mut election).await;
    assert!(held.is_held(), "the first leadership that is published should be the second one");
}

#[tokio::test(start_paused = true)]
async fn a_follower_takes_over_after_a_crash() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let mut first = lock.elect().unwrap();
    leads(&mut first).await;
    let mut second = candidate(&server);
    sleep(AT_ONCE).await;
    link.cut();
    let crashed = Instant::now();
    leads(&mut second).await;
    assert!(crashed.elapsed() <= LEASE_DURATION + AT_ONCE, "{:?}", crashed.elapsed());
    assert!(!first.is_leader());
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_is_taken_becomes_a_candidate_again() {
    let server = LeaseServer::new();
    let mut election = candidate(&server);
    let held = leads(&mut election).await;
    sleep(AT_ONCE).await;
    server.take(NAMESPACE, NAME, "somebody");
    ended(&mut election).await;
    let end = held.ended().await;
    assert!(matches!(&end, EndReason::Lost(LossReason::TakenOver { by, .. }) if by == "somebody"), "{end:?}");
    assert!(timeout(LEASE_DURATION / 2, election.changed()).await.is_err(), "somebody else leads");
    let next = leads(&mut election).await;
    assert!(next.fencing_token() > held.fencing_token());
    sleep(AT_ONCE).await;
    delete_lease(&server);
    assert_eq!(next.ended().await, EndReason::Lost(LossReason::Deleted));
    sleep(AT_ONCE).await;
    // No other process waits, so this process leads again before `changed` can tell that it did not lead.
    let again = leads(&mut election).await;
    assert!(again.fencing_token() > next.fencing_token());
}

#[tokio::test(start_paused = true)]
async fn elections_of_one_lock_take_turns() {
    let server = LeaseServer::new();
    let (_link, lock) = connect(&server);
    let (mut first, mut second) = (lock.elect().unwrap(), lock.elect().unwrap());
    leads(&mut first).await;
    assert!(timeout(4 * LEASE_DURATION, second.changed()).await.is_err());
    for _ in 0..3 {
        first.step_down().await.unwrap();
        ended(&mut first).await;
        leads(&mut second).await;
        second.step_down().await.unwrap();
        ended(&mut second).await;
        leads(&mut first).await;
        assert!(!second.is_leader());
    }
    drop(first);
    leads(&mut second).await;
}

#[tokio::test(start_paused = true)]
async fn dropped_receivers_end_nothing() {
    let server = LeaseServer::new();
    let election = candidate(&server);
    drop(election.subscribe());
    sleep(4 * LEASE_DURATION).await;
    assert!(election.is_leader());
}

#[test]
fn an_election_can_move_to_any_task() {
    fn goes_anywhere<T: Send + Sync + Unpin + 'static>() {}
    fn is_send<T: Send>(_: impl FnOnce(&'static mut Election) -> T) {}
    goes_anywhere::<Election>();
    is_send(Election::changed);
    is_send(|election| election.step_down());
}

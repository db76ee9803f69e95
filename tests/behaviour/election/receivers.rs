//! What a receiver tells, and what it never does.

use futures::StreamExt;
use kube_lease_lock::testing::LeaseServer;
use kube_lease_lock::{AcquireError, ElectionStatus};
use tokio::time::{sleep, timeout};

use super::{AT_ONCE, CHANGE_TIMEOUT, candidate, candidate_on_a_machine, leads};
use crate::fixture::{LEASE_DURATION, RENEW_DEADLINE, connect, delete_lease};

/// The work of this receiver waits with what it was told, as the body of an `if let` does. The end of the leadership has to be
/// published meanwhile.
#[tokio::test(start_paused = true)]
async fn nothing_is_locked_while_the_work_runs() {
    let server = LeaseServer::new();
    let mut election = candidate(&server);
    leads(&mut election).await;
    let mut receiver = election.subscribe();
    if let Some(held) = receiver.changed().await.unwrap() {
        delete_lease(&server);
        timeout(CHANGE_TIMEOUT, held.token().cancelled()).await.expect("the token is cancelled");
        timeout(CHANGE_TIMEOUT, election.changed()).await.expect("the change is published").unwrap();
    }
}

/// The background task cannot run, so that the channel still has the old hold.
#[tokio::test(start_paused = true)]
async fn a_hold_that_is_over_is_never_returned() {
    let server = LeaseServer::new();
    let (machine, mut election) = candidate_on_a_machine(&server);
    let old = leads(&mut election).await;
    machine.freeze();
    sleep(RENEW_DEADLINE).await;
    let mut receiver = election.subscribe();
    assert!(*election.subscribe_bool().borrow(), "the task had no chance to publish the end");
    assert!(receiver.changed().await.unwrap().is_none());
    assert!(timeout(LEASE_DURATION, receiver.leading()).await.is_err());
    machine.thaw();
    let next = timeout(CHANGE_TIMEOUT, receiver.leading()).await.unwrap().unwrap();
    assert!(next.is_held() && next.fencing_token() > old.fencing_token());
}

#[tokio::test(start_paused = true)]
async fn the_stream_tells_each_change_and_ends_with_the_election() {
    let server = LeaseServer::new();
    let election = candidate(&server);
    let mut stream = election.subscribe().into_stream();
    assert!(stream.next().await.unwrap().is_none());
    assert!(stream.next().await.unwrap().is_some_and(|hold| hold.is_held()));
    election.stop().await.unwrap();
    assert!(stream.next().await.unwrap().is_none());
    assert!(stream.next().await.is_none());
}

/// Several tasks share one election, and any of them can stop it.
#[tokio::test(start_paused = true)]
async fn a_shared_election_can_be_stopped() {
    let server = LeaseServer::new();
    let election = std::sync::Arc::new(candidate(&server));
    let mut receiver = election.subscribe();
    receiver.leading().await.unwrap();
    let shared = election.clone();
    tokio::spawn(async move { shared.stop().await }).await.unwrap().unwrap();
    assert!(!election.is_leader() && receiver.has_ended());
    assert!(matches!(receiver.leading().await, Err(AcquireError::Stopped(_))));
    assert!(matches!(election.status(), ElectionStatus::Ended(AcquireError::Stopped(_))));
    election.stop().await.unwrap();
    timeout(AT_ONCE, candidate(&server).subscribe().leading()).await.expect("it was released").unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_status_says_what_the_election_does() {
    let server = LeaseServer::new();
    let mut first = candidate(&server);
    assert!(matches!(first.status(), ElectionStatus::Candidate), "{}", first.status());
    let held = leads(&mut first).await;
    assert!(matches!(first.status(), ElectionStatus::Leading(_)), "{}", first.status());

    let (link, lock) = connect(&server);
    let second = lock.elect().unwrap();
    sleep(2 * LEASE_DURATION).await;
    let ElectionStatus::Following { leader, elapsed, .. } = second.status() else {
        panic!("{}", second.status())
    };
    assert_eq!(leader.identity, held.holder_identity());
    assert!(elapsed > LEASE_DURATION && elapsed <= 2 * LEASE_DURATION, "{elapsed:?}");

    link.cut();
    first.stop().await.unwrap();
    sleep(2 * LEASE_DURATION).await;
    let ElectionStatus::Failing { elapsed, .. } = second.status() else { panic!("{}", second.status()) };
    assert!(elapsed > LEASE_DURATION / 2, "{elapsed:?}");
    link.mend();
    timeout(CHANGE_TIMEOUT, second.subscribe().leading()).await.unwrap().unwrap();
    second.step_down().await.unwrap();
    assert!(matches!(second.status(), ElectionStatus::SteppedDown), "{}", second.status());
    lock.shutdown().await.unwrap();
    assert!(
        matches!(second.status(), ElectionStatus::Ended(AcquireError::ShutDown(_))),
        "{}",
        second.status()
    );
}

//! What is refused is told, and tried again.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Verb};
use kube_lease_lock::{AcquireError, EndReason, LossReason};
use tokio::time::{Instant, sleep, timeout};

use crate::{D, MOMENT, candidate, connect, ended, led_by, set_holder};

#[tokio::test(start_paused = true)]
async fn a_refused_candidate_says_why_and_leads_once_it_is_permitted() {
    for verb in [Verb::Get, Verb::Update] {
        let server = LeaseServer::new();
        let (link, lock) = connect(&server);
        link.inject(Fault::status(403).on(verb));
        let mut election = lock.elect().unwrap();
        assert!(timeout(40 * D, election.changed()).await.is_err());
        let error = election.last_error();
        assert!(matches!(error, Some(AcquireError::Forbidden(_))), "{verb:?}: {error:?}");
        assert!(link.requests().len() < 100, "{} requests in ten minutes", link.requests().len());
        link.heal();
        led_by(&mut election).await;
        assert!(election.last_error().is_none());
        election.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn each_leadership_makes_the_pauses_after_refusals_short_again() {
    let server = LeaseServer::new();
    let (link, mut election) = candidate(&server);
    link.inject(Fault::status(403));
    sleep(40 * D).await;
    link.heal();
    led_by(&mut election).await;
    sleep(MOMENT).await;
    link.inject(Fault::status(403).on(Verb::Apply).times(1));
    set_holder(&server, "");
    let cleared = Instant::now();
    ended(&mut election).await;
    led_by(&mut election).await;
    assert!(cleared.elapsed() < Duration::from_secs(1), "{:?}", cleared.elapsed());
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_an_election_that_pauses_after_a_refusal() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    link.inject(Fault::status(403));
    let mut election = lock.elect().unwrap();
    sleep(40 * D).await;
    lock.shutdown().await.unwrap();
    let changed = timeout(MOMENT, election.changed()).await.unwrap();
    assert!(matches!(changed, Err(AcquireError::ShutDown(_))), "{changed:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_is_not_refused_any_more() {
    let server = LeaseServer::new();
    let (_link, mut leader) = candidate(&server);
    led_by(&mut leader).await;
    let (link, election) = candidate(&server);
    sleep(D).await;
    assert!(election.last_error().is_none());
    // Known to wait for another by now, it is refused all the same.
    link.inject(Fault::status(403).on_any(&[Verb::Get, Verb::Watch]));
    link.end_watches();
    sleep(4 * D).await;
    assert!(matches!(election.last_error(), Some(AcquireError::Forbidden(_))));
    link.heal();
    sleep(4 * D).await;
    assert!(election.last_error().is_none() && !election.is_leader());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_comes_back_has_a_leader_again() {
    let server = LeaseServer::new();
    let (_link, mut election) = candidate(&server);
    let held = led_by(&mut election).await;
    sleep(MOMENT).await;
    server.delete_namespace("default");
    ended(&mut election).await;
    assert_eq!(held.ended().await, EndReason::Lost(LossReason::NamespaceGone));
    sleep(4 * D).await;
    assert!(matches!(election.last_error(), Some(AcquireError::NamespaceGone(_))));
    server.create_namespace("default");
    led_by(&mut election).await;
}

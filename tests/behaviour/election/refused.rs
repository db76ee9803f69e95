//! A candidate whose requests are refused reports the error, and tries again.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Verb};
use kube_lease_lock::{AcquireError, EndReason, LossReason};
use tokio::time::{Instant, sleep, timeout};

use super::{AT_ONCE, candidate, ended, leads};
use crate::fixture::{LEASE_DURATION, NAMESPACE, connect, set_holder};

#[tokio::test(start_paused = true)]
async fn a_refused_candidate_reports_why_and_leads_once_it_is_permitted() {
    for verb in [Verb::Get, Verb::Update] {
        let server = LeaseServer::new();
        let (link, lock) = connect(&server);
        link.inject(Fault::status(403).on(verb));
        let mut election = lock.elect().unwrap();
        assert!(timeout(40 * LEASE_DURATION, election.changed()).await.is_err());
        let error = election.last_error();
        assert!(matches!(error, Some(AcquireError::Forbidden(_))), "{verb:?}: {error:?}");
        assert!(link.requests().len() < 100, "{} requests in ten minutes", link.requests().len());
        link.heal();
        leads(&mut election).await;
        assert!(election.last_error().is_none());
        election.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn each_leadership_makes_the_pauses_after_refusals_short_again() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let mut election = lock.elect().unwrap();
    link.inject(Fault::status(403));
    sleep(40 * LEASE_DURATION).await;
    link.heal();
    leads(&mut election).await;
    sleep(AT_ONCE).await;
    link.inject(Fault::status(403).on(Verb::Apply).times(1));
    set_holder(&server, "");
    ended(&mut election).await;
    let lost = Instant::now();
    leads(&mut election).await;
    assert!(lost.elapsed() < Duration::from_secs(1), "{:?}", lost.elapsed());
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_an_election_that_pauses_after_a_refusal() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    link.inject(Fault::status(403));
    let mut election = lock.elect().unwrap();
    sleep(40 * LEASE_DURATION).await;
    lock.shutdown().await.unwrap();
    let changed = timeout(AT_ONCE, election.changed()).await.unwrap();
    assert!(matches!(changed, Err(AcquireError::ShutDown(_))), "{changed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_follower_reports_an_error_only_while_it_is_refused() {
    let server = LeaseServer::new();
    let mut leader = candidate(&server);
    leads(&mut leader).await;
    let (link, lock) = connect(&server);
    let election = lock.elect().unwrap();
    sleep(LEASE_DURATION).await;
    assert!(election.last_error().is_none());
    // A follower that has read the Lease before can be refused as well.
    link.inject(Fault::status(403).on_any(&[Verb::Get, Verb::Watch]));
    link.end_watches();
    sleep(4 * LEASE_DURATION).await;
    assert!(matches!(election.last_error(), Some(AcquireError::Forbidden(_))));
    link.heal();
    sleep(4 * LEASE_DURATION).await;
    assert!(election.last_error().is_none() && !election.is_leader());
}

#[tokio::test(start_paused = true)]
async fn a_recreated_namespace_has_a_leader_again() {
    let server = LeaseServer::new();
    let mut election = candidate(&server);
    let held = leads(&mut election).await;
    sleep(AT_ONCE).await;
    server.delete_namespace(NAMESPACE);
    ended(&mut election).await;
    assert_eq!(held.ended().await, EndReason::Lost(LossReason::NamespaceGone));
    sleep(4 * LEASE_DURATION).await;
    assert!(matches!(election.last_error(), Some(AcquireError::NamespaceGone(_))));
    server.create_namespace(NAMESPACE);
    leads(&mut election).await;
}

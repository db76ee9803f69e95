//! One leader at a time, when the leader stops, steps down or loses its connection.

use std::time::Duration;

use super::leads;
use crate::cluster::{Cluster, LEASE_DURATION};
use crate::fixture::STEP_TIMEOUT;

on_both_servers!(
    another_candidate_leads_after_a_leader_has_stopped,
    a_leader_that_steps_down_becomes_a_follower,
    a_disconnected_leader_stops_leading_before_the_next_starts,
    a_dropped_election_leaves_the_lease_free,
);

async fn another_candidate_leads_after_a_leader_has_stopped(cluster: Cluster) {
    let mut first = cluster.lock().elect().unwrap();
    let held = leads(&mut first).await;
    assert_eq!(cluster.holder().await.as_deref(), Some(held.holder_identity()));
    let mut second = cluster.lock().elect().unwrap();
    tokio::time::sleep(2 * LEASE_DURATION).await;
    assert!(first.is_leader() && !second.is_leader());
    first.stop().await.unwrap();
    assert!(!held.is_held());
    let next = leads(&mut second).await;
    assert!(next.fencing_token() > held.fencing_token());
}

async fn a_leader_that_steps_down_becomes_a_follower(cluster: Cluster) {
    let mut first = cluster.lock().elect().unwrap();
    leads(&mut first).await;
    let mut second = cluster.lock().elect().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    first.step_down().await.unwrap();
    leads(&mut second).await;
    assert!(!first.is_leader());
    second.stop().await.unwrap();
    // The channel may show the end of the first leadership and then the second one, or only the second one.
    while !first.is_leader() {
        tokio::time::timeout(STEP_TIMEOUT, first.changed()).await.unwrap().unwrap();
    }
}

async fn a_disconnected_leader_stops_leading_before_the_next_starts(cluster: Cluster) {
    let (lock, tap) = cluster.tapped_lock();
    let mut first = lock.elect().unwrap();
    let held = leads(&mut first).await;
    let mut second = cluster.lock().elect().unwrap();
    tokio::time::sleep(LEASE_DURATION).await;
    tap.cut();
    leads(&mut second).await;
    assert!(held.token().is_cancelled() && !first.is_leader());
    let mut leadership = first.subscribe_bool();
    tokio::time::timeout(STEP_TIMEOUT, leadership.wait_for(|leads| !leads)).await.unwrap().unwrap();
}

async fn a_dropped_election_leaves_the_lease_free(cluster: Cluster) {
    let lock = cluster.lock();
    let mut election = lock.elect().unwrap();
    let held = leads(&mut election).await;
    drop(election);
    assert!(!held.is_held());
    lock.shutdown().await.unwrap();
    assert_eq!(cluster.holder().await, None);
}

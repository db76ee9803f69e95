//! Leases as other clients leave them: the lock never panics, never waits without end, never claims one that is held.

use std::time::Duration;

use kube_lease_lock::TryAcquireError;
use serde_json::json;
use tokio::time::sleep;

use crate::cluster::{Cluster, LEASE_DURATION};
use crate::fixture::acquire;

on_both_servers!(
    every_form_of_a_free_lease_can_be_claimed,
    every_form_of_a_held_lease_is_left_alone,
    a_holder_without_a_duration_gets_that_of_the_lock,
    a_duration_of_years_is_honoured_until_released,
    a_waiter_never_writes_while_another_client_holds,
);

async fn every_form_of_a_free_lease_can_be_claimed(cluster: Cluster) {
    for spec in [
        json!({}),
        json!(null),
        json!({ "holderIdentity": null, "leaseDurationSeconds": null, "renewTime": null }),
        json!({ "holderIdentity": "", "leaseDurationSeconds": 1 }),
        json!({ "leaseTransitions": 2_147_483_647 }),
        json!({ "leaseDurationSeconds": 1_000_000, "renewTime": "2999-01-01T00:00:00.000000Z" }),
    ] {
        cluster.create(spec).await;
        let guard = cluster.lock().try_acquire().await.unwrap();
        assert_eq!(cluster.holder().await.as_deref(), Some(guard.holder_identity()));
        guard.release().await.unwrap();
        cluster.delete().await;
    }
}

async fn every_form_of_a_held_lease_is_left_alone(cluster: Cluster) {
    for spec in [
        json!({ "holderIdentity": "them" }),
        json!({ "holderIdentity": "them", "leaseDurationSeconds": 1 }),
        json!({ "holderIdentity": "them", "renewTime": "1970-01-01T00:00:00.000000Z" }),
        json!({ "holderIdentity": "them", "renewTime": "2999-01-01T00:00:00.000000Z" }),
        json!({ "holderIdentity": "them", "leaseDurationSeconds": 2_147_483_647 }),
    ] {
        cluster.create(spec).await;
        let tried = cluster.lock().try_acquire().await;
        assert!(matches!(tried, Err(TryAcquireError::Held { .. })), "{tried:?}");
        cluster.delete().await;
    }
}

async fn a_holder_without_a_duration_gets_that_of_the_lock(cluster: Cluster) {
    cluster.create(json!({ "holderIdentity": "them" })).await;
    let started = tokio::time::Instant::now();
    let _guard = acquire(&cluster.lock()).await;
    assert!(started.elapsed() >= LEASE_DURATION);
}

async fn a_duration_of_years_is_honoured_until_released(cluster: Cluster) {
    cluster.create(json!({ "holderIdentity": "them", "leaseDurationSeconds": 2_147_483_647 })).await;
    let lock = cluster.lock();
    assert!(lock.acquire_timeout(2 * LEASE_DURATION).await.is_err());
    let waiting = tokio::spawn(async move { acquire(&lock).await });
    sleep(Duration::from_millis(100)).await;
    cluster.edit(json!({ "spec": { "holderIdentity": null } })).await;
    drop(waiting.await.unwrap());
}

/// Some other libraries can release only the version that they wrote last, and do not try again.
async fn a_waiter_never_writes_while_another_client_holds(cluster: Cluster) {
    let theirs = cluster.create(json!({ "holderIdentity": "them", "leaseDurationSeconds": 60 })).await;
    let lock = cluster.lock();
    let waiting = tokio::spawn(async move { acquire(&lock).await });
    sleep(Duration::from_millis(500)).await;
    assert_eq!(cluster.lease().await, Some(theirs));
    cluster.edit(json!({ "spec": { "holderIdentity": null } })).await;
    drop(waiting.await.unwrap());
}

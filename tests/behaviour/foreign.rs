//! Leases as other writers leave them: never a panic, never a wedged waiter, never free when they are not.

use std::time::Duration;

use kube_lease_lock::TryAcquireError;
use serde_json::json;
use tokio::time::sleep;

use crate::world::{D, World, acquire};

on_both_servers!(
    every_way_of_being_free_is_free,
    every_way_of_being_held_is_held,
    a_holder_without_a_duration_gets_ours,
    a_duration_of_years_is_honoured_until_released,
    waiting_for_another_make_changes_nothing,
);

async fn every_way_of_being_free_is_free(world: World) {
    for spec in [
        json!({}),
        json!(null),
        json!({ "holderIdentity": null, "leaseDurationSeconds": null, "renewTime": null }),
        json!({ "holderIdentity": "", "leaseDurationSeconds": 1 }),
        json!({ "leaseTransitions": 2_147_483_647 }),
        json!({ "leaseDurationSeconds": 1_000_000, "renewTime": "2999-01-01T00:00:00.000000Z" }),
    ] {
        world.create(spec).await;
        let guard = world.lock().try_acquire().await.unwrap();
        assert_eq!(world.holder().await.as_deref(), Some(guard.holder_identity()));
        guard.release().await.unwrap();
        world.delete().await;
    }
}

async fn every_way_of_being_held_is_held(world: World) {
    for spec in [
        json!({ "holderIdentity": "them" }),
        json!({ "holderIdentity": "them", "leaseDurationSeconds": 1 }),
        json!({ "holderIdentity": "them", "renewTime": "1970-01-01T00:00:00.000000Z" }),
        json!({ "holderIdentity": "them", "renewTime": "2999-01-01T00:00:00.000000Z" }),
        json!({ "holderIdentity": "them", "leaseDurationSeconds": 2_147_483_647 }),
    ] {
        world.create(spec).await;
        let tried = world.lock().try_acquire().await;
        assert!(matches!(tried, Err(TryAcquireError::Held { .. })), "{tried:?}");
        world.delete().await;
    }
}

async fn a_holder_without_a_duration_gets_ours(world: World) {
    world.create(json!({ "holderIdentity": "them" })).await;
    let started = tokio::time::Instant::now();
    let _guard = acquire(&world.lock()).await;
    assert!(started.elapsed() >= D);
}

async fn a_duration_of_years_is_honoured_until_released(world: World) {
    world.create(json!({ "holderIdentity": "them", "leaseDurationSeconds": 2_147_483_647 })).await;
    let lock = world.lock();
    assert!(lock.acquire_timeout(2 * D).await.is_err());
    let waiting = tokio::spawn(async move { acquire(&lock).await });
    sleep(Duration::from_millis(100)).await;
    world.edit(json!({ "spec": { "holderIdentity": null } })).await;
    drop(waiting.await.unwrap());
}

/// Some makes release conditionally on the version that they last wrote, and do not try again.
async fn waiting_for_another_make_changes_nothing(world: World) {
    let theirs = world.create(json!({ "holderIdentity": "them", "leaseDurationSeconds": 60 })).await;
    let lock = world.lock();
    let waiting = tokio::spawn(async move { acquire(&lock).await });
    sleep(Duration::from_millis(500)).await;
    assert_eq!(world.lease().await, Some(theirs));
    world.edit(json!({ "spec": { "holderIdentity": null } })).await;
    drop(waiting.await.unwrap());
}

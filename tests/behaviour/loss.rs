//! Losing a lock by what others do to the Lease: noticed at once, reported for what it was.

use std::time::Duration;

use kube_lease_lock::{LossReason, ReleaseError};
use serde_json::json;

use crate::world::{D, SOON, World, acquire};

on_both_servers!(
    a_takeover_is_noticed_at_once,
    a_cleared_holder_is_noticed_at_once,
    a_deletion_is_noticed_at_once,
    a_lease_deleted_and_recreated_is_lost,
    a_release_after_a_loss_touches_nothing,
    a_shortened_duration_is_restored,
    a_holder_cut_off_is_lost_before_its_successor_starts,
);

async fn a_takeover_is_noticed_at_once(world: World) {
    let edit = json!({ "spec": { "holderIdentity": "them" } });
    let reason = lose_by(&world, async || drop(world.edit(edit).await)).await;
    assert!(matches!(&reason, LossReason::TakenOver { by, .. } if by == "them"), "{reason:?}");
    assert_eq!(world.holder().await.as_deref(), Some("them"));
}

async fn a_cleared_holder_is_noticed_at_once(world: World) {
    let edit = json!({ "spec": { "holderIdentity": "" } });
    let reason = lose_by(&world, async || drop(world.edit(edit).await)).await;
    assert_eq!(reason, LossReason::Cleared);
}

async fn a_deletion_is_noticed_at_once(world: World) {
    let reason = lose_by(&world, async || world.delete().await).await;
    assert_eq!(reason, LossReason::Deleted);
    assert!(world.lease().await.is_none(), "a lost Lease is not re-created");
}

async fn a_lease_deleted_and_recreated_is_lost(world: World) {
    let reason = lose_by(&world, async || {
        world.delete().await;
        world.create(json!({ "holderIdentity": "them", "leaseDurationSeconds": 60 })).await;
    })
    .await;
    assert_eq!(reason, LossReason::Deleted);
    tokio::time::sleep(2 * D).await;
    assert_eq!(world.holder().await.as_deref(), Some("them"), "the successor is left alone");
}

async fn a_release_after_a_loss_touches_nothing(world: World) {
    let guard = acquire(&world.lock()).await;
    world.edit(json!({ "spec": { "holderIdentity": "them" } })).await;
    let lost = guard.lost().await;
    let before = world.lease().await;
    let released = guard.release().await;
    assert!(matches!(&lost, LossReason::TakenOver { by, .. } if by == "them"), "{lost:?}");
    assert!(matches!(&released, Err(ReleaseError::Lost { reason, .. }) if *reason == lost), "{released:?}");
    assert_eq!(world.lease().await, before);
}

async fn a_shortened_duration_is_restored(world: World) {
    let guard = acquire(&world.lock()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.edit(json!({ "spec": { "leaseDurationSeconds": 2 } })).await;
    let restored = async {
        while world.spec().await["leaseDurationSeconds"] != D.as_secs() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, restored).await.unwrap();
    assert!(guard.is_held());
}

async fn a_holder_cut_off_is_lost_before_its_successor_starts(world: World) {
    let (lock, tap) = world.tapped_lock();
    let guard = acquire(&lock).await;
    let successor = tokio::spawn({
        let lock = world.lock();
        async move { acquire(&lock).await }
    });
    tokio::time::sleep(D).await;
    assert!(guard.is_held());
    tap.cut();
    let reason = guard.lost().await;
    assert!(matches!(reason, LossReason::DeadlinePassed { last_failure: Some(_), .. }), "{reason:?}");
    assert!(!successor.is_finished(), "the successor has started too early");
    assert_eq!(world.holder().await.as_deref(), Some(guard.holder_identity()));
    drop(tokio::time::timeout(SOON, successor).await.unwrap().unwrap());
}

/// Holds the lock, has it taken away, and checks that this is noticed at once: long before the renewal that
/// would have noticed it too.
async fn lose_by(world: &World, act: impl AsyncFnOnce()) -> LossReason {
    let lock = world.builder(world.client()).lease_duration(Duration::from_secs(600)).build().unwrap();
    let guard = acquire(&lock).await;
    let token = guard.token();
    // The watch opens beside the hold.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(guard.is_held());
    act().await;
    tokio::time::timeout(SOON, token.cancelled()).await.expect("the loss should have been noticed");
    assert!(!guard.is_held());
    guard.lost().await
}

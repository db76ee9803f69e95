//! Changes of the Lease by other clients: the holder notices a loss at once, and reports the true reason.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube_lease_lock::{LossReason, ReleaseError};
use serde_json::{Value, json};

use crate::cluster::{Cluster, LEASE_DURATION};
use crate::fixture::{NAME, STEP_TIMEOUT, acquire};

on_both_servers!(
    a_takeover_is_noticed_at_once,
    a_cleared_holder_is_noticed_at_once,
    the_patch_in_the_documentation_clears_one_holder_only,
    a_deletion_is_noticed_at_once,
    a_lease_deleted_and_recreated_is_lost,
    a_release_after_a_loss_writes_nothing,
    a_shortened_duration_is_restored,
    a_disconnected_holder_loses_the_lock_before_its_successor_starts,
);

async fn a_takeover_is_noticed_at_once(cluster: Cluster) {
    let edit = json!({ "spec": { "holderIdentity": "them" } });
    let reason = lose_by(&cluster, async || drop(cluster.edit(edit).await)).await;
    assert!(matches!(&reason, LossReason::TakenOver { by, .. } if by == "them"), "{reason:?}");
    assert_eq!(cluster.holder().await.as_deref(), Some("them"));
}

async fn a_cleared_holder_is_noticed_at_once(cluster: Cluster) {
    let edit = json!({ "spec": { "holderIdentity": "" } });
    let reason = lose_by(&cluster, async || drop(cluster.edit(edit).await)).await;
    assert_eq!(reason, LossReason::Cleared);
}

async fn the_patch_in_the_documentation_clears_one_holder_only(cluster: Cluster) {
    let (_, patch) =
        include_str!("../../src/running.md").split_once("--type=json -p '").expect("the command");
    let mut patch: Value = serde_json::from_str(patch.split_once('\'').expect("its end").0).unwrap();
    let url = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/{NAME}", cluster.namespace);
    let send = async |patch: &Value| {
        let request = http::Request::patch(&url).header("content-type", "application/json-patch+json");
        cluster.client().request::<Lease>(request.body(patch.to_string().into_bytes()).unwrap()).await
    };

    let guard = acquire(&cluster.lock()).await;
    send(&patch).await.expect_err("the page names another holder");
    patch[0]["value"] = json!(guard.holder_identity());
    send(&patch).await.unwrap();
    let reason = tokio::time::timeout(STEP_TIMEOUT, guard.lost()).await.unwrap();
    assert_eq!(reason, LossReason::Cleared);
    assert_eq!(cluster.holder().await, None);
}

async fn a_deletion_is_noticed_at_once(cluster: Cluster) {
    let reason = lose_by(&cluster, async || cluster.delete().await).await;
    assert_eq!(reason, LossReason::Deleted);
    assert!(cluster.lease().await.is_none(), "a lost Lease is not re-created");
}

async fn a_lease_deleted_and_recreated_is_lost(cluster: Cluster) {
    let reason = lose_by(&cluster, async || {
        cluster.delete().await;
        cluster.create(json!({ "holderIdentity": "them", "leaseDurationSeconds": 60 })).await;
    })
    .await;
    assert_eq!(reason, LossReason::Deleted);
    tokio::time::sleep(2 * LEASE_DURATION).await;
    assert_eq!(cluster.holder().await.as_deref(), Some("them"), "the lost lock should not write");
}

async fn a_release_after_a_loss_writes_nothing(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    cluster.edit(json!({ "spec": { "holderIdentity": "them" } })).await;
    let lost = guard.lost().await;
    let before = cluster.lease().await;
    let released = guard.release().await;
    assert!(matches!(&lost, LossReason::TakenOver { by, .. } if by == "them"), "{lost:?}");
    assert!(matches!(&released, Err(ReleaseError::Lost { reason, .. }) if *reason == lost), "{released:?}");
    assert_eq!(cluster.lease().await, before);
}

async fn a_shortened_duration_is_restored(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.edit(json!({ "spec": { "leaseDurationSeconds": 2 } })).await;
    let restored = async {
        while cluster.spec().await["leaseDurationSeconds"] != LEASE_DURATION.as_secs() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(STEP_TIMEOUT, restored).await.unwrap();
    assert!(guard.is_held());
}

async fn a_disconnected_holder_loses_the_lock_before_its_successor_starts(cluster: Cluster) {
    let (lock, tap) = cluster.tapped_lock();
    let guard = acquire(&lock).await;
    let successor = tokio::spawn({
        let lock = cluster.lock();
        async move { acquire(&lock).await }
    });
    tokio::time::sleep(LEASE_DURATION).await;
    assert!(guard.is_held());
    tap.cut();
    let reason = guard.lost().await;
    assert!(matches!(reason, LossReason::DeadlinePassed { last_failure: Some(_), .. }), "{reason:?}");
    assert!(!successor.is_finished(), "the successor should not have started yet");
    assert_eq!(cluster.holder().await.as_deref(), Some(guard.holder_identity()));
    drop(tokio::time::timeout(STEP_TIMEOUT, successor).await.unwrap().unwrap());
}

/// Acquires the lock, lets `act` end the hold, and checks that the holder notices at once: long before its next
/// renewal.
async fn lose_by(cluster: &Cluster, act: impl AsyncFnOnce()) -> LossReason {
    let lock = cluster.builder(cluster.client()).lease_duration(Duration::from_secs(600)).build().unwrap();
    let guard = acquire(&lock).await;
    let token = guard.token();
    // Time for the watch to open.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(guard.is_held());
    act().await;
    tokio::time::timeout(STEP_TIMEOUT, token.cancelled()).await.expect("the loss should have been noticed");
    assert!(!guard.is_held());
    guard.lost().await
}

//! The Lease as other clients read it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::cluster::{Cluster, LEASE_DURATION};
use crate::fixture::acquire;

on_both_servers!(
    records_are_as_client_go_would_write_them,
    transitions_count_changes_of_the_holder,
    renewals_never_share_a_second,
    what_others_wrote_beside_the_record_is_kept,
    a_hold_tells_the_uid_of_its_lease,
);

async fn records_are_as_client_go_would_write_them(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    let spec = spec(&cluster).await;
    assert_eq!(spec.holder_identity.as_deref(), Some(guard.holder_identity()));
    assert_eq!(spec.lease_duration_seconds, Some(i32::try_from(LEASE_DURATION.as_secs()).unwrap()));
    assert_eq!(spec.lease_transitions, Some(0));
    assert_eq!(spec.acquire_time, spec.renew_time);
    let age = Timestamp::now().as_second() - spec.acquire_time.unwrap().0.as_second();
    assert!(age.abs() < 60, "acquired {age} s ago?");

    guard.release().await.unwrap();
    let spec = self::spec(&cluster).await;
    assert_eq!(spec.holder_identity.as_deref(), Some(""));
    assert_eq!(spec.lease_duration_seconds, Some(1));
    assert_eq!(spec.lease_transitions, Some(0));
    assert!(spec.acquire_time.is_some() && spec.renew_time.is_some());
}

async fn transitions_count_changes_of_the_holder(cluster: Cluster) {
    for expected in 0..3 {
        let guard = acquire(&cluster.lock()).await;
        assert_eq!(spec(&cluster).await.lease_transitions, Some(expected));
        guard.release().await.unwrap();
    }
}

async fn renewals_never_share_a_second(cluster: Cluster) {
    let _guard = acquire(&cluster.lock()).await;
    let acquired = spec(&cluster).await.acquire_time;
    let mut seconds = Vec::new();
    for _ in 0..60 {
        let spec = spec(&cluster).await;
        assert_eq!(spec.acquire_time, acquired, "renewing is not acquiring");
        let renewed = spec.renew_time.unwrap().0;
        if seconds.last() != Some(&renewed) {
            seconds.push(renewed);
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert!(seconds.len() >= 3, "{seconds:?}");
    assert!(seconds.windows(2).all(|pair| pair[0].as_second() < pair[1].as_second()), "{seconds:?}");
}

async fn what_others_wrote_beside_the_record_is_kept(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    let beside = json!({ "metadata": { "labels": { "team": "blue" }, "annotations": { "note": "keep" } } });
    cluster.edit(beside).await;
    tokio::time::sleep(2 * LEASE_DURATION).await;
    assert!(guard.is_held(), "an edit beside the record should not end the hold");
    guard.release().await.unwrap();
    let metadata = cluster.lease().await.unwrap().metadata;
    assert_eq!(metadata.labels.unwrap()["team"], "blue");
    assert_eq!(metadata.annotations.unwrap()["note"], "keep");
}

async fn a_hold_tells_the_uid_of_its_lease(cluster: Cluster) {
    let lock = cluster.lock();
    let mut uids = Vec::new();
    for _ in 0..2 {
        for _ in 0..2 {
            let guard = acquire(&lock).await;
            assert_eq!(cluster.lease().await.unwrap().metadata.uid.as_deref(), Some(guard.lease_uid()));
            uids.push(guard.lease_uid().to_owned());
            guard.release().await.unwrap();
        }
        cluster.delete().await;
    }
    uids.dedup();
    assert_eq!(uids.len(), 2, "one for each object: {uids:?}");
}

async fn spec(cluster: &Cluster) -> LeaseSpec {
    cluster.lease().await.unwrap().spec.unwrap()
}

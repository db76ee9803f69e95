//! When the lock creates the Lease, and with what metadata.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube_lease_lock::{AcquireError, CreateMode, TryAcquireError};
use serde_json::json;

use crate::cluster::Cluster;
use crate::fixture::acquire;

on_both_servers!(
    a_created_lease_has_its_labels_annotations_and_owner,
    an_existing_lease_keeps_its_labels,
    a_lease_that_must_exist_is_not_created,
    a_lease_that_must_not_exist_is_created_once,
    an_invalid_label_is_reported_at_once,
);

async fn a_created_lease_has_its_labels_annotations_and_owner(cluster: Cluster) {
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: "owner".into(),
        uid: "7e1b6a3c-0000-4000-8000-000000000000".into(),
        ..Default::default()
    };
    let builder = cluster.builder(cluster.client()).label("app", "x").annotation("why", "because");
    let lock = builder.owner(owner.clone()).field_manager("somebody").build().unwrap();
    let guard = acquire(&lock).await;
    let metadata = cluster.lease().await.unwrap().metadata;
    assert_eq!(metadata.labels.unwrap()["app"], "x");
    assert_eq!(metadata.annotations.unwrap()["why"], "because");
    assert_eq!(metadata.owner_references.unwrap(), [owner]);
    assert!(
        metadata.managed_fields.unwrap().iter().all(|entry| entry.manager.as_deref() == Some("somebody"))
    );
    drop(guard);
}

async fn an_existing_lease_keeps_its_labels(cluster: Cluster) {
    cluster.create(json!({})).await;
    cluster.edit(json!({ "metadata": { "labels": { "app": "theirs" } } })).await;
    let lock = cluster.builder(cluster.client()).label("app", "mine").label("more", "mine").build().unwrap();
    acquire(&lock).await.release().await.unwrap();
    let labels = cluster.lease().await.unwrap().metadata.labels.unwrap();
    assert_eq!(serde_json::to_value(labels).unwrap(), json!({ "app": "theirs" }));
}

async fn a_lease_that_must_exist_is_not_created(cluster: Cluster) {
    let lock = cluster.builder(cluster.client()).create_mode(CreateMode::MustExist).build().unwrap();
    assert!(matches!(lock.acquire().await, Err(AcquireError::LeaseMissing(_))));
    let tried = lock.try_acquire().await;
    assert!(matches!(tried, Err(TryAcquireError::Acquire(AcquireError::LeaseMissing(_)))));
    assert!(cluster.lease().await.is_none());
    cluster.create(json!({})).await;
    acquire(&lock).await.release().await.unwrap();
}

async fn a_lease_that_must_not_exist_is_created_once(cluster: Cluster) {
    let lock = cluster.builder(cluster.client()).create_mode(CreateMode::MustNotExist).build().unwrap();
    acquire(&lock).await.release().await.unwrap();
    acquire(&lock).await.release().await.unwrap();
    let other = cluster.builder(cluster.client()).create_mode(CreateMode::MustNotExist).build().unwrap();
    assert!(matches!(other.acquire().await, Err(AcquireError::LeaseExists(_))));
}

async fn an_invalid_label_is_reported_at_once(cluster: Cluster) {
    let lock = cluster.builder(cluster.client()).label("app", "not a label value!").build().unwrap();
    let error = lock.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("not a label value!"), "{error}");
    assert!(cluster.lease().await.is_none());
}

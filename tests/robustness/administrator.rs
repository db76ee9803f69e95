//! An administrator edits or deletes a Lease that is in use, its namespace, or the permissions.

use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::behaviour::Behaviour;
use crate::contender::{Contender, Event};
use crate::contender_process::stale_while_held;
use crate::fixture::{Fixture, LEASE, shared_control_plane};
use crate::support::now;

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn the_holder_notices_an_edit_immediately() {
    join_all([
        the_lease_is_deleted().boxed_local(),
        the_holder_is_cleared().boxed_local(),
        the_holder_is_replaced().boxed_local(),
        the_labels_are_edited().boxed_local(),
        the_namespace_is_deleted().boxed_local(),
        permission_is_revoked_and_granted_again().boxed_local(),
    ])
    .await;
}

async fn the_lease_is_deleted() {
    let fixture = Fixture::new("lease-deleted", shared_control_plane().await).await;
    let (holder, waiter) = fixture.watching_holder_and_waiter(Behaviour::HOLD_FOREVER).await;
    let edited = now();
    fixture.leases().await.delete(LEASE, &DeleteParams::default()).await.unwrap();
    let lost = holder.wait_for("lost", edited).await;
    assert!(lost.rest.contains("Deleted"), "{}", lost.rest);
    either_acquires(&holder, &waiter, edited).await;
    assert_clean_except(&fixture, &holder, edited, &lost);
}

async fn the_holder_is_cleared() {
    let fixture = Fixture::new("holder-cleared", shared_control_plane().await).await;
    let (holder, waiter) = fixture.watching_holder_and_waiter(Behaviour::HOLD_FOREVER).await;
    let edited = now();
    edit(&fixture, json!({ "spec": { "holderIdentity": "" } })).await;
    let lost = holder.wait_for("lost", edited).await;
    // The waiter may have claimed the Lease before the holder read it.
    assert!(lost.rest.contains("Cleared") || lost.rest.contains("TakenOver"), "{}", lost.rest);
    either_acquires(&holder, &waiter, edited).await;
    assert_clean_except(&fixture, &holder, edited, &lost);
}

async fn the_holder_is_replaced() {
    let fixture = Fixture::new("holder-replaced", shared_control_plane().await).await;
    let (holder, waiter) = fixture.watching_holder_and_waiter(Behaviour::HOLD_FOREVER).await;
    let edited = now();
    edit(&fixture, json!({ "spec": { "holderIdentity": "somebody" } })).await;
    let lost = holder.wait_for("lost", edited).await;
    assert!(lost.rest.contains("TakenOver") && lost.rest.contains("somebody"), "{}", lost.rest);
    // The contenders respect the lease duration of any holder, also of this one.
    let taken = either_acquires(&holder, &waiter, edited).await;
    let gap = Duration::from_nanos(taken.at - edited);
    assert!(gap.as_secs() >= Behaviour::HOLD_FOREVER.lease_seconds, "taken over after {gap:?}");
    fixture.clean_verdict();
}

async fn the_labels_are_edited() {
    let fixture = Fixture::new("labels-edited", shared_control_plane().await).await;
    let (holder, waiter) = fixture.holder_and_waiter(Behaviour::HOLD_FOREVER.lease_seconds(9)).await;
    let edited = now();
    let label = json!({ "metadata": { "labels": { "team": "storage" } } });
    let before = edit(&fixture, label).await;
    let leases = fixture.leases().await;
    let mut after = before.clone();
    while after.metadata.resource_version == before.metadata.resource_version {
        sleep(Duration::from_millis(100)).await;
        after = leases.get(LEASE).await.unwrap();
    }
    assert_eq!(after.metadata.labels, before.metadata.labels, "the renewal keeps the label");
    assert!(!holder.has_reported("lost", edited) && !waiter.has_reported("acquired", edited));
    fixture.clean_verdict();
}

async fn the_namespace_is_deleted() {
    let fixture = Fixture::new("namespace-deleted", shared_control_plane().await).await;
    let (holder, waiter) = fixture.watching_holder_and_waiter(Behaviour::HOLD_FOREVER).await;
    let namespaces = Api::<Namespace>::all(fixture.plane.client().await);
    let edited = now();
    namespaces.delete(&fixture.namespace, &DeleteParams::default()).await.unwrap();
    // The namespace controller would do this, but it does not run here.
    let all = fixture.leases().await;
    all.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let lost = holder.wait_for("lost", edited).await;
    assert!(lost.rest.contains("NamespaceGone"), "{}", lost.rest);
    both_fail(&holder, &waiter, lost.at).await;

    let mut namespace = namespaces.get(&fixture.namespace).await.unwrap();
    namespace.spec.as_mut().unwrap().finalizers = None;
    namespaces
        .replace_subresource("finalize", &fixture.namespace, &PostParams::default(), &namespace)
        .await
        .unwrap();
    both_fail(&holder, &waiter, now()).await;
    assert!(fixture.clean_verdict().holds.iter().all(|hold| hold.first < lost.at));
}

async fn either_acquires(one: &Contender, other: &Contender, since: u64) -> Event {
    tokio::select! {
        event = one.wait_for("acquired", since) => event,
        event = other.wait_for("acquired", since) => event,
    }
}

async fn both_fail(one: &Contender, other: &Contender, since: u64) {
    for failed in [one.wait_for("failed", since).await, other.wait_for("failed", since).await] {
        assert!(failed.rest.contains("does not exist or is being deleted"), "{}", failed.rest);
    }
}

async fn permission_is_revoked_and_granted_again() {
    let plane = shared_control_plane().await;
    let fixture = Fixture::new("permission-revoked", plane).await;
    plane.grant(&fixture.namespace, "worker", &role("worker")).await;
    // Not too short, so that the last answer before the end of the hold is a refusal.
    let behaviour = Behaviour::HOLD_FOREVER.lease_seconds(5);
    let worker = fixture.contender_as("worker", behaviour.clone()).await;
    worker.wait_for("acquired", 0).await;
    let mut waiter = fixture.contender("waiter", behaviour).await;
    let revoked = now();
    plane.revoke(&fixture.namespace, "worker").await;
    let lost = worker.wait_for("lost", revoked).await;
    assert!(lost.rest.contains("Forbidden"), "{}", lost.rest);
    let taken = waiter.wait_for("acquired", revoked).await;
    assert!(lost.at < taken.at);
    let failed = worker.wait_for("failed", lost.at).await;
    assert!(failed.rest.contains("permission denied"), "{}", failed.rest);

    plane.grant(&fixture.namespace, "worker", &role("worker")).await;
    waiter.kill().await;
    worker.wait_for("acquired", taken.at).await;
    fixture.clean_verdict();
}

/// The permissions that a contender needs.
pub(crate) fn role(name: &str) -> String {
    format!(
        "kind: Role
metadata: {{name: {name}}}
rules:
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{LEASE}]
  verbs: [get, watch, create, update, patch]
"
    )
}

async fn edit(fixture: &Fixture<'_>, change: Value) -> Lease {
    let leases = fixture.leases().await;
    leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(change)).await.unwrap()
}

/// After an edit that ends the hold, another contender may acquire the lock before the old holder notices the edit. So
/// two things are accepted for the old hold until its token is cancelled: an overlap with a hold that began after the
/// edit, and a stale write if the new holder has written already.
fn assert_clean_except(fixture: &Fixture<'_>, holder: &Contender, edited: u64, lost: &Event) {
    let mut verdict = fixture.register.verdict();
    fixture.event_log.record("register", &verdict);
    let (hold, _) = lost.rest.split_once(' ').unwrap();
    assert!(holder.owns(hold));
    verdict.violations.retain(|violation| !violation.contains(&stale_while_held(hold)));
    verdict.overlaps.retain(|(earlier, later)| {
        let excused = earlier.name == hold && later.first >= edited && earlier.last <= lost.at;
        !excused
    });
    assert!(verdict.is_clean(), "{verdict}");
}

//! What people do to a Lease that is in use.

use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::contender::{Contender, Event};
use crate::life::stale_while_held;
use crate::manner::Manner;
use crate::support::now;
use crate::world::{LEASE, World, undisturbed};

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn the_holder_learns_at_once_what_an_administrator_does() {
    join_all([
        the_lease_is_deleted().boxed_local(),
        the_holder_is_cleared().boxed_local(),
        the_holder_is_replaced().boxed_local(),
        the_labels_are_edited().boxed_local(),
        the_namespace_is_deleted().boxed_local(),
        permission_is_withdrawn_and_given_back().boxed_local(),
    ])
    .await;
}

async fn the_lease_is_deleted() {
    let world = World::new("lease-deleted", undisturbed().await).await;
    let (holder, waiter) = world.keepers(Manner::KEEPER).await;
    let edited = now();
    world.leases().await.delete(LEASE, &DeleteParams::default()).await.unwrap();
    let lost = holder.said("lost", edited).await;
    assert!(lost.rest.contains("Deleted"), "{}", lost.rest);
    either_acquires(&holder, &waiter, edited).await;
    clean_but_for(&world, &holder, edited, &lost);
}

async fn the_holder_is_cleared() {
    let world = World::new("holder-cleared", undisturbed().await).await;
    let (holder, waiter) = world.keepers(Manner::KEEPER).await;
    let edited = now();
    edit(&world, json!({ "spec": { "holderIdentity": "" } })).await;
    let lost = holder.said("lost", edited).await;
    // The waiter may have taken it before the holder looked.
    assert!(lost.rest.contains("Cleared") || lost.rest.contains("TakenOver"), "{}", lost.rest);
    either_acquires(&holder, &waiter, edited).await;
    clean_but_for(&world, &holder, edited, &lost);
}

async fn the_holder_is_replaced() {
    let world = World::new("holder-replaced", undisturbed().await).await;
    let (holder, waiter) = world.keepers(Manner::KEEPER).await;
    let edited = now();
    edit(&world, json!({ "spec": { "holderIdentity": "somebody" } })).await;
    let lost = holder.said("lost", edited).await;
    assert!(lost.rest.contains("TakenOver") && lost.rest.contains("somebody"), "{}", lost.rest);
    // That somebody is given their time, as everybody is.
    let taken = either_acquires(&holder, &waiter, edited).await;
    let given = Duration::from_nanos(taken.at - edited);
    assert!(given.as_secs() >= Manner::KEEPER.lease, "taken over after {given:?}");
    world.clean_verdict();
}

async fn the_labels_are_edited() {
    let world = World::new("labels-edited", undisturbed().await).await;
    let (holder, waiter) = world.keepers(Manner::KEEPER.lease(9)).await;
    let edited = now();
    let label = json!({ "metadata": { "labels": { "team": "storage" } } });
    let before = edit(&world, label).await;
    let leases = world.leases().await;
    let mut after = before.clone();
    while after.metadata.resource_version == before.metadata.resource_version {
        sleep(Duration::from_millis(100)).await;
        after = leases.get(LEASE).await.unwrap();
    }
    assert_eq!(after.metadata.labels, before.metadata.labels, "renewed, and the label kept");
    assert!(!holder.has_said("lost", edited) && !waiter.has_said("acquired", edited));
    world.clean_verdict();
}

async fn the_namespace_is_deleted() {
    let world = World::new("namespace-deleted", undisturbed().await).await;
    let (holder, waiter) = world.keepers(Manner::KEEPER).await;
    let namespaces = Api::<Namespace>::all(world.plane.client().await);
    let edited = now();
    namespaces.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    // What the namespace controller does, which nobody runs here.
    let all = world.leases().await;
    all.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let lost = holder.said("lost", edited).await;
    assert!(lost.rest.contains("NamespaceGone"), "{}", lost.rest);
    both_fail(&holder, &waiter, lost.at).await;

    let mut namespace = namespaces.get(&world.namespace).await.unwrap();
    namespace.spec.as_mut().unwrap().finalizers = None;
    namespaces
        .replace_subresource("finalize", &world.namespace, &PostParams::default(), &namespace)
        .await
        .unwrap();
    both_fail(&holder, &waiter, now()).await;
    assert!(world.clean_verdict().holds.iter().all(|hold| hold.first < lost.at));
}

async fn either_acquires(one: &Contender, other: &Contender, since: u64) -> Event {
    tokio::select! {
        event = one.said("acquired", since) => event,
        event = other.said("acquired", since) => event,
    }
}

async fn both_fail(one: &Contender, other: &Contender, since: u64) {
    for failed in [one.said("failed", since).await, other.said("failed", since).await] {
        assert!(failed.rest.contains("does not exist or is being deleted"), "{}", failed.rest);
    }
}

async fn permission_is_withdrawn_and_given_back() {
    let plane = undisturbed().await;
    let world = World::new("permission-withdrawn", plane).await;
    plane.grant(&world.namespace, "worker", &role("worker")).await;
    // Not too short, so that the last answer before the end is a refusal.
    let manner = Manner::KEEPER.lease(5);
    let worker = world.contender_as("worker", manner.clone()).await;
    worker.said("acquired", 0).await;
    let mut waiter = world.contender("waiter", manner).await;
    let revoked = now();
    plane.revoke(&world.namespace, "worker").await;
    let lost = worker.said("lost", revoked).await;
    assert!(lost.rest.contains("Forbidden"), "{}", lost.rest);
    let taken = waiter.said("acquired", revoked).await;
    assert!(lost.at < taken.at);
    let failed = worker.said("failed", lost.at).await;
    assert!(failed.rest.contains("permission denied"), "{}", failed.rest);

    plane.grant(&world.namespace, "worker", &role("worker")).await;
    waiter.kill().await;
    worker.said("acquired", taken.at).await;
    world.clean_verdict();
}

/// What a contender needs.
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

async fn edit(world: &World<'_>, change: Value) -> Lease {
    let leases = world.leases().await;
    leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(change)).await.unwrap()
}

/// An administrator who takes the Lease away lets another one in before the holder learns of it. That excuses an
/// overlap of that hold with one that began after the edit, up to the firing of its token; and if the other one has
/// written by then, a stale write.
fn clean_but_for(world: &World<'_>, holder: &Contender, edited: u64, lost: &Event) {
    let mut verdict = world.register.verdict();
    world.journal.note("register", &verdict);
    let (hold, _) = lost.rest.split_once(' ').unwrap();
    assert!(holder.owns(hold));
    verdict.wrong.retain(|wrong| !wrong.contains(&stale_while_held(hold)));
    verdict.overlaps.retain(|(earlier, later)| {
        let excused = earlier.name == hold && later.first >= edited && earlier.last <= lost.at;
        !excused
    });
    assert!(verdict.is_clean(), "{verdict}");
}

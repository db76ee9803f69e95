//! The owners of fields: conflicts, takeovers, and the removal of fields without an owner.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::pair::compare;
use crate::request::{apply, get, held, lease, merge, named, post, put};

const UID: &str = "11111111-2222-4333-8444-555555555555";

fn owned_by(uid: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid })
}

fn with(metadata: Value) -> Value {
    let mut metadata = metadata;
    metadata["name"] = "x".into();
    lease(metadata, json!({}))
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn applies_by_several_managers() {
    compare(async |pair| {
        pair.case("the same manager");
        pair.send(apply("x", "one", named("x", json!({ "holderIdentity": "a", "leaseTransitions": 1 }))))
            .await;
        pair.send(apply("x", "one", named("x", json!({ "holderIdentity": "b", "leaseTransitions": 1 }))))
            .await;
        pair.case("another manager, another value");
        pair.send(apply("x", "two", held("x", "c"))).await;
        pair.send(apply("x", "two", named("x", json!({ "holderIdentity": "c", "leaseTransitions": 2 }))))
            .await;
        pair.send(apply("x", "two", held("x", "c")).query("force=false")).await;
        pair.case("another manager, the same value");
        pair.send(apply("x", "two", held("x", "b"))).await;
        pair.case("now both own it");
        pair.send(apply("x", "one", named("x", json!({ "holderIdentity": "c", "leaseTransitions": 1 }))))
            .await;
        pair.send(apply("x", "two", held("x", "c"))).await;
        pair.send(apply("x", "three", held("x", "c"))).await;
        pair.case("one drops the field");
        pair.send(apply("x", "one", named("x", json!({ "leaseTransitions": 1 })))).await;
        pair.send(apply("x", "two", held("x", "c"))).await;
        pair.case("force");
        pair.send(
            apply("x", "three", named("x", json!({ "holderIdentity": "d", "leaseTransitions": 3 }))).force(),
        )
        .await;
        pair.send(get("x")).await;
        pair.case("the last owner drops the field");
        pair.send(apply("x", "three", named("x", json!({ "leaseTransitions": 3 })))).await;
        pair.send(apply("x", "three", named("x", json!({})))).await;
        pair.send(apply("x", "three", lease(json!({ "name": "x" }), Value::Null))).await;
        pair.send(apply(
            "x",
            "one",
            json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "x" } }),
        ))
        .await;
        pair.send(get("x")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn updates_take_over_fields() {
    compare(async |pair| {
        pair.case("an apply, then a merge patch");
        pair.send(apply("x", "one", named("x", json!({ "holderIdentity": "a", "leaseTransitions": 1 }))))
            .await;
        pair.send_as("x", merge("x", json!({ "spec": { "holderIdentity": "b" } })).by("two")).await;
        pair.send(apply("x", "one", named("x", json!({ "holderIdentity": "a", "leaseTransitions": 1 }))))
            .await;
        pair.send(apply("x", "one", named("x", json!({ "holderIdentity": "b", "leaseTransitions": 1 }))))
            .await;
        pair.case("then a PUT");
        pair.send_as("x", get("x")).await;
        let spec = json!({ "holderIdentity": "c", "leaseDurationSeconds": 3 });
        let body = lease(json!({ "name": "x", "resourceVersion": "<x.rv>", "labels": { "a": "1" } }), spec);
        pair.send_as("x", put("x", body).by("three")).await;
        pair.send(apply("x", "one", named("x", json!({ "holderIdentity": "c", "leaseTransitions": 1 }))))
            .await;
        pair.send(apply("x", "one", named("x", json!({ "holderIdentity": "d" }))).force()).await;
        pair.case("a merge patch without a change");
        pair.send(merge("x", json!({ "spec": { "holderIdentity": "d" } })).by("four")).await;
        pair.case("a merge patch that removes");
        pair.send(
            merge("x", json!({ "spec": { "holderIdentity": null }, "metadata": { "labels": null } }))
                .by("four"),
        )
        .await;
        pair.send(merge("x", json!({ "spec": null })).by("four")).await;
        pair.send(get("x")).await;
        pair.case("writes without a manager");
        pair.send(post(held("y", "a"))).await;
        pair.send(post(held("z", "a")).header("user-agent", "")).await;
        pair.send(
            merge("z", json!({ "spec": { "holderIdentity": "b" } })).header("user-agent", "a b (c) d/1"),
        )
        .await;
        pair.case("an update and an apply of the same name");
        pair.send(post(held("w", "a")).by("one")).await;
        pair.send(apply("w", "one", held("w", "b"))).await;
        pair.send(apply("w", "one", held("w", "b")).force()).await;
        pair.send(merge("w", json!({ "spec": { "holderIdentity": "c" } })).by("one")).await;
        pair.send(get("w")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn each_item_of_metadata_has_its_own_owner() {
    compare(async |pair| {
        let one = json!({ "labels": { "a": "1", "b": "1" }, "annotations": { "c": "1" }, "ownerReferences": [owned_by("1")] });
        let two = json!({ "labels": { "b": "1", "d": "1" }, "annotations": { "e": "1" }, "ownerReferences": [owned_by("2")], "finalizers": ["a.b/c"] });
        pair.send(apply("x", "one", with(one))).await;
        pair.send(apply("x", "two", with(two.clone()))).await;
        pair.case("conflicts of single items");
        pair.send(apply("x", "one", with(json!({ "labels": { "d": "2", "b": "2" }, "annotations": { "e": "2" } })))).await;
        let mut renamed = owned_by("2");
        renamed["name"] = "q".into();
        pair.send(apply("x", "one", with(json!({ "ownerReferences": [renamed] })))).await;
        pair.case("dropping items");
        pair.send(apply("x", "one", with(json!({ "labels": { "a": "1" } })))).await;
        pair.send(apply("x", "one", with(json!({ "labels": {} })))).await;
        pair.send(apply("x", "one", with(json!({ "labels": null, "annotations": null })))).await;
        pair.send(apply("x", "one", with(json!({})))).await;
        pair.case("updates of single items");
        pair.send(merge("x", json!({ "metadata": { "labels": { "d": "3", "f": "3" } } })).by("three")).await;
        pair.send(apply("x", "two", with(two))).await;
        pair.send(merge("x", json!({ "metadata": { "finalizers": null, "ownerReferences": [owned_by("3")] } })).by("three")).await;
        pair.send(apply("x", "two", with(json!({})))).await;
        pair.send(get("x")).await;
        pair.case("all fields in one update");
        let all = json!({ "name": "y", "labels": { "a": "1" }, "annotations": { "c": "1" }, "ownerReferences": [owned_by(UID)], "finalizers": ["a.b/c", "d.e/f"] });
        let spec = json!({ "acquireTime": "2026-01-01T00:00:00.000001Z", "renewTime": "2026-01-01T00:00:00.000001Z", "holderIdentity": "a", "leaseDurationSeconds": 1, "leaseTransitions": 0 });
        pair.send(post(lease(all.clone(), spec.clone()))).await;
        pair.send(apply("y", "one", lease(all, spec))).await;
        pair.case("two owners with one uid");
        pair.send(apply("x", "four", with(json!({ "ownerReferences": [owned_by("7"), owned_by("7")] })))).await;
        pair.send(apply("x", "four", with(json!({ "finalizers": ["a.b/c", "a.b/c"] })))).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn applies_of_nulls() {
    compare(async |pair| {
        pair.send(apply("x", "one", named("x", json!({ "holderIdentity": "a", "leaseTransitions": null }))))
            .await;
        pair.send(apply("x", "two", named("x", json!({ "holderIdentity": null })))).await;
        pair.send(apply("x", "two", named("x", json!({ "holderIdentity": null }))).force()).await;
        pair.send(get("x")).await;
        pair.send(apply("x", "one", named("x", json!({ "holderIdentity": "" })))).await;
        pair.send(apply("x", "one", named("x", json!({ "holderIdentity": "" }))).force()).await;
        pair.send(get("x")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn resets_of_tracking() {
    compare(async |pair| {
        pair.send(post(held("x", "a")).by("one")).await;
        pair.case("with one empty entry");
        pair.send(merge("x", json!({ "metadata": { "managedFields": [{}] } })).by("two")).await;
        pair.send(merge("x", json!({ "spec": { "leaseTransitions": 1 } })).by("two")).await;
        pair.send(apply("x", "three", named("x", json!({ "leaseTransitions": 1 })))).await;
        pair.send(get("x")).await;
        pair.case("with an empty list");
        pair.send(merge("x", json!({ "metadata": { "managedFields": [] } })).by("two")).await;
        pair.send(apply("x", "three", named("x", json!({ "leaseTransitions": 2 })))).await;
        pair.send(apply("x", "three", named("x", json!({ "leaseTransitions": 2 }))).force()).await;
        pair.case("with null");
        pair.send(merge("x", json!({ "metadata": { "managedFields": null } })).by("two")).await;
        pair.case("by an apply");
        pair.send(apply("x", "three", lease(json!({ "name": "x", "managedFields": [] }), json!({})))).await;
        pair.send(apply("x", "three", lease(json!({ "name": "x", "managedFields": null }), json!({})))).await;
        pair.case("an invalid entry");
        pair.send(merge(
            "x",
            json!({ "metadata": { "managedFields": [{ "manager": "m", "operation": "Eat" }] } }),
        ))
        .await;
        pair.send(get("x")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn writes_without_a_change() {
    compare(async |pair| {
        let spec = json!({ "holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.000001Z" });
        pair.send(apply("x", "one", named("x", spec.clone()))).await;
        pair.send_as("x", get("x")).await;
        // The next write is in another second, and would get another time in managedFields.
        sleep(Duration::from_millis(1100)).await;
        pair.send(apply("x", "one", named("x", spec.clone()))).await;
        pair.send(
            apply(
                "x",
                "one",
                lease(json!({ "name": "x", "uid": "<x.uid>", "resourceVersion": "<x.rv>" }), spec.clone()),
            )
            .force(),
        )
        .await;
        pair.send(put("x", lease(json!({ "name": "x", "resourceVersion": "<x.rv>" }), spec.clone()))).await;
        pair.send(merge("x", json!({ "spec": spec })).by("two")).await;
        pair.send(merge("x", json!({}))).await;
        pair.send(get("x")).await;
        pair.case("the same time in another zone");
        pair.send(merge("x", json!({ "spec": { "renewTime": "2026-01-01T01:00:00.000001+01:00" } }))).await;
        pair.send(apply(
            "x",
            "one",
            named("x", json!({ "holderIdentity": "a", "renewTime": "2026-01-01T01:00:00.000001+01:00" })),
        ))
        .await;
        pair.send(get("x")).await;
        pair.case("a new owner of the same value");
        pair.send(apply("x", "two", held("x", "a"))).await;
        pair.send(apply("x", "two", held("x", "a"))).await;
        pair.case("a dry run");
        pair.send(apply("x", "three", held("x", "b")).dry().force()).await;
        pair.send(merge("x", json!({ "spec": { "holderIdentity": "b" } })).dry()).await;
        pair.send(put("x", lease(json!({ "name": "x", "resourceVersion": "<x.rv>" }), json!({}))).dry())
            .await;
        pair.send(get("x")).await;
    })
    .await;
}

//! Valid and invalid fields of a Lease.

use serde_json::{Value, json};

use crate::pair::{Pair, compare};
use crate::request::{apply, get, lease, merge, named, post, put};

/// Writes a Lease by every kind of write.
async fn write(pair: &mut Pair, name: &str, metadata: Value, spec: Value) {
    let body = |name: &str| {
        let mut metadata = metadata.clone();
        metadata["name"] = name.into();
        lease(metadata, spec.clone())
    };
    pair.case(format!("{metadata} {spec}"));
    pair.send(post(body(name))).await;
    pair.send(get(name)).await;
    let (put_name, apply_name, old_name) =
        (format!("{name}-put"), format!("{name}-apply"), format!("{name}-old"));
    pair.send(put(&put_name, body(&put_name))).await;
    pair.send(apply(&apply_name, "one", body(&apply_name))).await;
    pair.send_as("old", post(named(&old_name, json!({})))).await;
    pair.send(merge(&old_name, body(&old_name))).await;
    let mut body = body(&old_name);
    body["metadata"]["resourceVersion"] = "<old.rv>".into();
    pair.send(put(&old_name, body.clone())).await;
    pair.send(get(&old_name)).await;
}

async fn write_each(pair: &mut Pair, objects: Vec<(Value, Value)>) {
    for (i, (metadata, spec)) in objects.into_iter().enumerate() {
        write(pair, &format!("x{i}"), metadata, spec).await;
    }
}

fn specs(list: Vec<Value>) -> Vec<(Value, Value)> {
    list.into_iter().map(|spec| (json!({}), spec)).collect()
}

fn metadata(list: Vec<Value>) -> Vec<(Value, Value)> {
    list.into_iter().map(|metadata| (metadata, json!({}))).collect()
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn values_of_the_spec() {
    let list = specs(vec![
        json!({ "holderIdentity": "" }),
        json!({ "holderIdentity": "ü\n\"<>&\u{2028}" }),
        json!({ "holderIdentity": "h".repeat(5000) }),
        json!({ "leaseDurationSeconds": 0 }),
        json!({ "leaseDurationSeconds": -1 }),
        json!({ "leaseDurationSeconds": 2_147_483_647 }),
        json!({ "leaseTransitions": -1 }),
        json!({ "leaseTransitions": 0 }),
        json!({ "leaseDurationSeconds": 0, "leaseTransitions": -1 }),
        json!({ "strategy": "OldestEmulationVersion", "preferredHolder": "a" }),
        json!({ "strategy": "example.com/custom" }),
        json!({ "strategy": "nonsense" }),
        json!({ "preferredHolder": "a" }),
        json!({ "holderIdentity": null, "leaseDurationSeconds": null, "renewTime": null }),
        Value::Null,
        json!({}),
    ]);
    compare(async |pair| write_each(pair, list).await).await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn valid_and_invalid_times() {
    let times = [
        "2026-01-01T00:00:00.000000Z",
        "2026-01-01T00:00:00.123456Z",
        "2026-01-01T00:00:00.123456+01:00",
        "2026-01-01T00:00:00.123456-00:30",
        "2026-01-01T00:00:00.123456789Z",
        "2026-01-01T00:00:00.1234567Z",
        "2026-01-01T00:00:00.123Z",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.123456",
        "2026-01-01 00:00:00.123456Z",
        "2026-01-01T00:00:00,123456Z",
        "2026-13-01T00:00:00.000000Z",
        "2026-02-30T00:00:00.000000Z",
        "0000-01-01T00:00:00.000000Z",
        "1969-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59.999999-23:59",
        "0000-01-01T00:00:00.000000+23:59",
        "now",
        "",
    ];
    let list = specs(times.iter().map(|time| json!({ "renewTime": time })).collect());
    compare(async |pair| write_each(pair, list).await).await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn fields_of_wrong_types() {
    let mut list = specs(vec![
        json!({ "holderIdentity": 5 }),
        json!({ "holderIdentity": true }),
        json!({ "holderIdentity": { "a": 1 } }),
        json!({ "leaseDurationSeconds": "5" }),
        json!({ "leaseDurationSeconds": 1.5 }),
        json!({ "leaseTransitions": [] }),
        json!({ "leaseTransitions": false }),
        json!({ "renewTime": 5 }),
        json!({ "acquireTime": {} }),
        json!([]),
        json!("text"),
        json!(5),
    ]);
    list.extend(metadata(vec![
        json!({ "labels": "text" }),
        json!({ "labels": { "a": 1 } }),
        json!({ "labels": { "a": null } }),
        json!({ "finalizers": "a.b/c" }),
        json!({ "ownerReferences": {} }),
        json!({ "resourceVersion": 5 }),
        json!({ "uid": 5 }),
    ]));
    compare(async |pair| write_each(pair, list).await).await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn values_of_the_metadata() {
    const UID: &str = "11111111-2222-4333-8444-555555555555";
    let owner = |part: &str, value: Value| {
        let mut owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": UID });
        owner[part] = value;
        json!({ "ownerReferences": [owner] })
    };
    let mut two_controllers = json!([
        { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": UID, "controller": true },
        { "apiVersion": "v1", "kind": "Pod", "name": "q", "uid": MADE_UP, "controller": true },
    ]);
    two_controllers[0]["blockOwnerDeletion"] = false.into();
    let list = metadata(vec![
        json!({ "labels": { "": "a" } }),
        json!({ "labels": { "a b": "c" } }),
        json!({ "labels": { "a/b/c": "d" } }),
        json!({ "labels": { "/a": "b" } }),
        json!({ "labels": { "A_/b": "c" } }),
        json!({ "labels": { "a/": "d" } }),
        json!({ "labels": { format!("{}/a", "p".repeat(254)): "b" } }),
        json!({ "labels": { "a": "b c" } }),
        json!({ "labels": { "a": "-" } }),
        json!({ "labels": { "a": "v".repeat(64) } }),
        json!({ "labels": { "k".repeat(64): "v" } }),
        json!({ "labels": { "example.com/App": "A_b.c", "empty": "" } }),
        json!({ "annotations": { "a b": "c" } }),
        json!({ "annotations": { "Example.com/A": "anything, at all" } }),
        json!({ "annotations": { "a": "v".repeat(256 * 1024) } }),
        json!({ "finalizers": ["a.b/c"] }),
        json!({ "finalizers": ["plain"] }),
        json!({ "finalizers": ["orphan", "foregroundDeletion"] }),
        json!({ "finalizers": ["not good"] }),
        owner("uid", UID.into()),
        owner("uid", "".into()),
        owner("name", "".into()),
        owner("kind", "".into()),
        owner("apiVersion", "".into()),
        owner("apiVersion", "a/b/c".into()),
        owner("controller", true.into()),
        json!({ "ownerReferences": [{}] }),
        json!({ "ownerReferences": two_controllers }),
        json!({ "creationTimestamp": "2020-01-01T00:00:00Z" }),
        json!({ "creationTimestamp": null }),
        json!({ "creationTimestamp": "nonsense" }),
        json!({ "selfLink": "a" }),
        json!({ "generateName": "g-" }),
        json!({ "uid": "anything" }),
    ]);
    compare(async |pair| write_each(pair, list).await).await;
}

const MADE_UP: &str = "99999999-2222-4333-8444-555555555555";

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn valid_and_invalid_names() {
    let longest = vec!["a".repeat(63); 4].join(".");
    let names = [
        "a",
        "0",
        "a.b-c.1",
        &longest[..253],
        &longest[..],
        "a_b",
        "-a",
        "a-",
        "a..b",
        ".a",
        "a.",
        "X",
        "leases",
        "~",
        "a:b",
    ];
    compare(async |pair| {
        for name in names {
            pair.case(name);
            pair.send(get(name)).await;
            pair.send(put(name, named(name, json!({})))).await;
            pair.send(apply(name, "one", named(name, json!({})))).await;
            pair.send(merge(name, json!({ "spec": { "leaseTransitions": 1 } }))).await;
            pair.send(post(named(name, json!({}))).dry()).await;
        }
        pair.case("no name");
        pair.send(post(named("", json!({})))).await;
        pair.send(post(lease(json!({}), json!({})))).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn unknown_fields() {
    compare(async |pair| {
        for validation in ["", "Ignore", "Warn", "Strict", "strict"] {
            let query = format!("fieldValidation={validation}");
            let name = format!("x{}", validation.to_lowercase());
            pair.case("unknown fields");
            let spec = json!({ "holderIdentity": "a", "colour": "red" });
            let mut body = lease(json!({ "name": name, "size": 1 }), spec);
            body["status"] = json!({});
            pair.send(post(body.clone()).query(&query)).await;
            pair.send(get(&name)).await;
            pair.send(
                put("y", {
                    let mut b = body.clone();
                    b["metadata"]["name"] = "y".into();
                    b
                })
                .query(&query)
                .dry(),
            )
            .await;
            pair.send(
                merge(&name, json!({ "spec": { "colour": "red", "leaseTransitions": 1 } })).query(&query),
            )
            .await;
            // Only one field, because the real server lists several in random order.
            let body = named(&name, json!({ "colour": "red" }));
            pair.send(apply(&name, "one", body).query(&query)).await;
            pair.case("a field in another case");
            pair.send(post(named("case", json!({ "HolderIdentity": "a" }))).query(&query).dry()).await;
        }
    })
    .await;
}

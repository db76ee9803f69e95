//! Every kind of write, with every combination of resourceVersion and uid, to a Lease in every state.

use serde_json::{Value, json};

use crate::pair::{Pair, compare};
use crate::request::{Request, apply, delete, get, held, lease, merge, post, put};

const STATES: [&str; 5] = ["current", "changed", "deleted", "recreated", "unknown"];
const MADE_UP: &str = "11111111-2222-4333-8444-555555555555";

/// The metadata by which a write identifies its object. "first" is the object that the writer read, "now" the current
/// one.
fn identities() -> Vec<(&'static str, Value)> {
    vec![
        ("nothing", json!({})),
        ("rv", json!({ "resourceVersion": "<first.rv>" })),
        ("uid", json!({ "uid": "<first.uid>" })),
        ("rv and uid", json!({ "resourceVersion": "<first.rv>", "uid": "<first.uid>" })),
        ("the rv of now, uid", json!({ "resourceVersion": "<now.rv>", "uid": "<first.uid>" })),
        ("the rv of now, another uid", json!({ "resourceVersion": "<now.rv>", "uid": MADE_UP })),
        ("another uid", json!({ "uid": MADE_UP })),
        ("a future rv", json!({ "resourceVersion": "<now.rv>000000" })),
        ("rv 0", json!({ "resourceVersion": "0" })),
        ("rv 0 and uid", json!({ "resourceVersion": "0", "uid": "<first.uid>" })),
        ("an empty rv", json!({ "resourceVersion": "" })),
        ("a garbage rv", json!({ "resourceVersion": "x1" })),
    ]
}

async fn table(pair: &mut Pair, write: impl Fn(&str, Value) -> Request) {
    for state in STATES {
        for (i, (identity, metadata)) in identities().into_iter().enumerate() {
            let name = format!("{state}-{i}");
            pair.case(format!("{state}, with {identity}"));
            prepare(pair, state, &name).await;
            let mut metadata = metadata;
            metadata["name"] = name.as_str().into();
            let body = lease(metadata, json!({ "holderIdentity": "b" }));
            pair.send(write(&name, body.clone()).dry()).await;
            pair.send(write(&name, body)).await;
            pair.send(get(&name)).await;
        }
    }
}

async fn prepare(pair: &mut Pair, state: &str, name: &str) {
    let first = if state == "unknown" { format!("{name}-other") } else { name.to_owned() };
    pair.send_as("first", post(held(&first, "a")).by("one")).await;
    if matches!(state, "changed") {
        pair.send(merge(name, json!({ "spec": { "leaseTransitions": 1 } })).by("two")).await;
    }
    if matches!(state, "deleted" | "recreated") {
        pair.send(delete(name)).await;
    }
    if state == "recreated" {
        pair.send(post(held(name, "c")).by("three")).await;
    }
    pair.send_as("now", get(&first)).await;
    if state == "deleted" {
        // The deleted Lease has no current version. Another Lease stands in.
        pair.send_as("now", get(&format!("{}-0", STATES[0]))).await;
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn puts_with_every_identity() {
    compare(async |pair| table(pair, |name, body| put(name, body).by("four")).await).await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn applies_with_every_identity() {
    compare(async |pair| table(pair, |name, body| apply(name, "four", body)).await).await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn forced_applies_with_every_identity() {
    compare(async |pair| table(pair, |name, body| apply(name, "four", body).force()).await).await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn merge_patches_with_every_identity() {
    compare(async |pair| table(pair, |name, body| merge(name, body).by("four")).await).await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn posts_with_every_identity() {
    compare(async |pair| table(pair, |_, body| post(body).by("four")).await).await;
}

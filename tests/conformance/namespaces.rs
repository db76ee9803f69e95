//! Requests to missing and terminating namespaces.

use serde_json::json;

use crate::pair::{Pair, compare};
use crate::request::{Request, apply, delete, get, held, lease, list, merge, post, put, watch};

async fn everything(pair: &mut Pair, namespace: &str) {
    let within = |request: Request| request.within(namespace);
    for name in ["x", "new"] {
        pair.send(within(get(name))).await;
        pair.send(within(apply(name, "one", held(name, "b")).force()).dry()).await;
        pair.send(within(apply(name, "one", held(name, "b")).force())).await;
        pair.send(within(apply(
            name,
            "one",
            lease(json!({ "name": name, "uid": "11111111-2222-4333-8444-555555555555" }), json!({})),
        )))
        .await;
        pair.send(within(put(name, held(name, "b")))).await;
        pair.send(within(put(name, lease(json!({ "name": name, "resourceVersion": "<x.rv>" }), json!({})))))
            .await;
        pair.send(within(merge(name, json!({ "spec": { "holderIdentity": "c" } })))).await;
        pair.send(within(post(held(name, "b")))).await;
        pair.send(within(post(lease(json!({ "name": name }), json!({ "leaseDurationSeconds": 0 }))))).await;
        pair.send(within(post(lease(json!({ "name": name, "resourceVersion": "1" }), json!({}))))).await;
    }
    pair.send(within(list())).await;
    pair.send(within(delete("x"))).await;
    pair.send(within(delete("x"))).await;
    pair.send(within(watch()).query("timeoutSeconds=1")).await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn requests_to_missing_namespaces() {
    compare(async |pair| {
        pair.send_as("x", post(held("x", "a"))).await;
        for namespace in ["missing", "Not-a-name", "-"] {
            pair.case(namespace);
            everything(pair, namespace).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn requests_to_a_terminating_namespace() {
    compare(async |pair| {
        let going = pair.another_namespace().await;
        pair.send_as("x", post(held("x", "a")).within(&going)).await;
        pair.terminate_namespace(&going).await;
        pair.wait_for_caches().await;
        everything(pair, &going).await;
    })
    .await;
}

//! The start, the events and the end of watches.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::pair::{Pair, compare, compare_alone};
use crate::request::{apply, delete, get, held, lease, list, merge, post, put, watch};

const X: &str = "fieldSelector=metadata.name%3Dx";

/// Writes to "x" and "y", with a deletion of "x" among them.
async fn history(pair: &mut Pair) {
    pair.send_as("x", post(held("x", "a"))).await;
    pair.send(post(lease(json!({ "name": "y", "labels": { "a": "1" } }), json!({})))).await;
    pair.send(merge("x", json!({ "spec": { "holderIdentity": "b" } }))).await;
    pair.send(merge("x", json!({ "spec": { "holderIdentity": "b" } }))).await;
    pair.send_as("before", merge("y", json!({ "metadata": { "labels": { "a": "2" } } }))).await;
    pair.send(delete("x")).await;
    pair.send_as("again", post(held("x", "c"))).await;
    pair.send_as("last", merge("y", json!({ "metadata": { "labels": { "a": "1" } } }))).await;
    pair.wait_for_caches().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn watches_from_any_version() {
    compare(async |pair| {
        history(pair).await;
        let mut watches = Vec::new();
        for version in [
            "",
            "0",
            "<x.rv>",
            "<before.rv>",
            "<again.rv>",
            "<last.rv>",
            "<last.rv>000000",
            "nonsense",
            "-1",
            "99999999999999999999999",
        ] {
            let watch = watch().query(&format!("timeoutSeconds=1&resourceVersion={version}"));
            watches.extend([watch.clone(), watch.clone().query(X), watch.query("labelSelector=a%3D1")]);
        }
        let unset = watch().query("timeoutSeconds=1");
        watches.extend([unset.clone(), unset.query(X)]);
        pair.send_all(watches).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn watches_from_forgotten_versions() {
    compare_alone(async |pair, plane| {
        pair.send(watch().query("timeoutSeconds=1&resourceVersion=1")).await;
        pair.send_as("x", post(held("x", "a"))).await;
        pair.send(merge("x", json!({ "spec": { "leaseTransitions": 1 } }))).await;
        pair.forget(plane).await;
        pair.send_as("y", post(held("y", "a"))).await;
        pair.wait_for_caches().await;
        let queries = [
            "resourceVersion=1",
            "resourceVersion=<x.rv>",
            "resourceVersion=<x.rv>&allowWatchBookmarks=true",
            "resourceVersion=<x.rv>&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            "resourceVersion=<y.rv>",
            "resourceVersion=0",
        ];
        let request = |query: &&str| watch().query("timeoutSeconds=1").query(query);
        pair.send_all(queries.iter().map(request).collect()).await;
        pair.send(get("x").query("resourceVersion=1")).await;
        pair.send(list().query("resourceVersion=1")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn watches_of_later_changes() {
    compare(async |pair| {
        pair.send_as("x", post(held("x", "a"))).await;
        pair.wait_for_caches().await;
        for query in [
            "",
            "&resourceVersion=0",
            "&resourceVersion=<x.rv>",
            "&fieldSelector=metadata.name%3Dx",
            "&labelSelector=a",
        ] {
            pair.case(query);
            pair.meanwhile(watch().query(&format!("timeoutSeconds=2{query}")), async |pair| {
                sleep(Duration::from_millis(500)).await;
                pair.send_as("x", get("x")).await;
                let renewed = lease(
                    json!({ "name": "x", "resourceVersion": "<x.rv>", "labels": { "a": "1" } }),
                    json!({ "holderIdentity": "b" }),
                );
                pair.send(put("x", renewed)).await;
                pair.send(apply("y", "one", held("y", "a"))).await;
                pair.send(merge("x", json!({ "metadata": { "labels": null } }))).await;
                pair.send(delete("y")).await;
                pair.send(delete("x")).await;
                pair.send(post(held("x", "a"))).await;
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn watches_of_a_deletion_with_a_finalizer() {
    compare(async |pair| {
        pair.send_as("x", post(lease(json!({ "name": "x", "finalizers": ["a.b/c"] }), json!({})))).await;
        pair.send(delete("x")).await;
        pair.send(merge("x", json!({ "metadata": { "finalizers": null } }))).await;
        pair.wait_for_caches().await;
        pair.send(watch().query("timeoutSeconds=1&resourceVersion=<x.rv>")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn watches_with_bookmarks() {
    compare(async |pair| {
        history(pair).await;
        let mut watches = Vec::new();
        for seconds in [1, 2, 3, 5] {
            let watch = watch().query(&format!("allowWatchBookmarks=true&timeoutSeconds={seconds}"));
            let from_last = watch.clone().query("resourceVersion=<last.rv>");
            let of_x = watch.clone().query("resourceVersion=<x.rv>").query(X);
            watches.extend([watch, from_last, of_x]);
        }
        pair.send_all(watches).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn watches_that_list_first() {
    compare(async |pair| {
        history(pair).await;
        let queries = [
            "sendInitialEvents=true",
            "sendInitialEvents=true&allowWatchBookmarks=true",
            "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan",
            "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&resourceVersion=0",
            "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&resourceVersion=<last.rv>",
            "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&resourceVersion=<last.rv>000000",
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            "sendInitialEvents=false&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&resourceVersion=<x.rv>",
            "sendInitialEvents=false&allowWatchBookmarks=true",
            "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=Exact",
            "resourceVersionMatch=NotOlderThan",
        ];
        let request = |query: &&str| watch().query("timeoutSeconds=1").query(query);
        pair.send_all(queries.iter().map(request).collect()).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn watches_with_odd_options() {
    compare(async |pair| {
        pair.send(post(held("x", "a"))).await;
        pair.wait_for_caches().await;
        let queries = [
            "watch=true&timeoutSeconds=nonsense",
            "watch=true&timeoutSeconds=1.5",
            "watch=true&timeoutSeconds=1&fieldSelector=spec.a%3Db",
            "watch=true&timeoutSeconds=1&labelSelector=(",
            "watch=true&timeoutSeconds=1&watch=false",
            "watch=true&timeoutSeconds=1&limit=1",
            "watch=1&timeoutSeconds=1",
            "watch=True&timeoutSeconds=1",
            "watch=yes&timeoutSeconds=1",
            "watch=false&timeoutSeconds=1",
            "watch=0&timeoutSeconds=1",
            "watch=&timeoutSeconds=1",
        ];
        pair.send_all(queries.iter().map(|query| list().query(query)).collect()).await;
        pair.case("of one Lease by its path");
        pair.send(get("x").query("watch=true&timeoutSeconds=1")).await;
        pair.send(get("missing").query("watch=true&timeoutSeconds=1")).await;
    })
    .await;
}

//! Where watches start, what they tell, and how they end.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::{
    pair::{Pair, compare},
    request::{apply, delete, get, held, lease, merge, post, put, watch},
};

const X: &str = "fieldSelector=metadata.name%3Dx";

/// A life of "x", and some of "y".
async fn history(pair: &mut Pair) {
    pair.send_as("x", post(held("x", "a"))).await;
    pair.send(post(lease(json!({ "name": "y", "labels": { "a": "1" } }), json!({})))).await;
    pair.send(merge("x", json!({ "spec": { "holderIdentity": "b" } }))).await;
    pair.send(merge("x", json!({ "spec": { "holderIdentity": "b" } }))).await;
    pair.send_as("before", merge("y", json!({ "metadata": { "labels": { "a": "2" } } }))).await;
    pair.send(delete("x")).await;
    pair.send_as("again", post(held("x", "c"))).await;
    pair.send_as("last", merge("y", json!({ "metadata": { "labels": { "a": "1" } } }))).await;
    pair.settle().await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn from_any_version() {
    compare(async |pair| {
        history(pair).await;
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
            let query = format!("timeoutSeconds=1&resourceVersion={version}");
            pair.case(version);
            pair.send(watch().query(&query)).await;
            pair.send(watch().query(&query).query(X)).await;
            pair.send(watch().query(&query).query("labelSelector=a%3D1")).await;
        }
        pair.case("unset");
        pair.send(watch().query("timeoutSeconds=1")).await;
        pair.send(watch().query("timeoutSeconds=1").query(X)).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn from_long_ago() {
    compare(async |pair| {
        pair.send(post(held("x", "a"))).await;
        pair.settle().await;
        pair.send(watch().query("timeoutSeconds=1&resourceVersion=1")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn live() {
    compare(async |pair| {
        pair.send_as("x", post(held("x", "a"))).await;
        pair.settle().await;
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
async fn with_a_finalizer() {
    compare(async |pair| {
        pair.send_as("x", post(lease(json!({ "name": "x", "finalizers": ["a.b/c"] }), json!({})))).await;
        pair.send(delete("x")).await;
        pair.send(merge("x", json!({ "metadata": { "finalizers": null } }))).await;
        pair.settle().await;
        pair.send(watch().query("timeoutSeconds=1&resourceVersion=<x.rv>")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn with_bookmarks() {
    compare(async |pair| {
        history(pair).await;
        let query = "allowWatchBookmarks=true";
        for seconds in [1, 2, 3, 5] {
            let seconds = format!("timeoutSeconds={seconds}");
            pair.case(seconds.clone());
            pair.send(watch().query(query).query(&seconds).query("resourceVersion=<last.rv>")).await;
            pair.send(watch().query(query).query(&seconds)).await;
            pair.send(watch().query(query).query(&seconds).query("resourceVersion=<x.rv>").query(X)).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn that_list_first() {
    compare(async |pair| {
        history(pair).await;
        for query in [
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
        ] {
            pair.case(query);
            pair.send(watch().query("timeoutSeconds=1").query(query)).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn that_end_oddly() {
    compare(async |pair| {
        pair.send(post(held("x", "a"))).await;
        pair.settle().await;
        for query in [
            "timeoutSeconds=nonsense",
            "timeoutSeconds=-1",
            "timeoutSeconds=1.5",
            "timeoutSeconds=1&fieldSelector=spec.a%3Db",
            "timeoutSeconds=1&labelSelector=(",
            "timeoutSeconds=1&watch=false",
            "timeoutSeconds=1&limit=1",
        ] {
            pair.case(query);
            pair.send(watch().query(query)).await;
        }
        pair.case("of one Lease by its path");
        pair.send(get("x").query("watch=true&timeoutSeconds=1")).await;
        pair.send(get("missing").query("watch=true&timeoutSeconds=1")).await;
        for yes in ["1", "True", "yes", "false", "0", ""] {
            pair.case(format!("watch={yes}"));
            pair.send(crate::request::list().query(&format!("watch={yes}&timeoutSeconds=1"))).await;
        }
    })
    .await;
}

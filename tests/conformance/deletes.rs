//! Deletions, their preconditions and options.

use serde_json::json;

use crate::pair::compare;
use crate::request::{apply, delete, get, held, lease, merge, named, post, put};

const UID: &str = "11111111-2222-4333-8444-555555555555";

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn deletions_with_preconditions() {
    compare(async |pair| {
        let preconditions = [
            json!({ "uid": UID }),
            json!({ "resourceVersion": "<first.rv>" }),
            json!({ "uid": UID, "resourceVersion": "<now.rv>" }),
            json!({ "uid": "<now.uid>", "resourceVersion": "<first.rv>" }),
            json!({ "uid": UID, "resourceVersion": "<first.rv>" }),
            json!({ "resourceVersion": "nonsense" }),
            json!({ "resourceVersion": "0" }),
            json!({ "resourceVersion": "" }),
            json!({ "uid": "" }),
            json!({ "uid": "<now.uid>" }),
            json!({ "resourceVersion": "<now.rv>" }),
            json!({ "uid": "<now.uid>", "resourceVersion": "<now.rv>" }),
            json!({}),
            json!(null),
        ];
        for preconditions in preconditions {
            pair.case(format!("{preconditions}"));
            pair.send_as("first", put("x", held("x", "a"))).await;
            pair.send_as("now", merge("x", json!({ "spec": { "leaseTransitions": 1 } }))).await;
            pair.send(delete("x").json(json!({ "preconditions": preconditions })).dry()).await;
            pair.send(delete("x").json(json!({ "preconditions": preconditions }))).await;
            pair.send(get("x")).await;
            pair.send(delete("x")).await;
        }
        pair.case("of a missing Lease");
        pair.send(delete("x")).await;
        pair.send(delete("x").json(json!({ "preconditions": { "uid": UID } }))).await;
        pair.send(delete("x").dry()).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn deletions_with_options() {
    compare(async |pair| {
        for options in [
            r#"{"kind":"DeleteOptions","apiVersion":"v1"}"#,
            r#"{"kind":"DeleteOptions","apiVersion":"meta.k8s.io/v1"}"#,
            r#"{"kind":"DeleteOptions","apiVersion":"coordination.k8s.io/v1"}"#,
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
            r#"{"dryRun":["All"]}"#,
            r#"{"dryRun":["None"]}"#,
            r#"{"dryRun":[]}"#,
            r#"{"gracePeriodSeconds":0}"#,
            r#"{"gracePeriodSeconds":30}"#,
            r#"{"gracePeriodSeconds":-1}"#,
            r#"{"propagationPolicy":"Background"}"#,
            r#"{"propagationPolicy":"Nonsense"}"#,
            r#"{"orphanDependents":false}"#,
            r#"{"nonsense":1}"#,
            "nonsense",
            "{",
            "[]",
            "null",
            "{}",
            "",
        ] {
            pair.case(options);
            pair.send(put("x", held("x", "a"))).await;
            pair.send(delete("x").json(json!({})).text(options)).await;
            pair.send(get("x")).await;
            pair.send(delete("x")).await;
        }
        for query in [
            "gracePeriodSeconds=0",
            "gracePeriodSeconds=x",
            "propagationPolicy=Background",
            "propagationPolicy=x",
            "dryRun=All",
            "dryRun=x",
        ] {
            pair.case(query);
            pair.send(put("x", held("x", "a"))).await;
            pair.send(delete("x").query(query)).await;
            pair.send(get("x")).await;
            pair.send(delete("x")).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn deletions_that_wait_for_finalizers() {
    compare(async |pair| {
        pair.send_as("x", post(lease(json!({ "name": "x", "finalizers": ["a.b/c", "d.e/f"] }), json!({})))).await;
        pair.send(delete("x").dry()).await;
        pair.send_as("deleted", delete("x")).await;
        pair.send(delete("x")).await;
        pair.send(get("x")).await;
        pair.case("while finalizers remain");
        pair.send(post(held("x", "a"))).await;
        pair.send(put("x", held("x", "a"))).await;
        pair.send(put("x", lease(json!({ "name": "x", "uid": "<x.uid>", "resourceVersion": "<deleted.rv>", "finalizers": ["d.e/f", "g.h/i"] }), json!({})))).await;
        pair.send(apply("x", "one", named("x", json!({ "leaseTransitions": 1 })))).await;
        pair.send(merge("x", json!({ "metadata": { "finalizers": ["d.e/f"] } }))).await;
        pair.send(merge("x", json!({ "metadata": { "deletionTimestamp": null }, "spec": { "holderIdentity": "a" } }))).await;
        pair.case("the last finalizer is removed");
        pair.send(merge("x", json!({ "metadata": { "finalizers": null }, "spec": { "holderIdentity": "b" } })).dry()).await;
        pair.send(merge("x", json!({ "metadata": { "finalizers": null }, "spec": { "holderIdentity": "b" } }))).await;
        pair.send(get("x")).await;
        pair.send(post(held("x", "a"))).await;
    })
    .await;
}

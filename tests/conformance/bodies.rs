//! Invalid bodies and options.

use http::Method;
use serde_json::{Value, json};

use crate::pair::compare;
use crate::request::{apply, delete, get, held, lease, merge, named, post, put};

const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";

/// Types of other resources of the real server are left out, because our server has none.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn bodies_of_another_type() {
    compare(async |pair| {
        pair.send_as("x", post(held("x", "a"))).await;
        for (version, kind) in [
            (json!("coordination.k8s.io/v1"), json!("Pod")),
            (json!("coordination.k8s.io/v1"), json!("lease")),
            (json!("coordination.k8s.io/v1"), json!("")),
            (json!("coordination.k8s.io/v1"), Value::Null),
            (json!("coordination.k8s.io/v1beta1"), json!("Lease")),
            (json!("coordination.k8s.io/v2"), json!("Lease")),
            (json!("v1"), json!("Lease")),
            (json!(""), json!("")),
            (Value::Null, Value::Null),
            (json!(5), json!("Lease")),
            (json!("coordination.k8s.io/v1"), json!(5)),
            (Value::Null, json!("Pod")),
        ] {
            pair.case(format!("{version} {kind}"));
            let metadata = json!({ "name": "x", "resourceVersion": "<x.rv>" });
            let body = json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "spec": { "holderIdentity": "b" } });
            let mut new = body.clone();
            new["metadata"] = json!({ "name": "y" });
            pair.send(post(new).dry()).await;
            pair.send(put("x", body.clone()).dry()).await;
            pair.send(apply("x", "one", body.clone()).force().dry()).await;
            // The real server reads an object without a version as one of its internal version.
            if !version.is_null() && version != "" {
                pair.send(merge("x", body).dry()).await;
            }
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn bodies_that_are_no_object() {
    compare(async |pair| {
        pair.send(post(held("x", "a"))).await;
        for text in [
            "",
            "{",
            "null",
            "[]",
            "5",
            "\"text\"",
            "{}",
            "{\"metadata\":5}",
            "nonsense",
            "{\"a\":1}}",
            "{\"a\":1} {\"b\":2}",
        ] {
            pair.case(text);
            pair.send(post(json!({})).text(text).dry()).await;
            pair.send(put("x", json!({})).text(text).dry()).await;
            // The real server reads these as YAML, which our server does not support.
            if !text.ends_with("}}") && !text.contains("} {") {
                pair.send(apply("x", "one", json!({})).text(text).dry()).await;
            }
            pair.send(merge("x", json!({})).text(text).dry()).await;
            pair.send(merge("missing", json!({})).text(text).dry()).await;
        }
        pair.send(get("x")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn bodies_of_another_format() {
    compare(async |pair| {
        pair.send_as("x", post(held("x", "a"))).await;
        for kind in [
            "application/json; charset=utf-8",
            "application/json-patch+json",
            "application/strategic-merge-patch+json",
            "application/xml",
            "text/plain",
            "nonsense",
            "",
            MERGE,
            APPLY,
        ] {
            pair.case(kind);
            let body =
                lease(json!({ "name": "x", "resourceVersion": "<x.rv>" }), json!({ "holderIdentity": "a" }));
            pair.send(post(held("y", "a")).content_type(kind).dry()).await;
            pair.send(put("x", body.clone()).content_type(kind).dry()).await;
            if kind != "application/strategic-merge-patch+json" {
                pair.send(merge("x", json!({})).content_type(kind).dry()).await;
            }
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn bodies_that_disagree_with_the_path() {
    compare(async |pair| {
        pair.send_as("x", post(held("x", "a"))).await;
        for (name, metadata) in [
            ("x", json!({ "name": "y" })),
            ("x", json!({ "name": "" })),
            ("x", json!({})),
            ("x", Value::Null),
            ("x", json!({ "name": "x", "namespace": "default" })),
            ("x", json!({ "name": "x", "namespace": "<ns>" })),
            ("x", json!({ "name": "x", "namespace": "" })),
            ("new", json!({ "name": "y" })),
            ("new", json!({ "name": "new", "namespace": "default" })),
        ] {
            pair.case(format!("{name} {metadata}"));
            let body = lease(metadata, json!({ "holderIdentity": "b" }));
            let mut updated = body.clone();
            if !updated["metadata"].is_null() {
                updated["metadata"]["resourceVersion"] = "<x.rv>".into();
            }
            pair.send(put(name, body.clone()).dry()).await;
            pair.send(put(name, updated).dry()).await;
            pair.send(apply(name, "one", body.clone()).force().dry()).await;
            pair.send(merge(name, body.clone()).dry()).await;
            pair.send(post(body).dry()).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn writes_with_odd_options() {
    compare(async |pair| {
        pair.send_as("x", post(held("x", "a"))).await;
        let stored =
            lease(json!({ "name": "x", "resourceVersion": "<x.rv>" }), json!({ "holderIdentity": "a" }));
        let long = format!("fieldManager={}", "m".repeat(129));
        let longest = format!("fieldManager={}", "m".repeat(128));
        for option in [
            "dryRun=None",
            "dryRun=",
            "dryRun=All&dryRun=All",
            "dryRun=All&dryRun=None",
            "dryRun=All&fieldManager=",
            "dryRun=All&fieldManager=a%0Ab",
            "dryRun=All&fieldManager=%C3%BC",
            &format!("dryRun=All&{long}"),
            &format!("dryRun=All&{longest}"),
            "dryRun=All&force=true",
            "dryRun=All&force=false",
            "dryRun=All&force=nonsense",
            "dryRun=All&nonsense=true",
            "dryRun=All&fieldValidation=nonsense",
            "dryRun=All&pretty=true",
            "dryRun=All&timeout=10s",
        ] {
            pair.case(option);
            pair.send(post(held("y", "a")).query(option)).await;
            pair.send(delete("y")).await;
            pair.send(put("x", stored.clone()).query(option)).await;
            pair.send(merge("x", json!({})).query(option)).await;
            if !option.contains("fieldManager") {
                pair.send(apply("x", "one", held("x", "a")).query(option)).await;
            }
        }
        pair.case("an apply without a manager");
        let nobody = merge("x", named("x", json!({}))).content_type(APPLY);
        pair.send(nobody.clone()).await;
        pair.send(nobody.clone().query("fieldManager=")).await;
        pair.send(nobody.query("fieldManager=a%20b").force()).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn an_apply_in_yaml_that_is_json() {
    compare(async |pair| {
        pair.send(
            apply("x", "one", held("x", "a")).content_type("application/apply-patch+yaml; charset=utf-8"),
        )
        .await;
        pair.send(crate::request::Request::new(
            Method::PATCH,
            "/apis/coordination.k8s.io/v1/namespaces/<ns>/leases/x",
        ))
        .await;
    })
    .await;
}

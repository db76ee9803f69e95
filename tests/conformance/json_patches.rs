//! JSON Patches. A lock joins its queue by one.

use serde_json::{Value, json};

use crate::pair::{Pair, compare};
use crate::request::{Request, apply, delete, get, held, json_patch as patch, lease, named, post};

fn text(body: &str) -> Request {
    patch("x", json!([])).text(body)
}

fn test(path: &str, value: Value) -> Value {
    json!({ "op": "test", "path": path, "value": value })
}

fn add(path: &str, value: Value) -> Value {
    json!({ "op": "add", "path": path, "value": value })
}

/// A Lease "x" with annotations, labels and a finalizer.
async fn create(pair: &mut Pair) {
    let metadata = json!({
        "name": "x",
        "annotations": { "a/b": "1", "html": "<&>", "umlaut": "\u{e4}\u{2028}\u{1f600}\u{7f}\u{1}" },
        "labels": { "app": "test" },
        "finalizers": ["example.com/one", "example.com/two"],
    });
    let spec = json!({ "holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000001Z" });
    pair.send_as("x", post(lease(metadata, spec))).await;
    pair.expect(201);
}

/// Each list of operations alone, and what it leaves.
async fn try_each(lists: Vec<Value>) {
    compare(async |pair| {
        create(pair).await;
        for operations in lists {
            pair.case(operations.to_string());
            pair.send(patch("x", operations).dry()).await;
        }
        pair.send(get("x")).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn json_patches_with_tests() {
    try_each(vec![
        json!([test("/metadata/uid", json!("<x.uid>")), add("/metadata/annotations/new", json!("v"))]),
        json!([test("/metadata/uid", json!("other")), add("/metadata/annotations/new", json!("v"))]),
        json!([test("/metadata/uid", Value::Null), add("/metadata/annotations/new", json!("v"))]),
        json!([{ "op": "test", "path": "/metadata/uid" }]),
        json!([test("/metadata/resourceVersion", json!("<x.rv>"))]),
        json!([test("/metadata/resourceVersion", json!("1"))]),
        json!([test("/metadata/annotations/a~1b", json!("1"))]),
        json!([test("/metadata/annotations/a/b", json!("1"))]),
        json!([test("/metadata/annotations/a~0b", Value::Null)]),
        json!([test("/metadata/annotations/missing", Value::Null)]),
        json!([{ "op": "test", "path": "/metadata/annotations/missing" }]),
        json!([test("/metadata/annotations/missing", json!(""))]),
        json!([test("/metadata/missing/more", Value::Null)]),
        json!([test("/metadata/labels", json!({ "app": "test" }))]),
        json!([test("/metadata/labels", json!({}))]),
        json!([test("/metadata/finalizers", json!(["example.com/one", "example.com/two"]))]),
        json!([test("/metadata/finalizers", json!(["example.com/two", "example.com/one"]))]),
        json!([test("/metadata/finalizers/0", json!("example.com/one"))]),
        json!([test("/metadata/finalizers/-1", json!("example.com/two"))]),
        json!([test("/metadata/finalizers/2", Value::Null)]),
        json!([test("/metadata/finalizers/-", Value::Null)]),
        json!([test("/metadata/finalizers/one", Value::Null)]),
        json!([test("/metadata/annotations/html", json!("<&>"))]),
        json!([test("/metadata/annotations/umlaut", json!("\u{e4}\u{2028}\u{1f600}\u{7f}\u{1}"))]),
        json!([test("/spec/leaseDurationSeconds", json!(15))]),
        json!([test("/spec/leaseDurationSeconds", json!(15.0))]),
        json!([test("/spec/leaseDurationSeconds", json!("15"))]),
        json!([test("/spec/renewTime", json!("2026-01-01T00:00:00.000001Z"))]),
        json!([test("/spec/acquireTime", Value::Null)]),
        json!([test("/kind", json!("Lease"))]),
        json!([test("/apiVersion", json!("coordination.k8s.io/v1"))]),
        json!([test("", json!({}))]),
        json!([test("spec", json!({}))]),
    ])
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn json_patches_with_other_operations() {
    let operation = |op: &str, path: &str| json!([{ "op": op, "path": path, "value": "v" }]);
    let from = |op: &str, from: &str, path: &str| json!([{ "op": op, "from": from, "path": path }]);
    try_each(vec![
        json!([]),
        operation("add", "/metadata/annotations/a~1b"),
        operation("add", "/metadata/annotations/new"),
        operation("add", "/metadata/annotations/new/deep"),
        operation("add", "/metadata/missing/deep"),
        operation("add", "/metadata/missing"),
        operation("add", "/metadata/finalizers/-"),
        operation("add", "/metadata/finalizers/0"),
        operation("add", "/metadata/finalizers/3"),
        operation("add", "/metadata/finalizers/-4"),
        operation("add", ""),
        operation("add", "/"),
        operation("add", "metadata/annotations/new"),
        operation("replace", "/metadata/annotations/a~1b"),
        operation("replace", "/metadata/annotations/new"),
        operation("replace", "/metadata/missing/deep"),
        operation("replace", "/metadata/finalizers/2"),
        operation("replace", "/metadata/finalizers/1"),
        operation("replace", ""),
        json!([{ "op": "replace", "path": "", "value": [] }]),
        json!([{ "op": "replace", "path": "", "value": named("x", json!({})) }]),
        operation("remove", "/metadata/annotations/a~1b"),
        operation("remove", "/metadata/annotations/new"),
        operation("remove", "/metadata/annotations"),
        operation("remove", "/metadata/finalizers/0"),
        operation("remove", "/metadata/finalizers/2"),
        operation("remove", "/spec"),
        operation("remove", "/metadata"),
        from("move", "/metadata/annotations/a~1b", "/metadata/annotations/new"),
        from("move", "/metadata/annotations/new", "/metadata/annotations/newer"),
        from("move", "/metadata/labels", "/metadata/annotations"),
        from("move", "/metadata/annotations", "/metadata/annotations/new"),
        from("copy", "/spec/holderIdentity", "/metadata/annotations/new"),
        from("copy", "/metadata/annotations/new", "/metadata/annotations/newer"),
        from("copy", "/metadata/missing/new", "/metadata/annotations/newer"),
        from("copy", "/spec/leaseDurationSeconds", "/spec/leaseTransitions"),
        json!([{ "op": "move", "path": "/metadata/annotations/new" }]),
        json!([{ "op": "add", "value": "v" }]),
        json!([{ "op": "remove" }]),
        json!([{ "op": "add", "path": "/metadata/annotations/new" }]),
        json!([add("/metadata/annotations/new", Value::Null)]),
        json!([add("/metadata/annotations/new", json!(5))]),
        json!([add("/metadata/annotations/new", json!("<&>"))]),
        json!([add("/metadata/annotations", json!({})), add("/metadata/annotations/only", json!("v"))]),
        json!([add("/spec/holderIdentity", json!("b")), test("/spec/holderIdentity", json!("b"))]),
        json!([add("/spec/holderIdentity", json!("b")), test("/spec/holderIdentity", json!("a"))]),
        json!([add("/spec/leaseDurationSeconds", json!(0))]),
        json!([add("/spec/colour", json!("red"))]),
        operation("merge", "/spec/holderIdentity"),
        operation("Add", "/spec/holderIdentity"),
    ])
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn json_patches_of_the_identity() {
    try_each(vec![
        json!([add("/metadata/uid", json!("other"))]),
        json!([{ "op": "remove", "path": "/metadata/uid" }]),
        json!([add("/metadata/name", json!("y"))]),
        json!([{ "op": "remove", "path": "/metadata/name" }]),
        json!([add("/metadata/namespace", json!("default"))]),
        json!([{ "op": "remove", "path": "/metadata/namespace" }]),
        json!([add("/metadata/resourceVersion", json!("1"))]),
        json!([add("/metadata/resourceVersion", json!("<x.rv>"))]),
        json!([add("/metadata/resourceVersion", json!("nonsense"))]),
        json!([add("/metadata/resourceVersion", json!(""))]),
        json!([{ "op": "remove", "path": "/metadata/resourceVersion" }]),
        json!([add("/metadata/creationTimestamp", json!("2020-01-01T00:00:00Z"))]),
        json!([add("/metadata/generation", json!(7))]),
        json!([add("/metadata/deletionTimestamp", json!("2020-01-01T00:00:00Z"))]),
        json!([add("/metadata/managedFields", json!([]))]),
        json!([{ "op": "remove", "path": "/metadata/managedFields" }]),
        json!([add("/kind", json!("Pod"))]),
        json!([add("/apiVersion", json!("v1"))]),
    ])
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn json_patches_that_are_malformed() {
    compare(async |pair| {
        create(pair).await;
        for body in [
            "",
            "[",
            "null",
            "{}",
            "5",
            "\"text\"",
            "nonsense",
            "[null]",
            "[5]",
            "[[]]",
            "[{}]",
            "[{}] []",
            r#"[{"op":5,"path":"/kind","value":"Lease"}]"#,
            r#"[{"op":"test","path":5,"value":"Lease"}]"#,
            r#"[{"op":"move","path":"/kind","from":5}]"#,
            r#"[{"op":null,"path":"/kind"}]"#,
            r#"[{"op":"test","path":null}]"#,
            r#"[{"op":"test","path":"/kind","value":"Lease","colour":"red"}]"#,
            r#"[{"OP":"test","path":"/kind","value":"Lease"}]"#,
            r#"[{"op":"test","path":"/kind","value":"\u004cease"}]"#,
            r#"[{"op":"test","path":"/metadata/annotations/html","value":"\u003c\u0026\u003e"}]"#,
            r#"[{"op":"test","path":"/metadata/annotations/html","value":"\u003C\u0026\u003E"}]"#,
            r#"[{"op":"test","path":"/spec/leaseDurationSeconds","value":15.0}]"#,
            r#"[{"op":"test","path":"/spec/leaseDurationSeconds","value":1.5e1}]"#,
            r#" [ { "op" : "test" , "path" : "/metadata/labels" , "value" : { "app" : "test" } } ] "#,
        ] {
            for validation in ["Warn", "Ignore", "Strict"] {
                pair.case(format!("{body} {validation}"));
                pair.send(text(body).dry().query(&format!("fieldValidation={validation}"))).await;
            }
            pair.send(patch("missing", json!([])).text(body).dry()).await;
        }
        let too_many = json!(vec![test("/kind", json!("Lease")); 10_001]);
        pair.send(patch("x", too_many).dry()).await;
        pair.send(text("[]").content_type("application/json-patch+json; charset=utf-8").dry()).await;
        pair.send(text("[]").force().dry()).await;
        pair.send(
            patch("x", json!([add("/spec/colour", json!("red"))])).dry().query("fieldValidation=Strict"),
        )
        .await;
    })
    .await;
}

/// The order of a join: it is applied to the object as it is, whatever its version, and its writer becomes an updater.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn json_patches_beside_an_apply() {
    const JOINING: &str = "/metadata/annotations/example.com~1joining";
    compare(async |pair| {
        let spec = |holder: &str| json!({ "holderIdentity": holder, "leaseDurationSeconds": 15 });
        pair.send(patch("x", json!([add(JOINING, json!("1"))]))).await;
        pair.send_as("x", apply("x", "lock", named("x", spec("a")))).await;
        pair.case("without annotations");
        pair.send(patch("x", json!([add(JOINING, json!("1"))])).by("lock")).await;
        let created = [
            test("/metadata/uid", json!("<x.uid>")),
            test("/metadata/annotations", Value::Null),
            add("/metadata/annotations", json!({ "example.com/joining": "1" })),
        ];
        pair.send(patch("x", json!(created)).by("lock")).await;
        pair.send(patch("x", json!(created)).by("lock")).await;
        pair.case("a second join");
        let second = json!([
            test("/metadata/uid", json!("<x.uid>")),
            test(JOINING, json!("1")),
            { "op": "replace", "path": JOINING, "value": "1 2" },
        ]);
        pair.send(apply("x", "lock", named("x", spec("b")))).await;
        pair.send(patch("x", second.clone()).by("lock")).await;
        pair.send(patch("x", second).by("lock")).await;
        pair.case("a fold of the joins by an apply");
        let folded =
            |annotations: Value| lease(json!({ "name": "x", "annotations": annotations }), spec("b"));
        pair.send(
            apply("x", "lock", folded(json!({ "example.com/joining": "", "example.com/queue": "1 2" })))
                .force(),
        )
        .await;
        pair.send(patch("x", json!([test(JOINING, json!("")), add(JOINING, json!("3"))])).by("lock")).await;
        pair.send(apply("x", "lock", folded(json!({ "example.com/queue": "1 2" })))).await;
        pair.send(patch("x", json!([test(JOINING, json!("3")), add(JOINING, json!("3 4"))])).by("lock"))
            .await;
        pair.case("no change");
        pair.send(patch("x", json!([add(JOINING, json!("3 4"))])).by("lock")).await;
        pair.send(patch("x", json!([])).by("other")).await;
        pair.case("without annotations again");
        pair.send(patch("x", json!([{ "op": "remove", "path": JOINING }])).by("lock")).await;
        pair.send(patch("x", json!([{ "op": "remove", "path": "/metadata/annotations" }])).by("other")).await;
        pair.send(get("x")).await;
        pair.case("another object of the same name");
        pair.send(delete("x")).await;
        pair.send(post(held("x", "c"))).await;
        pair.send(patch("x", json!(created)).by("lock")).await;
        pair.send(patch("x", json!([add("/spec/holderIdentity", json!(""))])).by("lock")).await;
    })
    .await;
}

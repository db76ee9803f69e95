//! The facts about Leases and the Kubernetes API server on which the lock relies: one test for each fact.
//!
//! `src/lease_api.md` describes the same facts. These tests also compare its table with the server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]
#![allow(clippy::needless_pass_by_value, reason = "bodies are easier to read with json!() as an argument")]

#[allow(dead_code, reason = "shared with the conformance tests")]
#[path = "conformance/request.rs"]
mod request;
mod support;

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DeleteParams};
use request::{Request, apply, delete, get, held, json_patch, lease, list, merge, named, post, put, watch};
use serde_json::{Value, json};
use support::ControlPlane;
use tokio::time::sleep;

const ANOTHER_UID: &str = "11111111-2222-4333-8444-555555555555";
const FIELD_SELECTOR: &str = "fieldSelector=metadata.name%3Dx";
const LIST: &str = "example.com/list";

/// A client with a namespace of its own.
struct Session {
    client: Client,
    namespace: String,
}

impl Session {
    async fn new() -> Self {
        Self::on(ControlPlane::shared().await).await
    }

    async fn on(plane: &ControlPlane) -> Self {
        let mut config = plane.config().await;
        // The answers matter here, errors included: a client that retries would hide them.
        config.default_retry = false;
        Self { client: Client::try_from(config).unwrap(), namespace: plane.fresh_namespace().await }
    }

    /// The HTTP status of the answer, and its body: an object, or the list of the events of a watch.
    async fn send(&self, request: Request) -> (u16, Value) {
        let request = request.build(|text| text.replace("<ns>", &self.namespace));
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let answer = self.client.send(request).await.unwrap();
        let code = answer.status().as_u16();
        let body = answer.into_body().collect_bytes().await.unwrap();
        let objects = serde_json::Deserializer::from_slice(&body).into_iter();
        let mut objects: Vec<Value> = objects.map(Result::unwrap).collect();
        (code, if watches && code == 200 { objects.into() } else { objects.remove(0) })
    }

    async fn code(&self, request: Request) -> u16 {
        self.send(request).await.0
    }

    /// The object in the answer to a request that has to succeed.
    async fn ok(&self, request: Request) -> Value {
        let (code, object) = self.send(request).await;
        assert!(code < 300, "{code} {object}");
        object
    }

    /// The events of a watch that lasts one second, as type and object.
    async fn events(&self, query: &str) -> Vec<(String, Value)> {
        let (code, events) = self.send(watch().query(&format!("timeoutSeconds=1&{query}"))).await;
        assert_eq!(code, 200, "{events}");
        let event = |event: &Value| (event["type"].as_str().unwrap().to_owned(), event["object"].clone());
        events.as_array().unwrap().iter().map(event).collect()
    }
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn kinds(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(kind, _)| kind.as_str()).collect()
}

/// The rows of the table in the page: the write, and the answers to it.
fn table() -> Vec<(String, Vec<String>)> {
    let page = include_str!("../src/lease_api.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|line| {
        let mut cells =
            line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('*').to_owned());
        (cells.next().unwrap(), cells.collect())
    });
    rows.collect()
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn the_table_shows_the_answers_to_writes() {
    let session = Session::new().await;
    let (mut number, mut different) = (0, Vec::new());
    for (write, expected) in table() {
        let mut answers = Vec::new();
        for state in ["as read", "changed since", "created anew", "missing"] {
            number += 1;
            let name = format!("x{number}");
            let read = session.ok(post(held(&name, "a"))).await;
            if state == "changed since" {
                session.ok(merge(&name, json!({ "spec": { "leaseTransitions": 1 } }))).await;
            }
            if matches!(state, "created anew" | "missing") {
                session.ok(delete(&name)).await;
            }
            if state == "created anew" {
                session.ok(post(held(&name, "b"))).await;
            }
            let mut metadata = json!({ "name": name });
            let (verb, conditions) = write.split_once(", ").unwrap_or((&write, ""));
            if conditions.contains("version") {
                metadata["resourceVersion"] = read["metadata"]["resourceVersion"].clone();
            }
            if conditions.contains("uid") {
                metadata["uid"] = read["metadata"]["uid"].clone();
            }
            let body = lease(metadata, json!({ "holderIdentity": "me" }));
            answers.push(
                session
                    .code(match verb {
                        "PUT" => put(&name, body),
                        "apply" => apply(&name, "me", body).force(),
                        "merge" => merge(&name, body),
                        "POST" => post(body),
                        other => panic!("no such write: {other}"),
                    })
                    .await
                    .to_string(),
            );
        }
        if answers != expected {
            different.push(format!("| {write} | {} |", answers.join(" | ")));
        }
    }
    assert!(different.is_empty(), "the server differs from the table:\n{}", different.join("\n"));
    assert!(number >= 40, "the table has only {number} answers");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn an_apply_with_another_uid_is_invalid_if_the_lease_exists_and_a_conflict_if_not() {
    let session = Session::new().await;
    let read = session.ok(post(held("x", "a"))).await;
    let rv = &read["metadata"]["resourceVersion"];
    for (name, code, says) in [("x", 422, "field is immutable"), ("y", 409, "uid mismatch")] {
        let body = lease(json!({ "name": name, "uid": ANOTHER_UID, "resourceVersion": rv }), json!({}));
        let (answered, status) = session.send(apply(name, "me", body).force()).await;
        assert!(
            answered == code && status["message"].as_str().unwrap().contains(says),
            "{answered} {status}"
        );
    }
    let body = lease(json!({ "name": "x", "uid": ANOTHER_UID, "resourceVersion": rv }), json!({}));
    assert_eq!(session.code(put("x", body)).await, 409);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_write_without_a_change_makes_no_new_version() {
    let session = Session::new().await;
    let first = session.ok(apply("x", "me", held("x", "a")).force()).await;
    let again = session.ok(apply("x", "me", held("x", "a")).force()).await;
    let merged = session.ok(merge("x", json!({ "spec": { "holderIdentity": "a" } }))).await;
    let put_back = session.ok(put("x", first.clone())).await;
    for later in [again, merged, put_back] {
        assert_eq!(version(&later), version(&first));
    }
    let renewed = json!({ "holderIdentity": "a", "renewTime": "2020-01-01T00:00:00.000000Z" });
    assert!(version(&session.ok(apply("x", "me", named("x", renewed)).force()).await) > version(&first));
}

/// A Lease with this list in an annotation.
fn with_list(name: &str, list: &str) -> Value {
    lease(json!({ "name": name, "annotations": { LIST: list } }), json!({ "holderIdentity": "a" }))
}

/// A JSON Patch of the list in that annotation. It expects this object, and this list if there is one.
fn replace_list(name: &str, object: &Value, expected: Option<&str>, list: &str) -> Request {
    let path = format!("/metadata/annotations/{}", LIST.replace('/', "~1"));
    let mut operations =
        vec![json!({ "op": "test", "path": "/metadata/uid", "value": object["metadata"]["uid"] })];
    operations.extend(expected.map(|expected| json!({ "op": "test", "path": path, "value": expected })));
    operations.push(json!({ "op": "replace", "path": path, "value": list }));
    json_patch(name, operations.into())
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_json_patch_is_carried_out_on_the_live_object() {
    let session = Session::new().await;
    let read = session.ok(post(with_list("x", "1"))).await;
    let changed = session.ok(merge("x", json!({ "spec": { "holderIdentity": "b" } }))).await;
    let patched = session.ok(replace_list("x", &read, Some("1"), "1 2")).await;
    assert!(version(&patched) > version(&changed));
    assert_eq!(patched["metadata"]["annotations"][LIST], "1 2");
    assert_eq!(patched["spec"]["holderIdentity"], "b", "the change since the read stays");

    let events = session.events(&format!("{FIELD_SELECTOR}&resourceVersion={}", version(&changed))).await;
    assert_eq!(kinds(&events), ["MODIFIED"]);
    let event = &events[0].1;
    assert_eq!(version(event), version(&patched));
    assert_eq!(event["metadata"]["annotations"][LIST], "1 2");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_json_patch_with_a_failing_operation_changes_nothing() {
    let session = Session::new().await;
    let another = json!({ "metadata": { "uid": ANOTHER_UID } });
    let read = session.ok(post(with_list("x", "1"))).await;
    // The first operation alone would succeed.
    let change = json!({ "op": "replace", "path": "/spec/holderIdentity", "value": "b" });
    let missing_annotation = json!({ "op": "test", "path": "/metadata/annotations/missing", "value": "" });
    let missing_labels = json!({ "op": "replace", "path": "/metadata/labels/missing", "value": "v" });
    for refused in [
        replace_list("x", &another, Some("1"), "1 2"),
        replace_list("x", &another, None, "1 2"),
        replace_list("x", &read, Some("2"), "1 2"),
        json_patch("x", json!([change, missing_annotation])),
        json_patch("x", json!([change, missing_labels])),
    ] {
        let (code, status) = session.send(refused.clone()).await;
        assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{refused}: {status}");
        assert_eq!(session.ok(get("x")).await, read, "{refused}");
    }
    session.ok(delete("x")).await;
    assert_eq!(session.code(replace_list("x", &read, Some("1"), "1 2")).await, 404, "the Lease is missing");
    assert_eq!(session.code(get("x")).await, 404, "the patch does not create the Lease");
    session.ok(post(with_list("x", "1"))).await;
    assert_eq!(session.code(replace_list("x", &read, Some("1"), "1 2")).await, 422, "it was created anew");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_json_patch_of_a_missing_annotation_is_refused_only_by_a_test_or_without_other_annotations() {
    let session = Session::new().await;
    let annotated = |annotations: Value| lease(json!({ "name": "x", "annotations": annotations }), json!({}));
    for (annotations, expected, code) in [
        (json!({}), Some(""), 422),
        (json!({}), None, 422),
        (json!({ "other": "v" }), Some(""), 422),
        // RFC 6902 forbids this. The server adds the annotation.
        (json!({ "other": "v" }), None, 200),
    ] {
        let read = session.ok(post(annotated(annotations.clone()))).await;
        let patch = replace_list("x", &read, expected, "1");
        assert_eq!(session.code(patch.clone()).await, code, "{patch} of {annotations}");
        let list = session.ok(get("x")).await["metadata"]["annotations"][LIST].clone();
        assert_eq!(list == "1", code == 200, "{patch} of {annotations}: {list}");
        session.ok(delete("x")).await;
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn of_json_patches_that_expect_the_same_value_one_is_carried_out() {
    const PATCHES: usize = 16;
    let session = Session::new().await;
    let read = session.ok(post(with_list("x", "1"))).await;
    let patch = |expected: Option<&'static str>| {
        let (session, read) = (&session, &read);
        join_all((0..PATCHES).map(move |number| async move {
            session.code(replace_list("x", read, expected, &format!("1 by-{number}"))).await
        }))
    };
    let mut codes = patch(Some("1")).await;
    codes.sort_unstable();
    assert_eq!((codes[0], codes[1..].to_vec()), (200, vec![422; PATCHES - 1]));
    assert_eq!(patch(None).await, [200; PATCHES], "without the test, all of them are");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn after_a_json_patch_only_an_apply_with_force_sets_the_same_annotation() {
    let session = Session::new().await;
    let read = session.ok(apply("x", "me", with_list("x", "1")).force()).await;
    session.ok(replace_list("x", &read, Some("1"), "1 2").by("me")).await;
    assert_eq!(session.code(apply("x", "me", with_list("x", ""))).await, 409, "without force");
    let applied = session.ok(apply("x", "me", with_list("x", "")).force()).await;
    assert_eq!(applied["metadata"]["annotations"][LIST], "");
    session.ok(replace_list("x", &read, Some(""), "3").by("me")).await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn field_ownership_is_not_a_lock() {
    let session = Session::new().await;
    session.ok(apply("x", "one", held("x", "a"))).await;
    assert_eq!(session.code(apply("x", "two", held("x", "b"))).await, 409, "another manager, another value");
    assert_eq!(
        session.code(apply("x", "one", held("x", "b"))).await,
        200,
        "another process, the same manager"
    );
    assert_eq!(session.code(apply("x", "two", held("x", "b"))).await, 200, "another manager, the same value");
    assert_eq!(session.code(apply("x", "one", held("x", "c"))).await, 409, "owned by both now");
    assert_eq!(session.code(apply("x", "three", held("x", "d")).force()).await, 200, "by force");
    assert_eq!(
        session.code(merge("x", json!({ "spec": { "holderIdentity": "e" } }))).await,
        200,
        "by merging"
    );
    let current = session.ok(get("x")).await;
    let body = lease(current["metadata"].clone(), json!({ "holderIdentity": "f" }));
    assert_eq!(session.code(put("x", body)).await, 200, "by replacing");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn an_apply_removes_the_annotation_that_it_leaves_out_unless_another_manager_owns_it_too() {
    let session = Session::new().await;
    let noted = |note: &str| lease(json!({ "name": "x", "annotations": { "note": note } }), json!({}));
    let plain = || lease(json!({ "name": "x" }), json!({}));
    session.ok(apply("x", "one", noted("a"))).await;
    assert_eq!(session.ok(apply("x", "one", plain())).await["metadata"]["annotations"], Value::Null);

    session.ok(apply("x", "one", noted("b"))).await;
    session.ok(apply("x", "two", noted("b"))).await;
    assert_eq!(session.ok(apply("x", "one", plain())).await["metadata"]["annotations"]["note"], "b");

    let mut whole = session.ok(get("x")).await;
    whole["spec"] = json!({ "holderIdentity": "them" });
    let updated = session.ok(put("x", whole)).await;
    assert_eq!(updated["metadata"]["annotations"]["note"], "b", "a client that writes all that it has read");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn the_rules_for_a_spec() {
    let session = Session::new().await;
    session.ok(post(named("x", json!({})))).await;
    for (spec, code) in [
        (json!({ "holderIdentity": "" }), 200),
        (json!({ "holderIdentity": null, "leaseDurationSeconds": null, "renewTime": null }), 200),
        (json!({ "leaseDurationSeconds": 0 }), 422),
        (json!({ "leaseDurationSeconds": 1 }), 200),
        (json!({ "leaseDurationSeconds": i32::MAX }), 200),
        (json!({ "leaseTransitions": 5 }), 200),
        (json!({ "leaseTransitions": 4 }), 200),
        (json!({ "leaseTransitions": -1 }), 422),
    ] {
        assert_eq!(session.code(merge("x", json!({ "spec": spec }))).await, code, "{spec}");
    }
    let longest = vec!["a".repeat(63); 4].join(".")[..253].to_owned();
    assert_eq!(session.code(post(held(&longest, "a"))).await, 201);
    assert_eq!(session.code(post(held(&format!("{longest}a"), "a"))).await, 422);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_time_has_exactly_six_fractional_digits() {
    let session = Session::new().await;
    let read = session.ok(apply("x", "me", held("x", "a"))).await;
    for (time, fine) in [
        ("2020-01-01T00:00:00.123456Z", true),
        ("2020-01-01T02:00:00.123456+02:00", true),
        ("2020-01-01T00:00:00.123Z", false),
        ("2020-01-01T00:00:00.123456789Z", false),
        ("2020-01-01T00:00:00Z", false),
    ] {
        let spec = json!({ "holderIdentity": "a", "renewTime": time });
        let replaced = session.code(put("x", lease(read["metadata"].clone(), spec.clone())).dry()).await;
        let applied = session.code(apply("x", "me", named("x", spec.clone())).dry()).await;
        let merged = session.code(merge("x", json!({ "spec": spec })).dry()).await;
        let expected = if fine { (200, 200, 200) } else { (400, 500, 422) };
        assert_eq!((replaced, applied, merged), expected, "{time}");
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_time_may_lie_beyond_the_year_9999() {
    let session = Session::new().await;
    for (i, (given, served)) in [
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59.999999-23:59", "10000-01-01T23:58:59.999999Z"),
        ("0000-01-01T00:00:00.000000+23:59", "-0001-12-31T00:01:00.000000Z"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("x{i}");
        session.ok(post(named(&name, json!({ "renewTime": given })))).await;
        let read = session.ok(get(&name)).await;
        assert_eq!(read["spec"]["renewTime"], served);
        let (uid, version) = (&read["metadata"]["uid"], &read["metadata"]["resourceVersion"]);
        let metadata = json!({ "name": name, "uid": uid, "resourceVersion": version });
        let claim = json!({ "holderIdentity": "me", "renewTime": "2020-01-01T00:00:00.000000Z" });
        assert_eq!(session.code(apply(&name, "me", lease(metadata, claim)).force()).await, 200);
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn versions_rise_with_every_write_also_across_deletion() {
    let session = Session::new().await;
    let created = session.ok(post(held("x", "a"))).await;
    let other = session.ok(post(held("y", "a"))).await;
    session.ok(delete("x")).await;
    let events = session.events(&format!("{FIELD_SELECTOR}&resourceVersion={}", version(&created))).await;
    assert_eq!(kinds(&events), ["DELETED"]);
    let deleted = version(&events[0].1);
    let again = session.ok(post(held("x", "a"))).await;
    let versions = [version(&created), version(&other), deleted, version(&again)];
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert_ne!(created["metadata"]["uid"], again["metadata"]["uid"]);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_watch_sends_every_change_after_its_version() {
    let session = Session::new().await;
    let first = version(&session.ok(post(held("x", "a"))).await);
    session.ok(post(held("y", "a"))).await;
    let second = session.ok(merge("x", json!({ "spec": { "holderIdentity": "b" } }))).await;
    session.ok(merge("x", json!({ "metadata": { "labels": { "a": "b" } } }))).await;
    session.ok(delete("x")).await;
    let last = version(&session.ok(post(held("x", "c"))).await);
    sleep(Duration::from_millis(500)).await;

    let events = session.events(&format!("{FIELD_SELECTOR}&resourceVersion={first}")).await;
    assert_eq!(kinds(&events), ["MODIFIED", "MODIFIED", "DELETED", "ADDED"]);
    assert_eq!((version(&events[0].1), version(&events[3].1)), (version(&second), last));
    for any in ["", "&resourceVersion=0"] {
        let events = session.events(&format!("{FIELD_SELECTOR}{any}")).await;
        assert_eq!(
            (kinds(&events), version(&events[0].1)),
            (vec!["ADDED"], last),
            "the watch begins with the existing Lease"
        );
    }
    let future = session.events(&format!("{FIELD_SELECTOR}&resourceVersion={last}000000")).await;
    assert_eq!(kinds(&future), [""; 0], "there are no events");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_watch_from_a_compacted_version_gets_410_and_a_restart_forgets_most_versions() {
    let plane = ControlPlane::start().await;
    let session = Session::on(&plane).await;
    let read = version(&session.ok(post(held("x", "a"))).await);
    session.ok(merge("x", json!({ "spec": { "holderIdentity": "b" } }))).await;
    session.ok(post(held("z", "a"))).await;
    plane.restart().await;
    let session = Session { client: plane.client().await, ..session };
    let last = version(&session.ok(get("x")).await);
    session.ok(post(held("y", "a"))).await;
    sleep(Duration::from_millis(500)).await;
    for version in [1, read, last] {
        let events = session.events(&format!("{FIELD_SELECTOR}&resourceVersion={version}")).await;
        assert_eq!(kinds(&events), ["ERROR"], "from {version}");
        assert_eq!((&events[0].1["code"], &events[0].1["reason"]), (&json!(410), &json!("Expired")));
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn an_invalid_version_causes_an_internal_error() {
    let session = Session::new().await;
    let garbage = |name: &str| lease(json!({ "name": name, "resourceVersion": "x1" }), json!({}));
    let create = |name: &str| lease(json!({ "name": name, "resourceVersion": "1" }), json!({}));
    session.ok(post(held("x", "a"))).await;
    assert_eq!(session.code(put("missing", garbage("missing"))).await, 500);
    assert_eq!(session.code(post(create("x"))).await, 500, "although the Lease exists");
    assert_eq!(session.code(post(create("missing"))).await, 500);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_role_for_one_name_allows_creation_by_put_and_apply_but_not_by_post() {
    let plane = ControlPlane::shared().await;
    for (verbs, put_code, apply_code) in [
        (r#"["create", "update"]"#, 201, 403),
        (r#"["create", "patch"]"#, 403, 201),
        (r#"["update", "patch"]"#, 403, 403),
        (r#"["get", "watch", "list", "create", "update", "patch"]"#, 201, 201),
    ] {
        let admin = Session::on(plane).await;
        let user = format!("creator-{}", admin.namespace);
        plane.grant(&admin.namespace, &user, &role(verbs)).await;
        let session = Session { client: plane.client_as(&user).await, namespace: admin.namespace.clone() };
        assert_eq!(session.code(post(held("x", "a"))).await, 403, "POST with {verbs}");
        assert_eq!(session.code(put("x", held("x", "a"))).await, put_code, "PUT with {verbs}");
        let _ = admin.send(delete("x")).await;
        assert_eq!(session.code(apply("x", "me", held("x", "a"))).await, apply_code, "apply with {verbs}");
        let reads = if verbs.contains("watch") { 200 } else { 403 };
        for (read, code) in [
            (get("x"), reads),
            (list().query(FIELD_SELECTOR), reads),
            (watch().query("timeoutSeconds=1").query(FIELD_SELECTOR), reads),
            (list(), 403),
            (watch().query("timeoutSeconds=1"), 403),
        ] {
            assert_eq!(session.code(read.clone()).await, code, "{read} with {verbs}");
        }
    }
}

fn role(verbs: &str) -> String {
    format!(
        r#"
kind: Role
metadata: {{ name: one-lease }}
rules:
  - apiGroups: ["coordination.k8s.io"]
    resources: ["leases"]
    resourceNames: ["x"]
    verbs: {verbs}
"#
    )
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_namespace_that_is_being_deleted_accepts_updates_but_no_new_leases() {
    let session = Session::new().await;
    let read = session.ok(post(held("x", "a"))).await;
    let namespaces = Api::<Namespace>::all(session.client.clone());
    namespaces.delete(&session.namespace, &DeleteParams::default()).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    for create in [put("y", held("y", "a")), apply("y", "me", held("y", "a")), post(held("y", "a"))] {
        let (code, status) = session.send(create).await;
        assert_eq!((code, &status["details"]["causes"][0]["reason"]), (403, &json!("NamespaceTerminating")));
    }
    assert_eq!(
        session.code(put("x", lease(read["metadata"].clone(), json!({ "holderIdentity": "b" })))).await,
        200
    );
    let nowhere = put("y", held("y", "a")).within("missing");
    let (code, status) = session.send(nowhere).await;
    assert_eq!((code, &status["details"]["kind"]), (404, &json!("namespaces")));
}

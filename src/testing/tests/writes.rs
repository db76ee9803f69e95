//! The conditions under which each write succeeds. The lock relies on every row of this table.

use kube::api::{DeleteParams, Preconditions};

use super::*;

const MODIFIED: &str = "Operation cannot be fulfilled on leases.coordination.k8s.io \"x\": the object has been \
    modified; please apply your changes to the latest version and try again";

/// "x", held by "b", with the version and the uid of the stored Lease if asked for.
fn claim(stored: &Lease, version: bool, uid: bool) -> Value {
    let mut metadata = json!({ "name": "x" });
    if version {
        metadata["resourceVersion"] = stored.metadata.resource_version.clone().into();
    }
    if uid {
        metadata["uid"] = stored.metadata.uid.clone().into();
    }
    config(metadata, json!({ "holderIdentity": "b" }))
}

fn as_lease(value: Value) -> Lease {
    serde_json::from_value(value).unwrap()
}

/// A fixture with "x", and "x" as it was read. In the fixture "x" is the same, changed, or deleted since.
fn matching() -> (Fixture, Lease) {
    let fixture = Fixture::with_lease();
    let seen = fixture.x();
    (fixture, seen)
}

fn stale() -> (Fixture, Lease) {
    let (fixture, seen) = matching();
    fixture.server.edit("default", "x", |lease| {
        lease.metadata.labels = Some([("by".to_owned(), "other".to_owned())].into());
    });
    (fixture, seen)
}

fn missing() -> (Fixture, Lease) {
    let (fixture, seen) = matching();
    fixture.server.delete("default", "x");
    (fixture, seen)
}

#[tokio::test(start_paused = true)]
async fn put_with_version_and_uid() {
    let (fixture, seen) = matching();
    let stored = fixture.put(&as_lease(claim(&seen, true, true))).await.unwrap();
    assert_eq!(fixture.last_status(), Some(200));
    assert_eq!(stored, fixture.x());
    assert_eq!(version(&stored), version(&seen) + 1);

    let (fixture, seen) = stale();
    let status = refusal(fixture.put(&as_lease(claim(&seen, true, true))).await);
    assert_eq!((status.code, &*status.reason, &*status.message), (409, "Conflict", MODIFIED));

    let (fixture, seen) = missing();
    let status = refusal(fixture.put(&as_lease(claim(&seen, true, true))).await);
    assert_eq!((status.code, &*status.reason), (409, "Conflict"));
}

#[tokio::test(start_paused = true)]
async fn put_with_version_alone_recreates() {
    let (fixture, seen) = matching();
    fixture.put(&as_lease(claim(&seen, true, false))).await.unwrap();
    assert_eq!(fixture.last_status(), Some(200));

    let (fixture, seen) = stale();
    assert_eq!(refusal(fixture.put(&as_lease(claim(&seen, true, false))).await).code, 409);

    let (fixture, seen) = missing();
    let created = fixture.put(&as_lease(claim(&seen, true, false))).await.unwrap();
    assert_eq!(fixture.last_status(), Some(201));
    assert_ne!(created.metadata.uid, seen.metadata.uid);
}

#[tokio::test(start_paused = true)]
async fn put_with_neither_creates_only() {
    let (fixture, seen) = matching();
    let status = refusal(fixture.put(&as_lease(claim(&seen, false, false))).await);
    assert_eq!((status.code, &*status.reason), (422, "Invalid"));
    assert_eq!(status.details.unwrap().causes[0].field, "metadata.resourceVersion");

    let (fixture, seen) = missing();
    fixture.put(&as_lease(claim(&seen, false, false))).await.unwrap();
    assert_eq!(fixture.last_status(), Some(201));
}

#[tokio::test(start_paused = true)]
async fn apply_with_version_and_uid() {
    let (fixture, seen) = matching();
    let stored = fixture.apply(&claim(&seen, true, true)).await.unwrap();
    assert_eq!(fixture.last_status(), Some(200));
    assert_eq!(stored, fixture.x());
    assert_eq!(fixture.holder().as_deref(), Some("b"));

    let (fixture, seen) = stale();
    let status = refusal(fixture.apply(&claim(&seen, true, true)).await);
    assert_eq!((status.code, &*status.message), (409, MODIFIED));
    assert_eq!(fixture.holder().as_deref(), Some("a"));

    let (fixture, seen) = missing();
    let status = refusal(fixture.apply(&claim(&seen, true, true)).await);
    assert_eq!((status.code, &*status.reason), (409, "Conflict"));
}

#[tokio::test(start_paused = true)]
async fn apply_with_version_alone_recreates() {
    let (fixture, seen) = matching();
    fixture.apply(&claim(&seen, true, false)).await.unwrap();
    assert_eq!(fixture.last_status(), Some(200));

    let (fixture, seen) = stale();
    assert_eq!(refusal(fixture.apply(&claim(&seen, true, false)).await).code, 409);

    let (fixture, seen) = missing();
    fixture.apply(&claim(&seen, true, false)).await.unwrap();
    assert_eq!(fixture.last_status(), Some(201));
}

#[tokio::test(start_paused = true)]
async fn apply_of_another_incarnation_is_refused() {
    let (fixture, seen) = missing();
    let again = fixture.server.put(lease("x", json!({ "holderIdentity": "c" })));
    let status = refusal(fixture.apply(&claim(&seen, true, true)).await);
    assert_eq!((status.code, &*status.message), (409, MODIFIED));
    // If the version matches by chance, as after a restore, the uid still does not.
    let mut claim = claim(&again, true, false);
    claim["metadata"]["uid"] = seen.metadata.uid.into();
    let status = refusal(fixture.apply(&claim).await);
    assert_eq!((status.code, &*status.reason), (422, "Invalid"));
    assert_eq!(status.details.unwrap().causes[0].field, "metadata.uid");
}

#[tokio::test(start_paused = true)]
async fn merge_patch_with_version() {
    let (fixture, seen) = matching();
    fixture.merge(&claim(&seen, true, false)).await.unwrap();
    assert_eq!(fixture.last_status(), Some(200));

    let (fixture, seen) = stale();
    assert_eq!(refusal(fixture.merge(&claim(&seen, true, false)).await).code, 409);
    let spec = json!({ "spec": { "holderIdentity": null } });
    fixture.merge(&spec).await.unwrap();
    assert_eq!(fixture.holder(), None);

    let (fixture, seen) = missing();
    let status = refusal(fixture.merge(&claim(&seen, true, false)).await);
    assert_eq!((status.code, &*status.reason), (404, "NotFound"));
    assert_eq!(status.message, "leases.coordination.k8s.io \"x\" not found");
}

/// Puts `value` into the annotation "joining" of the Lease with this uid, if the annotation has the value `old`.
async fn join(fixture: &Fixture, uid: &str, old: Value, value: &str) -> Result<Lease, Error> {
    let patch = json!([
        { "op": "test", "path": "/metadata/uid", "value": uid },
        { "op": "test", "path": "/metadata/annotations/joining", "value": old },
        { "op": "add", "path": "/metadata/annotations/joining", "value": value },
    ]);
    let target = "/apis/coordination.k8s.io/v1/namespaces/default/leases/x?fieldManager=lock";
    let request = http::Request::patch(target).header("content-type", "application/json-patch+json");
    fixture.link.client().request(request.body(patch.to_string().into_bytes()).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn json_patch_with_tests() {
    let (fixture, seen) = matching();
    let uid = seen.metadata.uid.unwrap();
    let status = refusal(join(&fixture, &uid, Value::Null, "1").await);
    assert_eq!((status.code, &*status.reason), (422, "Invalid"), "no annotations to add to");
    assert_eq!(status.message, "the server rejected our request due to an error in our request");

    fixture.server.edit("default", "x", |lease| {
        lease.metadata.annotations = Some([("by".to_owned(), "other".to_owned())].into());
    });
    let joined = join(&fixture, &uid, Value::Null, "1").await.unwrap();
    assert_eq!(fixture.last_status(), Some(200));
    assert_eq!(joined.metadata.annotations.as_ref().unwrap()["joining"], "1");
    assert_eq!(refusal(join(&fixture, &uid, Value::Null, "2").await).code, 422);
    assert_eq!(refusal(join(&fixture, "other", json!("1"), "2").await).code, 422);
    assert_eq!(join(&fixture, &uid, json!("1"), "1").await.unwrap(), joined, "no new version");
    let managers = joined.metadata.managed_fields.unwrap();
    let own = managers.iter().find(|entry| entry.manager.as_deref() == Some("lock")).unwrap();
    assert_eq!(own.operation.as_deref(), Some("Update"));

    fixture.server.delete("default", "x");
    assert_eq!(refusal(join(&fixture, &uid, json!("1"), "2").await).code, 404);
}

#[tokio::test(start_paused = true)]
async fn post_creates_only() {
    let (fixture, seen) = matching();
    let status = refusal(fixture.post(&as_lease(claim(&seen, false, false))).await);
    assert_eq!((status.code, &*status.reason), (409, "AlreadyExists"));
    assert_eq!(status.message, "leases.coordination.k8s.io \"x\" already exists");

    let (fixture, seen) = missing();
    let status = refusal(fixture.post(&as_lease(claim(&seen, true, false))).await);
    assert_eq!(status.code, 500);
    assert_eq!(status.message, "resourceVersion should not be set on objects to be created");
    fixture.post(&as_lease(claim(&seen, false, false))).await.unwrap();
    assert_eq!(fixture.last_status(), Some(201));
}

#[tokio::test(start_paused = true)]
async fn the_revision_rises_across_deletion() {
    let fixture = Fixture::with_lease();
    let first = version(&fixture.x());
    fixture.leases.delete("x", &DeleteParams::default()).await.unwrap();
    assert_eq!(fixture.server.revision(), first + 1);
    let again = fixture.post(&lease("x", json!({}))).await.unwrap();
    assert_eq!(version(&again), first + 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_without_a_change_makes_no_version() {
    let (fixture, seen) = matching();
    let renewed = fixture.apply(&claim(&seen, true, true)).await.unwrap();
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    assert_eq!(fixture.apply(&claim(&renewed, true, true)).await.unwrap(), renewed);
    assert_eq!(fixture.put(&renewed).await.unwrap(), renewed);
    assert_eq!(fixture.merge(&json!({ "spec": { "holderIdentity": "b" } })).await.unwrap(), renewed);
    assert_eq!(fixture.server.edit("default", "x", |_| {}), Some(renewed));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_changes_nothing() {
    let (fixture, seen) = matching();
    let params = PatchParams::apply("lock").force().dry_run();
    let patch = Patch::Apply(claim(&seen, true, true));
    let told = fixture.leases.patch("x", &params, &patch).await.unwrap();
    assert_eq!(told.spec.unwrap().holder_identity.as_deref(), Some("b"));
    fixture.leases.delete("x", &DeleteParams::default().dry_run()).await.unwrap();
    assert_eq!(fixture.x(), seen);
    assert!(fixture.link.requests().iter().all(|request| request.dry_run));

    let created =
        fixture.leases.patch("y", &params, &Patch::Apply(config(json!({ "name": "y" }), json!({})))).await;
    assert_eq!(created.unwrap().metadata.resource_version, None);
    assert_eq!(fixture.server.lease("default", "y"), None);
}

#[tokio::test(start_paused = true)]
async fn a_delete_obeys_its_preconditions() {
    let fixture = Fixture::with_lease();
    let preconditions = Preconditions { uid: Some("other".to_owned()), resource_version: None };
    let params = DeleteParams::default().preconditions(preconditions);
    let status = refusal(fixture.leases.delete("x", &params).await);
    assert_eq!((status.code, &*status.reason), (409, "Conflict"));
    let preconditions = Preconditions { uid: fixture.x().metadata.uid, resource_version: None };
    let params = DeleteParams::default().preconditions(preconditions);
    let done = fixture.leases.delete("x", &params).await.unwrap();
    assert!(done.is_right(), "a status, not an object");
    assert_eq!(refusal(fixture.leases.delete("x", &params).await).code, 404);
}

#[tokio::test(start_paused = true)]
async fn an_object_goes_with_its_last_finalizer() {
    let fixture = Fixture::with_lease();
    let finalizers = |list: Value| json!({ "metadata": { "finalizers": list } });
    fixture.merge(&finalizers(json!(["example.com/wait"]))).await.unwrap();
    let marked = fixture.leases.delete("x", &DeleteParams::default()).await.unwrap();
    assert!(marked.left().unwrap().metadata.deletion_timestamp.is_some());
    fixture.merge(&finalizers(Value::Null)).await.unwrap();
    assert_eq!(fixture.server.lease("default", "x"), None);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_until_the_last_finalizer_is_gone() {
    let fixture = Fixture::with_lease();
    let finalizers = |list: Value| json!({ "metadata": { "finalizers": list } });
    fixture.merge(&finalizers(json!(["a.b/c"]))).await.unwrap();
    fixture.leases.delete("x", &DeleteParams::default()).await.unwrap();
    let status = refusal(fixture.post(&lease("x", json!({}))).await);
    assert_eq!(status.message, "object is being deleted: leases.coordination.k8s.io \"x\" already exists");
    let more = refusal(fixture.merge(&finalizers(json!(["a.b/c", "d.e/f"]))).await);
    assert_eq!((more.code, &*more.reason), (422, "Invalid"));
}

#[tokio::test(start_paused = true)]
async fn invalid_objects_are_refused() {
    let fixture = Fixture::new();
    let status = refusal(fixture.post(&lease("x", json!({ "leaseDurationSeconds": 0 }))).await);
    assert_eq!((status.code, &*status.reason), (422, "Invalid"));
    assert!(status.message.contains("spec.leaseDurationSeconds: invalid value: 0"), "{}", status.message);
    let details = status.details.unwrap();
    assert_eq!((&*details.group, &*details.kind, &*details.name), ("coordination.k8s.io", "Lease", "x"));
    let cause = &details.causes[0];
    assert_eq!((&*cause.field, &*cause.reason), ("spec.leaseDurationSeconds", "FieldValueInvalid"));
    assert_eq!(refusal(fixture.post(&lease("X", json!({}))).await).code, 422);
}

#[tokio::test(start_paused = true)]
async fn requests_must_agree_with_their_path() {
    let fixture = Fixture::new();
    let status = refusal(fixture.put(&lease("y", json!({}))).await);
    assert_eq!((status.code, &*status.reason), (400, "BadRequest"));
    assert!(status.message.contains("\"y\"") && status.message.contains("\"x\""), "{}", status.message);
    let mut elsewhere = lease("x", json!({}));
    elsewhere.metadata.namespace = Some("elsewhere".to_owned());
    let status = refusal(fixture.put(&elsewhere).await);
    assert_eq!((status.code, &*status.reason), (400, "BadRequest"));
}

#[tokio::test(start_paused = true)]
async fn malformed_requests_are_refused() {
    const X: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases/x";
    let fixture = Fixture::new();
    let client = fixture.link.client();
    for (method, path, media_type, body, code) in [
        ("PUT", X, "application/json", "{", 400),
        ("PUT", X, "application/json", r#"{"metadata":{"name":"x"},"spec":{"holderIdentity":5}}"#, 400),
        ("PUT", X, "application/json", r#"{"apiVersion":"v1","kind":"Pod"}"#, 400),
        ("PATCH", X, "application/json", "[]", 415),
        ("PATCH", X, "application/apply-patch+yaml", "{}", 422),
        ("POST", X, "application/json", "{}", 405),
    ] {
        let request = http::Request::builder().method(method).uri(path).header("content-type", media_type);
        let request = request.body(body.as_bytes().to_vec()).unwrap();
        let status = refusal(client.request_text(request).await);
        assert_eq!(status.code, code, "{method} {path} {media_type} {body}: {status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn odd_options_are_refused() {
    const X: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases/x";
    let fixture = Fixture::with_lease();
    for (method, query, body, field) in [
        ("PUT", "dryRun=Some", "{}", "dryRun"),
        ("PUT", "dryRun=", "{}", "dryRun"),
        ("PUT", "fieldValidation=strict", "{}", "fieldValidation"),
        ("PUT", &format!("fieldManager={}", "m".repeat(129)), "{}", "fieldManager"),
        ("DELETE", "", r#"{"dryRun":["Some"]}"#, "dryRun"),
        ("DELETE", "propagationPolicy=Some", "", "propagationPolicy"),
    ] {
        let request = http::Request::builder().method(method).uri(format!("{X}?{query}"));
        let request = request.body(body.as_bytes().to_vec()).unwrap();
        let status = refusal(fixture.link.client().request_text(request).await);
        assert_eq!(status.code, 422, "{method} {query} {body}: {status:?}");
        assert_eq!(status.details.unwrap().causes[0].field, field);
    }
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_delete_overrides_its_query() {
    const X: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases/x?dryRun=All";
    let fixture = Fixture::with_lease();
    for (body, survives) in [("", true), ("{}", false)] {
        let request = http::Request::delete(X).body(body.as_bytes().to_vec()).unwrap();
        fixture.link.client().request_text(request).await.unwrap();
        assert_eq!(fixture.server.lease("default", "x").is_some(), survives, "{body:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_dropped() {
    let fixture = Fixture::with_lease();
    let unknown = json!({ "spec": { "colour": "red" } });
    let before = fixture.x();
    assert_eq!(fixture.merge(&unknown).await.unwrap(), before);
    let params = PatchParams::default().validation_strict();
    assert!(fixture.leases.patch("x", &params, &Patch::Merge(&unknown)).await.is_err());
    let status = refusal(fixture.apply_as("lock", json!({ "colour": "red" })).await);
    assert!(status.code == 500 && status.message.contains("spec.colour"), "{status:?}");
}

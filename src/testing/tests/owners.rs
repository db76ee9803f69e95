//! The owners of fields.

use super::*;

/// The manager, the operation and the spec fields of each owner.
fn owners(lease: &Lease) -> Vec<(String, String, Vec<String>)> {
    let entries = lease.metadata.managed_fields.iter().flatten();
    entries
        .map(|entry| {
            let fields = entry.fields_v1.as_ref().unwrap();
            let spec = fields.0["f:spec"].as_object().into_iter().flatten();
            (
                entry.manager.clone().unwrap(),
                entry.operation.clone().unwrap(),
                spec.map(|(name, _)| name[2..].to_owned()).collect(),
            )
        })
        .collect()
}

fn owner(manager: &str, operation: &str, fields: &[&str]) -> (String, String, Vec<String>) {
    let fields = fields.iter().map(ToString::to_string).collect();
    (manager.to_owned(), operation.to_owned(), fields)
}

#[tokio::test(start_paused = true)]
async fn an_apply_of_another_value_conflicts() {
    let fixture = Fixture::new();
    fixture.apply_as("one", json!({ "holderIdentity": "a" })).await.unwrap();
    let status = refusal(fixture.apply_as("two", json!({ "holderIdentity": "b" })).await);
    assert_eq!((status.code, &*status.reason), (409, "Conflict"));
    assert!(status.message.contains(".spec.holderIdentity of \"one\""), "{}", status.message);
    let cause = &status.details.unwrap().causes[0];
    assert_eq!((&*cause.reason, &*cause.field), ("FieldManagerConflict", ".spec.holderIdentity"));
    // Two clients with the same name are the same manager.
    fixture.apply_as("one", json!({ "holderIdentity": "b" })).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn several_conflicts_are_listed() {
    let fixture = Fixture::new();
    let spec = |holder: &str, n: i32| json!({ "holderIdentity": holder, "leaseTransitions": n });
    fixture.apply_as("one", spec("a", 1)).await.unwrap();
    let status = refusal(fixture.apply_as("two", spec("b", 2)).await);
    let causes = status.details.unwrap().causes;
    let fields: Vec<_> = causes.iter().map(|cause| cause.field.as_str()).collect();
    assert_eq!(fields, [".spec.holderIdentity", ".spec.leaseTransitions"]);
}

#[tokio::test(start_paused = true)]
async fn managers_that_apply_the_same_value_share_it() {
    let fixture = Fixture::new();
    let spec = json!({ "holderIdentity": "a" });
    let first = fixture.apply_as("one", spec.clone()).await.unwrap();
    let both = fixture.apply_as("two", spec).await.unwrap();
    assert_eq!(version(&both), version(&first) + 1);
    let mut names: Vec<_> = owners(&both).into_iter().map(|(name, ..)| name).collect();
    names.sort();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(refusal(fixture.apply_as("one", json!({ "holderIdentity": "b" })).await).code, 409);
    // When one manager drops the field, the other still owns it.
    fixture.apply_as("one", json!({})).await.unwrap();
    assert_eq!(fixture.holder().as_deref(), Some("a"));
    fixture.apply_as("two", json!({})).await.unwrap();
    assert_eq!(fixture.holder(), None);
}

#[tokio::test(start_paused = true)]
async fn force_takes_over() {
    let fixture = Fixture::new();
    fixture.apply_as("one", json!({ "holderIdentity": "a", "leaseTransitions": 1 })).await.unwrap();
    let config = config(json!({ "name": "x" }), json!({ "holderIdentity": "b" }));
    let lease = fixture.apply(&config).await.unwrap();
    let expected =
        [owner("lock", "Apply", &["holderIdentity"]), owner("one", "Apply", &["leaseTransitions"])];
    assert_eq!(owners(&lease), expected);
}

#[tokio::test(start_paused = true)]
async fn a_field_that_an_apply_no_longer_lists_is_removed() {
    let fixture = Fixture::new();
    fixture.apply_as("one", json!({ "holderIdentity": "a", "leaseTransitions": 1 })).await.unwrap();
    let lease = fixture.apply_as("one", json!({ "leaseTransitions": 1 })).await.unwrap();
    let spec = lease.spec.unwrap();
    assert_eq!((spec.holder_identity, spec.lease_transitions), (None, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn updates_never_conflict() {
    let fixture = Fixture::new();
    let mut lease =
        fixture.apply_as("one", json!({ "holderIdentity": "a", "leaseTransitions": 1 })).await.unwrap();
    lease.spec.as_mut().unwrap().holder_identity = Some("b".to_owned());
    let params = PostParams { field_manager: Some("two".to_owned()), ..PostParams::default() };
    let lease = fixture.leases.replace("x", &params, &lease).await.unwrap();
    let expected =
        [owner("one", "Apply", &["leaseTransitions"]), owner("two", "Update", &["holderIdentity"])];
    assert_eq!(owners(&lease), expected);

    let status = refusal(fixture.apply_as("one", json!({ "holderIdentity": "a" })).await);
    assert_eq!((status.code, &*status.details.unwrap().causes[0].field), (409, ".spec.holderIdentity"));

    let lease = fixture.merge(&json!({ "spec": { "leaseTransitions": 2 } })).await.unwrap();
    let expected =
        [owner("two", "Update", &["holderIdentity"]), owner("unknown", "Update", &["leaseTransitions"])];
    assert_eq!(owners(&lease), expected);
}

#[tokio::test(start_paused = true)]
async fn each_item_of_metadata_has_its_own_owner() {
    let fixture = Fixture::new();
    let apply = async |manager: &str, metadata: Value| {
        let params = PatchParams::apply(manager);
        let mut metadata = metadata;
        metadata["name"] = "x".into();
        fixture.leases.patch("x", &params, &Patch::Apply(config(metadata, json!({})))).await
    };
    let owned_by = |uid: &str| json!({ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid });
    apply("one", json!({ "labels": { "a": "1" }, "ownerReferences": [owned_by("1")] })).await.unwrap();
    let both = json!({ "labels": { "b": "2" }, "ownerReferences": [owned_by("2")], "finalizers": ["a.b/c"] });
    let lease = apply("two", both).await.unwrap();
    assert_eq!(lease.metadata.labels.as_ref().map(std::collections::BTreeMap::len), Some(2));
    assert_eq!(lease.metadata.owner_references.as_ref().map(Vec::len), Some(2));
    let status = refusal(apply("one", json!({ "labels": { "b": "3" } })).await);
    assert_eq!((status.code, &*status.details.unwrap().causes[0].field), (409, ".metadata.labels.b"));

    let lease = apply("two", json!({})).await.unwrap();
    assert_eq!(lease.metadata.labels, Some([("a".to_owned(), "1".to_owned())].into()));
    assert_eq!(lease.metadata.owner_references.map(|owners| owners[0].uid.clone()).as_deref(), Some("1"));
    assert_eq!(lease.metadata.finalizers, None);
}

#[tokio::test(start_paused = true)]
async fn an_empty_collection_is_owned_but_removes_nothing() {
    let fixture = Fixture::new();
    let apply = async |manager: &str, metadata: Value| {
        let params = PatchParams::apply(manager);
        let config = config(metadata, json!({}));
        let lease = fixture.leases.patch("x", &params, &Patch::Apply(config)).await;
        lease.unwrap().metadata.labels.map(|labels| labels.len())
    };
    let labelled = json!({ "name": "x", "labels": { "a": "1" } });
    assert_eq!(apply("one", labelled).await, Some(1));
    assert_eq!(apply("two", json!({ "name": "x", "labels": {} })).await, Some(1));
    assert_eq!(apply("two", json!({ "name": "x" })).await, Some(1));
    assert_eq!(apply("one", json!({ "name": "x" })).await, None);
}

#[tokio::test(start_paused = true)]
async fn collections_made_by_updates_are_fields_too() {
    let fixture = Fixture::new();
    let labelled =
        serde_json::from_value(json!({ "metadata": { "name": "x", "labels": { "a": "1" } } })).unwrap();
    let lease = fixture.post(&labelled).await.unwrap();
    let entries = lease.metadata.managed_fields.unwrap();
    let expected = json!({ "f:metadata": { "f:labels": { ".": {}, "f:a": {} } } });
    assert_eq!(entries[0].fields_v1.as_ref().unwrap().0, expected);
}

#[tokio::test(start_paused = true)]
async fn tracking_can_be_reset() {
    let fixture = Fixture::with_lease();
    let lease = fixture.merge(&json!({ "metadata": { "managedFields": [{}] } })).await.unwrap();
    assert_eq!(lease.metadata.managed_fields, None);
    let lease = fixture.apply_as("one", json!({ "leaseTransitions": 1 })).await.unwrap();
    let expected = [
        owner("one", "Apply", &["leaseTransitions"]),
        owner("before-first-apply", "Update", &["holderIdentity"]),
    ];
    assert_eq!(owners(&lease), expected);
}

#[tokio::test(start_paused = true)]
async fn an_apply_must_name_its_manager() {
    let fixture = Fixture::new();
    let params = PatchParams::default();
    let patch = Patch::Apply(config(json!({ "name": "x" }), json!({})));
    let status = refusal(fixture.leases.patch("x", &params, &patch).await);
    assert_eq!((status.code, &*status.reason), (422, "Invalid"));
    let details = status.details.unwrap();
    assert_eq!((&*details.kind, &*details.causes[0].field), ("PatchOptions", "fieldManager"));
}

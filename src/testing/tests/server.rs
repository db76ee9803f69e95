//! The operations of the administrator, and lists.

use kube::api::ListParams;

use super::*;

#[tokio::test(start_paused = true)]
async fn put_and_edit_keep_the_identity() {
    let fixture = Fixture::with_lease();
    let first = fixture.x();
    let second = fixture.server.put(lease("x", json!({ "holderIdentity": "b" })));
    assert_eq!(second.metadata.uid, first.metadata.uid);
    assert_eq!(second.metadata.creation_timestamp, first.metadata.creation_timestamp);
    let third = fixture.server.edit("default", "x", |lease| lease.spec = None).unwrap();
    assert_eq!((version(&second), version(&third)), (version(&first) + 1, version(&first) + 2));
    assert_eq!(fixture.server.edit("default", "y", |_| {}), None);
    assert!(fixture.server.delete("default", "x") && !fixture.server.delete("default", "x"));
}

#[tokio::test(start_paused = true)]
async fn somebody_else_takes_the_lease() {
    let fixture = Fixture::new();
    let created = fixture.server.take("default", "x", "a").spec.unwrap();
    assert_eq!((created.lease_duration_seconds, created.lease_transitions), (Some(15), Some(0)));
    fixture
        .server
        .edit("default", "x", |lease| lease.spec.as_mut().unwrap().lease_duration_seconds = Some(60));
    tokio::time::advance(std::time::Duration::from_secs(10)).await;

    let taken = fixture.server.take("default", "x", "b");
    assert_eq!(taken, fixture.x());
    let taken = taken.spec.unwrap();
    assert_eq!(taken.holder_identity.as_deref(), Some("b"));
    assert_eq!((taken.lease_duration_seconds, taken.lease_transitions), (Some(60), Some(1)));
    let (before, after) = (created.renew_time.unwrap().0, taken.renew_time.unwrap().0);
    assert!((10..12).contains(&after.duration_since(before).as_secs()), "{before}, {after}");
    assert_eq!(taken.acquire_time.unwrap().0, after);
}

#[tokio::test(start_paused = true)]
async fn an_administrator_can_write_invalid_leases() {
    let fixture = Fixture::new();
    let odd = json!({ "holderIdentity": "", "leaseDurationSeconds": 0, "leaseTransitions": -1 });
    fixture.server.put(lease("x", odd));
    let read = fixture.leases.get("x").await.unwrap();
    assert_eq!(read.spec.unwrap().lease_duration_seconds, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_through_its_phases() {
    let fixture = Fixture::new();
    let teams = Api::<Lease>::namespaced(fixture.link.client(), "team");
    let create = async || {
        let result = teams.create(&PostParams::default(), &lease("x", json!({}))).await;
        result.map(drop)
    };
    let status = refusal(create().await);
    assert_eq!((status.code, &*status.message), (404, "namespaces \"team\" not found"));

    fixture.server.create_namespace("team");
    create().await.unwrap();
    fixture.server.terminate_namespace("team");
    let status = refusal(create().await);
    assert_eq!((status.code, &*status.reason), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "leases.coordination.k8s.io \"x\" is forbidden: unable to create new content in namespace team because it is \
         being terminated"
    );
    let cause = &status.details.unwrap().causes[0];
    assert_eq!((&*cause.reason, &*cause.field), ("NamespaceTerminating", "metadata.namespace"));
    // An existing Lease can still be updated.
    let stored = teams.get("x").await.unwrap();
    teams.replace("x", &PostParams::default(), &stored).await.unwrap();

    fixture.server.delete_namespace("team");
    assert_eq!(teams.get_opt("x").await.unwrap(), None);
    assert_eq!(refusal(create().await).code, 404);
}

#[tokio::test(start_paused = true)]
async fn lists_honour_namespaces_and_selectors() {
    let fixture = Fixture::with_lease();
    fixture.server.put(lease("y", json!({})));
    let mut elsewhere = lease("x", json!({}));
    elsewhere.metadata.namespace = Some("elsewhere".to_owned());
    fixture.server.put(elsewhere);

    let all = Api::<Lease>::all(fixture.link.client());
    assert_eq!(all.list(&ListParams::default()).await.unwrap().items.len(), 3);
    let list = fixture.leases.list(&ListParams::default().fields("metadata.name=x")).await.unwrap();
    assert_eq!(list.items, [fixture.x()]);
    assert_eq!(list.metadata.resource_version, Some(fixture.server.revision().to_string()));
    let status = refusal(fixture.leases.list(&ListParams::default().fields("spec.holderIdentity=a")).await);
    assert_eq!(status.code, 400);
}

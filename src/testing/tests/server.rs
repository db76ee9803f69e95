//! What an administrator does, and reads.

use kube::api::ListParams;

use super::*;

#[tokio::test(start_paused = true)]
async fn put_and_edit_keep_the_identity() {
    let world = World::with_lease();
    let first = world.x();
    let second = world.server.put(lease("x", json!({ "holderIdentity": "b" })));
    assert_eq!(second.metadata.uid, first.metadata.uid);
    assert_eq!(second.metadata.creation_timestamp, first.metadata.creation_timestamp);
    let third = world.server.edit("default", "x", |lease| lease.spec = None).unwrap();
    assert_eq!((version(&second), version(&third)), (version(&first) + 1, version(&first) + 2));
    assert_eq!(world.server.edit("default", "y", |_| {}), None);
    assert!(world.server.delete("default", "x") && !world.server.delete("default", "x"));
}

#[tokio::test(start_paused = true)]
async fn an_administrator_may_write_nonsense() {
    let world = World::new();
    let odd = json!({ "holderIdentity": "", "leaseDurationSeconds": 0, "leaseTransitions": -1 });
    world.server.put(lease("x", odd));
    let read = world.leases.get("x").await.unwrap();
    assert_eq!(read.spec.unwrap().lease_duration_seconds, Some(0));
}

#[tokio::test(start_paused = true)]
async fn namespaces_come_and_go() {
    let world = World::new();
    let teams = Api::<Lease>::namespaced(world.link.client(), "team");
    let create = async || {
        let result = teams.create(&PostParams::default(), &lease("x", json!({}))).await;
        result.map(drop)
    };
    let status = refusal(create().await);
    assert_eq!((status.code, &*status.message), (404, "namespaces \"team\" not found"));

    world.server.create_namespace("team");
    create().await.unwrap();
    world.server.terminate_namespace("team");
    let status = refusal(create().await);
    assert_eq!((status.code, &*status.reason), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "leases.coordination.k8s.io \"x\" is forbidden: unable to create new content in namespace team because it is \
         being terminated"
    );
    let cause = &status.details.unwrap().causes[0];
    assert_eq!((&*cause.reason, &*cause.field), ("NamespaceTerminating", "metadata.namespace"));
    // What is there can still be updated.
    let stored = teams.get("x").await.unwrap();
    teams.replace("x", &PostParams::default(), &stored).await.unwrap();

    world.server.delete_namespace("team");
    assert_eq!(teams.get_opt("x").await.unwrap(), None);
    assert_eq!(refusal(create().await).code, 404);
}

#[tokio::test(start_paused = true)]
async fn lists_select() {
    let world = World::with_lease();
    world.server.put(lease("y", json!({})));
    let mut elsewhere = lease("x", json!({}));
    elsewhere.metadata.namespace = Some("elsewhere".to_owned());
    world.server.put(elsewhere);

    let all = Api::<Lease>::all(world.link.client());
    assert_eq!(all.list(&ListParams::default()).await.unwrap().items.len(), 3);
    let list = world.leases.list(&ListParams::default().fields("metadata.name=x")).await.unwrap();
    assert_eq!(list.items, [world.x()]);
    assert_eq!(list.metadata.resource_version, Some(world.server.revision().to_string()));
    let status = refusal(world.leases.list(&ListParams::default().fields("spec.holderIdentity=a")).await);
    assert_eq!(status.code, 400);
}

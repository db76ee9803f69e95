//! What the server does not do, it says.

use kube::api::{DeleteParams, ListParams};

use super::*;

fn says_so<T: std::fmt::Debug>(result: Result<T, Error>) {
    let status = refusal(result);
    assert_eq!(status.code, 501, "{status:?}");
    assert!(status.message.starts_with("not supported by the in-process server: "), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn pages_and_the_past() {
    let world = World::with_lease();
    let past = world.server.revision().to_string();
    world.server.put(lease("y", json!({})));
    assert_eq!(world.leases.list(&ListParams::default().limit(2)).await.unwrap().items.len(), 2);
    says_so(world.leases.list(&ListParams::default().limit(1)).await);
    says_so(world.leases.list(&ListParams::default().continue_token("token")).await);
    says_so(
        world.leases.list(&ListParams::default().at(&past).matching(kube::api::VersionMatch::Exact)).await,
    );
}

#[tokio::test(start_paused = true)]
async fn other_forms_of_an_object() {
    let world = World::with_lease();
    says_so(world.leases.get_metadata("x").await);
    says_so(world.leases.list_metadata(&ListParams::default()).await);
    let patch: Patch<Value> = Patch::Strategic(json!({}));
    says_so(world.leases.patch("x", &PatchParams::default(), &patch).await);
}

#[tokio::test(start_paused = true)]
async fn names_of_its_own_and_the_deletion_of_all() {
    let world = World::with_lease();
    let mut unnamed = lease("x", json!({}));
    unnamed.metadata.name = None;
    unnamed.metadata.generate_name = Some("x-".to_owned());
    says_so(world.post(&unnamed).await);
    says_so(world.leases.delete_collection(&DeleteParams::default(), &ListParams::default()).await);
    assert!(world.server.lease("default", "x").is_some());
}

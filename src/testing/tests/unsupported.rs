//! The server refuses what it does not support.

use kube::api::{DeleteParams, ListParams};

use super::*;

fn assert_unsupported<T: std::fmt::Debug>(result: Result<T, Error>) {
    let status = refusal(result);
    assert_eq!(status.code, 501, "{status:?}");
    assert!(status.message.starts_with("not supported by the in-process server: "), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn lists_in_pages_and_of_the_past_are_unsupported() {
    let fixture = Fixture::with_lease();
    let past = fixture.server.revision().to_string();
    fixture.server.put(lease("y", json!({})));
    assert_eq!(fixture.leases.list(&ListParams::default().limit(2)).await.unwrap().items.len(), 2);
    assert_unsupported(fixture.leases.list(&ListParams::default().limit(1)).await);
    assert_unsupported(fixture.leases.list(&ListParams::default().continue_token("token")).await);
    assert_unsupported(
        fixture.leases.list(&ListParams::default().at(&past).matching(kube::api::VersionMatch::Exact)).await,
    );
}

#[tokio::test(start_paused = true)]
async fn metadata_and_strategic_patches_are_unsupported() {
    let fixture = Fixture::with_lease();
    assert_unsupported(fixture.leases.get_metadata("x").await);
    assert_unsupported(fixture.leases.list_metadata(&ListParams::default()).await);
    let patch: Patch<Value> = Patch::Strategic(json!({}));
    assert_unsupported(fixture.leases.patch("x", &PatchParams::default(), &patch).await);
}

#[tokio::test(start_paused = true)]
async fn generated_names_and_the_deletion_of_a_collection_are_unsupported() {
    let fixture = Fixture::with_lease();
    let mut unnamed = lease("x", json!({}));
    unnamed.metadata.name = None;
    unnamed.metadata.generate_name = Some("x-".to_owned());
    assert_unsupported(fixture.post(&unnamed).await);
    assert_unsupported(
        fixture.leases.delete_collection(&DeleteParams::default(), &ListParams::default()).await,
    );
    assert!(fixture.server.lease("default", "x").is_some());
}

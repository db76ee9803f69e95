//! Who owns the fields of the record, on a real server.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::cluster::{Cluster, LEASE_DURATION};
use crate::fixture::acquire;

const SECOND: Duration = Duration::from_secs(1);

/// The manager of each set of fields, its operation, and whether it owns the `renewTime`.
async fn owners(cluster: &Cluster) -> Vec<(String, String, bool)> {
    let managed = cluster.lease().await.unwrap().metadata.managed_fields.unwrap_or_default();
    let owner = |entry: ManagedFieldsEntry| {
        let fields = serde_json::to_value(entry.fields_v1).unwrap();
        let owns = !fields["f:spec"]["f:renewTime"].is_null();
        (entry.manager.unwrap_or_default(), entry.operation.unwrap_or_default(), owns)
    };
    managed.into_iter().map(owner).collect()
}

/// Renewals that lost a race are written by another kind of patch. The next ones own the record as before, and neither changes what
/// others have written.
async fn renewals_after_lost_races_own_the_record_as_before(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    let raced = async {
        for number in 0_u64.. {
            let edit = json!({ "metadata": { "labels": { "number": number.to_string() } } });
            cluster.edit(edit).await;
            let by_patch = |(manager, operation, owns): &(String, String, bool)| {
                manager == "kube-lease-lock" && operation == "Update" && *owns
            };
            if number % 20 == 0 && owners(&cluster).await.iter().any(by_patch) {
                return number;
            }
        }
        unreachable!()
    };
    let number = timeout(20 * SECOND, raced).await.expect("a renewal should have lost a race");
    sleep(LEASE_DURATION).await;
    assert!(guard.is_held(), "{}", guard.lost().await);
    let of_record: Vec<_> = owners(&cluster).await.into_iter().filter(|(_, _, owns)| *owns).collect();
    assert_eq!(of_record, [("kube-lease-lock".into(), "Apply".into(), true)]);
    let labels = cluster.lease().await.unwrap().metadata.labels.unwrap();
    assert_eq!(labels["number"], number.to_string());
    guard.release().await.unwrap();
    acquire(&cluster.lock()).await.release().await.unwrap();
}

mod real {
    #[tokio::test]
    #[ignore = "needs a Kubernetes API server"]
    async fn renewals_after_lost_races_own_the_record_as_before() {
        super::renewals_after_lost_races_own_the_record_as_before(crate::cluster::Cluster::real().await)
            .await;
    }
}

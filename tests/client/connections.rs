//! How many TLS handshakes the lock pays for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams, PostParams, WatchParams};
use kube::client::ConfigExt;
use kube::{Api, Client, Config};
use kube_lease_lock::lock_client;
use serde_json::json;
use tokio::time::sleep;
use tower::ServiceExt;

use crate::support::ControlPlane;

/// Longer than any pause between two renewals with the default settings.
const REST: Duration = Duration::from_secs(15);

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_write_after_a_rest_finds_a_connection() {
    let plane = ControlPlane::shared().await;
    let (client, connections) = counted(&plane.config().await);
    let leases: Api<Lease> = Api::namespaced(client, &plane.fresh_namespace().await);
    let lease = json!({ "metadata": { "name": "a" } });
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();

    // The watch takes the connection of the first request, and keeps it.
    let mut watch = leases.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    watch.next().await.unwrap().unwrap();
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    renew(&leases, "first").await;
    assert_eq!(connections.load(Ordering::Relaxed), 2);

    sleep(REST).await;
    let start = Instant::now();
    renew(&leases, "second").await;
    println!("a write after {REST:?} takes {:?}", start.elapsed());
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

/// A client, and how often it has connected.
fn counted(config: &Config) -> (Client, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let client = lock_client(config, |config, tcp| {
        let tapped = tcp.map_request(move |address| {
            counter.fetch_add(1, Ordering::Relaxed);
            address
        });
        config.rustls_https_connector_with_connector(tapped)
    });
    (client.unwrap(), connections)
}

async fn renew(leases: &Api<Lease>, holder: &str) {
    let patch = Patch::Merge(json!({ "spec": { "holderIdentity": holder } }));
    leases.patch("a", &PatchParams::default(), &patch).await.unwrap();
}

//! How many connections, and so TLS handshakes, the client needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use http::Version;
use hyper_rustls::HttpsConnectorBuilder;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams, WatchParams};
use kube::client::ConfigExt;
use kube_lease_lock::lock_client_with_connector;
use serde_json::json;
use tokio::time::sleep;
use tower::ServiceExt;

use crate::support::ControlPlane;

/// Longer than any pause between two renewals with the default settings.
const PAUSE: Duration = Duration::from_secs(15);

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn over_http_1_a_write_after_a_pause_reuses_a_connection() {
    let (leases, connections) = counted(Version::HTTP_11).await;
    create(&leases).await;

    // The watch occupies the connection of the first request.
    let mut watch = leases.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    watch.next().await.unwrap().unwrap();
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    renew(&leases, "first").await;
    assert_eq!(connections.load(Ordering::Relaxed), 2);

    sleep(PAUSE).await;
    let start = Instant::now();
    renew(&leases, "second").await;
    println!("a write after {PAUSE:?} takes {:?}", start.elapsed());
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn over_http_2_watches_and_writes_share_connections() {
    let (leases, connections) = counted(Version::HTTP_2).await;
    create(&leases).await;
    let params = WatchParams::default();
    let mut watches = Vec::new();
    for _ in 0..160 {
        watches.push(leases.watch(&params, "0").await.unwrap().boxed());
    }
    assert_eq!(connections.load(Ordering::Relaxed), 4, "50 on each");
    try_join_all(watches.iter_mut().map(TryStreamExt::try_next)).await.unwrap();
    renew(&leases, "first").await;
    for watch in &mut watches {
        watch.try_next().await.unwrap().expect("the renewal");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 4);
}

/// A client, and the number of connections that it has opened.
async fn counted(version: Version) -> (Api<Lease>, Arc<AtomicUsize>) {
    let plane = ControlPlane::shared().await;
    let config = plane.config().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let count = move |address| {
        counter.fetch_add(1, Ordering::Relaxed);
        address
    };
    let client = match version {
        Version::HTTP_2 => {
            let tls = config.rustls_client_config().unwrap();
            let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
            let builder = builder.enable_all_versions();
            lock_client_with_connector(&config, |_, tcp| Ok(builder.wrap_connector(tcp.map_request(count))))
        }
        _ => lock_client_with_connector(&config, |config, tcp| {
            config.rustls_https_connector_with_connector(tcp.map_request(count))
        }),
    };
    (Api::namespaced(client.unwrap(), &plane.fresh_namespace().await), connections)
}

async fn create(leases: &Api<Lease>) {
    let lease = json!({ "metadata": { "name": "a" } });
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
}

async fn renew(leases: &Api<Lease>, holder: &str) {
    let patch = Patch::Merge(json!({ "spec": { "holderIdentity": holder } }));
    leases.patch("a", &PatchParams::default(), &patch).await.unwrap();
}

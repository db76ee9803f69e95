//! The latency of the first request on a new connection, with the client for locks and with an ordinary client.
//!
//! An ordinary client waits there for an acknowledgement before it sends the end of the request. On connections that
//! are already open the two are alike. The benchmarks compare both kinds of client in the groups `floor` and
//! `handover`.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, Config};
use kube_lease_lock::lock_client;

use crate::support::ControlPlane;

const REQUESTS: usize = 100;

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn latency_of_new_connections() {
    let plane = ControlPlane::shared().await;
    let config = plane.config().await;
    let (mut lock_client_times, mut ordinary_times) = (Vec::new(), Vec::new());
    // By turns, so that both clients meet the same load of the machine.
    for _ in 0..REQUESTS {
        lock_client_times.push(first_request(lock_client(&config).unwrap()).await);
        ordinary_times.push(first_request(ordinary_client(&config)).await);
    }
    println!("{REQUESTS} first requests       p50      p99      max [ms]");
    let ordinary_median = print_and_median("kube::Client::try_from", ordinary_times);
    let lock_client_median = print_and_median("lock_client", lock_client_times);
    assert!(lock_client_median < ordinary_median / 2, "{lock_client_median:?}, ordinary {ordinary_median:?}");
}

async fn first_request(client: Client) -> Duration {
    let leases: Api<Lease> = Api::namespaced(client, "default");
    let start = Instant::now();
    leases.get_opt("none").await.unwrap();
    start.elapsed()
}

fn ordinary_client(config: &Config) -> Client {
    Client::try_from(config.clone()).unwrap()
}

fn print_and_median(client: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let percentile = |percent: usize| times[(times.len() - 1) * percent / 100];
    let millis = |percent: usize| percentile(percent).as_secs_f64() * 1e3;
    println!("{client:<24} {:8.2} {:8.2} {:8.2}", millis(50), millis(99), millis(100));
    percentile(50)
}

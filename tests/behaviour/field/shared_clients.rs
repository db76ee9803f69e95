//! A client that is throttled, and whose other users leave little room for the lock.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use kube::client::Body;
use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::LeaseServer;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{NAME, acquire};

const SECOND: Duration = Duration::from_secs(1);

/// A client that sends 5 requests in a second at most, in their order, and that is asked for as many by a controller.
fn throttled(server: &LeaseServer, asked_for: u64) -> (kube::Client, tokio::task::JoinHandle<()>) {
    let (inner, turn) = (server.connect().client(), Arc::new(Mutex::new(())));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, turn) = (inner.clone(), turn.clone());
        async move {
            // The mutex is fair.
            let turn = turn.lock().await;
            sleep(SECOND / 5).await;
            drop(turn);
            client.send(request).await
        }
    });
    let client = kube::Client::new(service, "default");
    let controller = tokio::spawn({
        let client = client.clone();
        async move {
            for number in 0.. {
                let name = format!("object-{number}");
                let leases: kube::Api<k8s_openapi::api::coordination::v1::Lease> =
                    kube::Api::default_namespaced(client.clone());
                tokio::spawn(async move { drop(leases.get(&name).await) });
                sleep(SECOND / u32::try_from(asked_for).unwrap()).await;
            }
        }
    });
    (client, controller)
}

#[tokio::test(start_paused = true)]
async fn a_hold_survives_a_throttled_client_that_is_nearly_used_up() {
    let server = LeaseServer::new();
    let (client, controller) = throttled(&server, 4);
    let lock = LeaseLock::new(client, NAME).unwrap();
    let guard = acquire(&lock).await;
    assert!(timeout(600 * SECOND, guard.lost()).await.is_err(), "one request in a second is enough");
    guard.release().await.unwrap();
    controller.abort();
}

/// The queue of the client grows without end: no renewal comes through in time. The token is cancelled in time all the same.
#[tokio::test(start_paused = true)]
async fn a_hold_behind_a_client_that_is_used_up_is_lost_in_time() {
    let server = LeaseServer::new();
    let (client, controller) = throttled(&server, 50);
    let lock = LeaseLock::new(client, NAME).unwrap();
    let guard = acquire(&lock).await;
    let rival = LeaseLock::new(server.connect().client(), NAME).unwrap();
    let waiting = tokio::spawn(async move { acquire_at_last(&rival).await });
    guard.lost().await;
    let lost = Instant::now();
    let (_guard, acquired) = waiting.await.unwrap();
    assert!(lost <= acquired, "lost {:?} too late", lost - acquired);
    controller.abort();
}

async fn acquire_at_last(lock: &LeaseLock) -> (kube_lease_lock::LeaseGuard, Instant) {
    let guard = lock.acquire().await.unwrap();
    (guard, Instant::now())
}

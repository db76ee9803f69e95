//! What neighbours leave behind, released or crashed, is taken over properly.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Make, Pace};
use crate::world::{SOON, World, acquire, ms, s};

const LEASE: Duration = s(4);
const CLIENT_GO: Make =
    Make::ClientGo { renew_deadline: s(3), retry_period: ms(500), release_on_cancel: true };
const KUBE_COORDINATE: Make = Make::KubeCoordinate { grace: s(2), retry_period: s(1) };
const KUBE_LEASE_MANAGER: Make = Make::KubeLeaseManager { grace: s(2) };
const KUBERT: Make = Make::Kubert { grace: s(2) };
const FOR_GOOD: Duration = s(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn a_released_lease_is_taken_over_at_once() {
    let (client_go, kube_lease_manager, kubert) = tokio::join!(
        what_is_released_by(CLIENT_GO),
        what_is_released_by(KUBE_LEASE_MANAGER),
        what_is_released_by(KUBERT),
    );
    assert_eq!(client_go, json!({ "holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 1 }));
    assert_eq!(kube_lease_manager, json!({ "leaseTransitions": 1 }));
    assert_eq!(kubert, json!({ "leaseTransitions": 1 }));
}

/// Has a neighbour lead for a moment, and takes over. Returns what it had left, but for the times.
async fn what_is_released_by(make: Make) -> Value {
    let world = World::new().await;
    let mut neighbour = world.neighbour(make, "neighbour", pace(ms(300))).await;
    neighbour.says("left neighbour#1").await;
    let left = timeout(SOON, world.spec_once_not_held_by("neighbour")).await.expect("a release");
    let guard = world.lock(LEASE).await.try_acquire().await.unwrap();
    let spec = world.spec().await;
    assert_eq!(spec["holderIdentity"], guard.holder_identity());
    assert_eq!(spec["leaseTransitions"], 2);
    guard.release().await.unwrap();
    without_times(left)
}

/// A release is conditional on what its owner last wrote: it fails where somebody wrote since, if only to get in line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn who_waits_does_not_keep_a_neighbour_from_releasing() {
    tokio::join!(released_beside_us(CLIENT_GO), released_beside_us(KUBERT));
}

async fn released_beside_us(make: Make) {
    let world = World::new().await;
    // With a lease this long, no renewal of theirs is near.
    let pace = Pace { lease_duration: s(600), ..pace(s(3)) };
    let mut neighbour = world.neighbour(make, "neighbour", pace).await;
    neighbour.says("leading neighbour#1").await;
    let lock = world.lock(LEASE).await;
    let waiting = tokio::spawn(async move { acquire(&lock).await });
    neighbour.says("left neighbour#1").await;
    waiting.await.unwrap().release().await.unwrap();
}

fn pace(term: Duration) -> Pace {
    Pace { lease_duration: LEASE, term, rest: FOR_GOOD }
}

fn without_times(mut spec: Value) -> Value {
    let fields = spec.as_object_mut().unwrap();
    fields.retain(|name, _| !name.ends_with("Time"));
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn the_lease_of_a_crashed_holder_is_left_alone_until_it_expires() {
    tokio::join!(
        after_the_crash_of(CLIENT_GO),
        after_the_crash_of(KUBE_COORDINATE),
        after_the_crash_of(KUBE_LEASE_MANAGER),
        after_the_crash_of(KUBERT)
    );
}

async fn after_the_crash_of(make: Make) {
    let world = World::new().await;
    let mut neighbour = world.neighbour(make, "neighbour", pace(FOR_GOOD)).await;
    neighbour.says("leading neighbour#1").await;
    let lock = world.lock(LEASE).await;
    assert!(lock.acquire_timeout(LEASE).await.is_err(), "it renews");
    drop(neighbour);
    let left = world.spec().await;
    let guard = acquire(&lock).await;
    let ours = world.spec().await;
    guard.release().await.unwrap();

    assert_eq!(left["holderIdentity"], "neighbour");
    // Both times are of this machine's clock.
    let waited = time(&ours["acquireTime"]).duration_since(time(&left["renewTime"]));
    println!("taken over {:.1} s after the last renewal of {make:?}", waited.as_secs_f64());
    assert!(waited >= LEASE.try_into().unwrap());
    assert_eq!(ours["leaseTransitions"], 2);
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

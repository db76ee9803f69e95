//! Our contender takes a Lease over correctly after another library has released it, or has crashed while it held it.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::fixture::{EVENT_TIMEOUT, Fixture, acquire, millis, seconds};
use crate::support::{Library, Pace};

const LEASE_DURATION: Duration = seconds(4);
const CLIENT_GO: Library =
    Library::ClientGo { renew_deadline: seconds(3), retry_period: millis(500), release_on_cancel: true };
const KUBE_COORDINATE: Library = Library::KubeCoordinate { grace: seconds(2), retry_period: seconds(1) };
const KUBE_LEASE_MANAGER: Library = Library::KubeLeaseManager { grace: seconds(2) };
const KUBERT: Library = Library::Kubert { grace: seconds(2) };
const FOREVER: Duration = seconds(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn a_released_lease_is_taken_over_immediately() {
    let (client_go, kube_lease_manager, kubert) = tokio::join!(
        spec_released_by(CLIENT_GO),
        spec_released_by(KUBE_LEASE_MANAGER),
        spec_released_by(KUBERT),
    );
    assert_eq!(client_go, json!({ "holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 1 }));
    assert_eq!(kube_lease_manager, json!({ "leaseTransitions": 1 }));
    assert_eq!(kubert, json!({ "leaseTransitions": 1 }));
}

/// Lets a neighbour hold the Lease for a moment, and takes over. Returns the spec after the release, without the times.
async fn spec_released_by(library: Library) -> Value {
    let fixture = Fixture::new().await;
    let mut neighbour = fixture.neighbour(library, "neighbour", pace(millis(300))).await;
    neighbour.wait_for("left neighbour#1").await;
    let released =
        timeout(EVENT_TIMEOUT, fixture.spec_when_not_held_by("neighbour")).await.expect("a release");
    let guard = fixture.lock(LEASE_DURATION).await.try_acquire().await.unwrap();
    let spec = fixture.spec().await;
    assert_eq!(spec["holderIdentity"], guard.holder_identity());
    assert_eq!(spec["leaseTransitions"], 2);
    guard.release().await.unwrap();
    without_times(released)
}

/// These libraries make a release conditional on their own last write. It fails if another contender has written since,
/// even if that only joined the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn our_waiter_does_not_prevent_a_release() {
    tokio::join!(released_while_we_wait(CLIENT_GO), released_while_we_wait(KUBERT));
}

async fn released_while_we_wait(library: Library) {
    let fixture = Fixture::new().await;
    // The lease is so long that the neighbour does not renew during the test.
    let pace = Pace { lease_duration: seconds(600), ..pace(seconds(3)) };
    let mut neighbour = fixture.neighbour(library, "neighbour", pace).await;
    neighbour.wait_for("leading neighbour#1").await;
    let lock = fixture.lock(LEASE_DURATION).await;
    let waiting = tokio::spawn(async move { acquire(&lock).await });
    neighbour.wait_for("left neighbour#1").await;
    waiting.await.unwrap().release().await.unwrap();
}

fn pace(hold: Duration) -> Pace {
    Pace { lease_duration: LEASE_DURATION, hold, rest: FOREVER }
}

fn without_times(mut spec: Value) -> Value {
    let fields = spec.as_object_mut().unwrap();
    fields.retain(|name, _| !name.ends_with("Time"));
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn the_lease_of_a_crashed_holder_is_not_claimed_before_it_expires() {
    tokio::join!(
        after_the_crash_of(CLIENT_GO),
        after_the_crash_of(KUBE_COORDINATE),
        after_the_crash_of(KUBE_LEASE_MANAGER),
        after_the_crash_of(KUBERT)
    );
}

async fn after_the_crash_of(library: Library) {
    let fixture = Fixture::new().await;
    let mut neighbour = fixture.neighbour(library, "neighbour", pace(FOREVER)).await;
    neighbour.wait_for("leading neighbour#1").await;
    let lock = fixture.lock(LEASE_DURATION).await;
    assert!(lock.acquire_timeout(LEASE_DURATION).await.is_err(), "the neighbour renews");
    drop(neighbour);
    let before = fixture.spec().await;
    let guard = acquire(&lock).await;
    let after = fixture.spec().await;
    guard.release().await.unwrap();

    assert_eq!(before["holderIdentity"], "neighbour");
    // Both times are from the clock of this machine.
    let waited = time(&after["acquireTime"]).duration_since(time(&before["renewTime"]));
    println!("taken over {:.1} s after the last renewal of {library:?}", waited.as_secs_f64());
    assert!(waited >= LEASE_DURATION.try_into().unwrap());
    assert_eq!(after["leaseTransitions"], 2);
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

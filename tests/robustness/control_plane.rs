//! Faults of the whole control plane.

use std::time::Duration;

use tokio::time::sleep;

use crate::behaviour::Behaviour;
use crate::contender::{Contender, Event};
use crate::fixture::{Fixture, LEASE};
use crate::support::{ControlPlane, now};

/// One fault after the other, because each of them affects all contenders.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn the_lock_recovers_from_faults_of_the_control_plane() {
    let plane = ControlPlane::start_with_separate_etcd().await;
    let fixture = Fixture::new("control-plane", &plane).await;
    let pair = fixture.holder_and_waiter(Behaviour::HOLD_FOREVER).await;
    tokio::join!(a_short_pause_loses_nothing(&plane), sleep(Duration::from_secs(2)));

    let outage = now();
    let paused = plane.pause();
    // The holder notices while the API server does not answer.
    holder_loses_the_lock(&pair, outage).await;
    sleep(Duration::from_secs(Behaviour::HOLD_FOREVER.lease_seconds)).await;
    drop(paused);
    either_acquires(&pair, outage).await;

    let outage = now();
    let paused = plane.pause_etcd();
    holder_loses_the_lock(&pair, outage).await;
    drop(paused);
    either_acquires(&pair, outage).await;

    let outage = now();
    plane.kill().await;
    holder_loses_the_lock(&pair, outage).await;
    plane.restart().await;
    either_acquires(&pair, outage).await;

    let verdict = fixture.clean_verdict();
    assert!(verdict.holds.len() >= 4, "{verdict}");
}

async fn a_short_pause_loses_nothing(plane: &ControlPlane) {
    let fixture = Fixture::new("short-pause", plane).await;
    let (holder, waiter) = fixture.holder_and_waiter(Behaviour::HOLD_FOREVER.lease_seconds(9)).await;
    let start = now();
    let paused = plane.pause();
    sleep(Duration::from_secs(1)).await;
    drop(paused);
    let leases = fixture.leases().await;
    let before = leases.get(LEASE).await.unwrap();
    let mut after = before.clone();
    // Until the holder has renewed the Lease.
    while after.metadata.resource_version == before.metadata.resource_version {
        sleep(Duration::from_millis(100)).await;
        after = leases.get(LEASE).await.unwrap();
    }
    assert!(!holder.has_reported("lost", start) && !waiter.has_reported("acquired", start));
    fixture.clean_verdict();
}

async fn holder_loses_the_lock((one, other): &(Contender, Contender), since: u64) -> Event {
    tokio::select! {
        event = one.wait_for("lost", since) => event,
        event = other.wait_for("lost", since) => event,
    }
}

async fn either_acquires((one, other): &(Contender, Contender), since: u64) -> Event {
    tokio::select! {
        event = one.wait_for("acquired", since) => event,
        event = other.wait_for("acquired", since) => event,
    }
}

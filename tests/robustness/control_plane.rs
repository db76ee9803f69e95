//! Failures of the control plane as a whole.

use std::time::Duration;

use tokio::time::sleep;

use crate::contender::{Contender, Event};
use crate::manner::Manner;
use crate::support::{ControlPlane, now};
use crate::world::{LEASE, World};

/// One after the other, as each is all contenders' failure.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn the_lock_outlives_the_failures_of_the_control_plane() {
    let plane = ControlPlane::start_with_separate_etcd().await;
    let world = World::new("control-plane", &plane).await;
    let pair = world.keepers(Manner::KEEPER).await;
    tokio::join!(a_short_pause_loses_nothing(&plane), sleep(Duration::from_secs(2)));

    let outage = now();
    let paused = plane.pause();
    // Told while nothing answers.
    everyone_stops(&pair, outage).await;
    sleep(Duration::from_secs(Manner::KEEPER.lease)).await;
    drop(paused);
    someone_holds(&pair, outage).await;

    let outage = now();
    let paused = plane.pause_etcd();
    everyone_stops(&pair, outage).await;
    drop(paused);
    someone_holds(&pair, outage).await;

    let outage = now();
    plane.kill().await;
    everyone_stops(&pair, outage).await;
    plane.restart().await;
    someone_holds(&pair, outage).await;

    let verdict = world.clean_verdict();
    assert!(verdict.holds.len() >= 4, "{verdict}");
}

async fn a_short_pause_loses_nothing(plane: &ControlPlane) {
    let world = World::new("short-pause", plane).await;
    let (holder, waiter) = world.keepers(Manner::KEEPER.lease(9)).await;
    let start = now();
    let paused = plane.pause();
    sleep(Duration::from_secs(1)).await;
    drop(paused);
    let leases = world.leases().await;
    let before = leases.get(LEASE).await.unwrap();
    let mut after = before.clone();
    // Until it has been renewed.
    while after.metadata.resource_version == before.metadata.resource_version {
        sleep(Duration::from_millis(100)).await;
        after = leases.get(LEASE).await.unwrap();
    }
    assert!(!holder.has_said("lost", start) && !waiter.has_said("acquired", start));
    world.clean_verdict();
}

async fn everyone_stops((one, other): &(Contender, Contender), since: u64) -> Event {
    tokio::select! {
        event = one.said("lost", since) => event,
        event = other.said("lost", since) => event,
    }
}

async fn someone_holds((one, other): &(Contender, Contender), since: u64) -> Event {
    tokio::select! {
        event = one.said("acquired", since) => event,
        event = other.said("acquired", since) => event,
    }
}

//! Elections: one leader at a time, whoever stops, steps down or is cut off.

use std::time::Duration;

use kube_lease_lock::{Election, Hold};

use crate::world::{D, SOON, World};

on_both_servers!(
    a_stopped_leader_is_followed_by_the_next,
    a_leader_that_steps_down_follows,
    a_leader_cut_off_ceases_to_lead_before_the_next_begins,
    a_dropped_election_leaves_the_lease_free,
);

async fn a_stopped_leader_is_followed_by_the_next(world: World) {
    let mut first = world.lock().elect().unwrap();
    let held = led_by(&mut first).await;
    assert_eq!(world.holder().await.as_deref(), Some(held.holder_identity()));
    let mut second = world.lock().elect().unwrap();
    tokio::time::sleep(2 * D).await;
    assert!(first.is_leader() && !second.is_leader());
    first.stop().await.unwrap();
    assert!(!held.is_held());
    let next = led_by(&mut second).await;
    assert!(next.fencing_token() > held.fencing_token());
}

async fn a_leader_that_steps_down_follows(world: World) {
    let mut first = world.lock().elect().unwrap();
    led_by(&mut first).await;
    let mut second = world.lock().elect().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    first.step_down().await.unwrap();
    led_by(&mut second).await;
    assert!(!first.is_leader());
    second.stop().await.unwrap();
    // What it was told of is the end of its leadership, then the new one; or only the latter.
    while !first.is_leader() {
        tokio::time::timeout(SOON, first.changed()).await.unwrap().unwrap();
    }
}

async fn a_leader_cut_off_ceases_to_lead_before_the_next_begins(world: World) {
    let (lock, tap) = world.tapped_lock();
    let mut first = lock.elect().unwrap();
    let held = led_by(&mut first).await;
    let mut second = world.lock().elect().unwrap();
    tokio::time::sleep(D).await;
    tap.cut();
    led_by(&mut second).await;
    assert!(held.token().is_cancelled() && !first.is_leader());
    let mut leadership = first.subscribe();
    tokio::time::timeout(SOON, leadership.wait_for(Option::is_none)).await.unwrap().unwrap();
}

async fn a_dropped_election_leaves_the_lease_free(world: World) {
    let lock = world.lock();
    let mut election = lock.elect().unwrap();
    let held = led_by(&mut election).await;
    drop(election);
    assert!(!held.is_held());
    lock.shutdown().await.unwrap();
    assert_eq!(world.holder().await, None);
}

/// The next change, which has to be leadership.
async fn led_by(election: &mut Election) -> Hold {
    let changed = tokio::time::timeout(SOON, election.changed()).await;
    changed.expect("it should lead by now").unwrap().expect("leadership")
}

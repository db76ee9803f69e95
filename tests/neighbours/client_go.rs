//! Faults of client-go, driven into by a network that holds its requests or replies back. They are its own: its leader
//! may lead on while we hold the Lease, and its release may erase a record of ours. That, our holder is told at once.

use std::time::{Duration, Instant};

use kube_lease_lock::LossReason;
use tokio::time::{sleep, timeout};

use crate::support::{Make, Neighbour, Pace, now};
use crate::world::{World, acquire, ms, s};

const LEASE: Duration = s(6);
const RENEW_DEADLINE: Duration = s(5);
const RETRY_PERIOD: Duration = ms(500);
const FOR_GOOD: Duration = s(3600);

/// When it is cut off, client-go tries to renew for one renew deadline, then to release for another, and only then
/// tells the leader. By that time the Lease is ours. As the release does not look at the record that it has just read,
/// it erases ours, if it gets through so late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn a_late_release_erases_our_record_and_we_are_told_at_once() {
    let world = World::new().await;
    let mut elector = elector(&world, true).await;
    elector.says("leading client-go#1").await;
    elector.order("hold requests").await;

    // With a lease this long, no renewal of ours is near.
    let guard = acquire(&world.lock(s(600)).await).await;
    let acquired = now();
    sleep(ms(500)).await;
    assert!(guard.is_held());

    let passed = Instant::now();
    elector.order("pass").await;
    let reason = timeout(s(5), guard.lost()).await.expect("news of the erasure");
    println!("told {:.0?} after the release could get through: {reason}", passed.elapsed());
    assert_eq!(reason, LossReason::Cleared);
    assert!(!guard.is_held());
    elector.says("left client-go#1").await;
    assert_led_on(&world, acquired);
    // Nobody is kept out by the damage.
    acquire(&world.lock(LEASE).await).await.release().await.unwrap();
}

/// client-go counts its renew deadline from the reply to the last renewal, its neighbours count from the renewal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn a_leader_with_late_replies_leads_on_beside_us_and_does_us_no_harm() {
    let world = World::new().await;
    let mut elector = elector(&world, false).await;
    elector.says("leading client-go#1").await;
    let lock = world.lock(LEASE).await;
    let waiting = tokio::spawn(async move { acquire(&lock).await });
    elector.order("hold replies").await;
    elector.says("holding replies PUT").await;
    // The renewal is made. Its reply comes late, but in time, and is the last.
    sleep(s(3)).await;
    elector.order("hold requests").await;

    let guard = waiting.await.unwrap();
    let acquired = now();
    elector.says("left client-go#1").await;
    assert_led_on(&world, acquired);
    elector.order("pass").await;
    // By now it has found out.
    sleep(2 * RETRY_PERIOD).await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

async fn elector(world: &World, release_on_cancel: bool) -> Neighbour {
    let make =
        Make::ClientGo { renew_deadline: RENEW_DEADLINE, retry_period: RETRY_PERIOD, release_on_cancel };
    let pace = Pace { lease_duration: LEASE, term: FOR_GOOD, rest: FOR_GOOD };
    world.neighbour(make, "client-go", pace).await
}

fn assert_led_on(world: &World, acquired: u64) {
    let overlap = world.went_on_after("client-go#1", acquired);
    println!("client-go led on for {overlap:.1?}");
    assert!(!overlap.is_zero(), "client-go's leader was told in time");
}

//! Two faults of client-go that show when the network delays its requests or replies: its leader may continue to lead
//! while we hold the Lease, and its release may erase our record. Our holder learns of the second one immediately.

use std::time::{Duration, Instant};

use kube_lease_lock::LossReason;
use tokio::time::{sleep, timeout};

use crate::fixture::{Fixture, acquire, millis, seconds};
use crate::support::{Library, Neighbour, Pace, now};

const LEASE_DURATION: Duration = seconds(6);
const RENEW_DEADLINE: Duration = seconds(5);
const RETRY_PERIOD: Duration = millis(500);
const FOREVER: Duration = seconds(3600);

/// When client-go is disconnected, it tries to renew for one renew deadline, then to release for another one, and only
/// then tells the leader. By that time the Lease is ours. The release does not check the record that it has just read,
/// so a late release erases our record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn our_holder_notices_that_a_late_release_erased_its_record() {
    let fixture = Fixture::new().await;
    let mut elector = elector(&fixture, true).await;
    elector.wait_for("leading client-go#1").await;
    elector.order("hold requests").await;

    // The lease is so long that our holder does not renew during the test.
    let guard = acquire(&fixture.lock(seconds(600)).await).await;
    let acquired = now();
    sleep(millis(500)).await;
    assert!(guard.is_held());

    let reconnected = Instant::now();
    elector.order("pass").await;
    let reason = timeout(seconds(5), guard.lost()).await.expect("the loss noticed");
    println!("noticed {:.0?} after the release was let through: {reason}", reconnected.elapsed());
    assert_eq!(reason, LossReason::Cleared);
    assert!(!guard.is_held());
    elector.wait_for("left client-go#1").await;
    assert_led_longer(&fixture, acquired);
    // The erased record does not prevent the next acquisition.
    acquire(&fixture.lock(LEASE_DURATION).await).await.release().await.unwrap();
}

/// client-go counts its renew deadline from the reply to the last renewal. Other contenders count from the renewal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn a_leader_with_late_replies_does_not_end_our_hold() {
    let fixture = Fixture::new().await;
    let mut elector = elector(&fixture, false).await;
    elector.wait_for("leading client-go#1").await;
    let lock = fixture.lock(LEASE_DURATION).await;
    let waiting = tokio::spawn(async move { acquire(&lock).await });
    elector.order("hold replies").await;
    elector.wait_for("holding replies PUT").await;
    // The renewal has been made. Its reply is the last one; it comes late, but before the renew deadline.
    sleep(seconds(3)).await;
    elector.order("hold requests").await;

    let guard = waiting.await.unwrap();
    let acquired = now();
    elector.wait_for("left client-go#1").await;
    assert_led_longer(&fixture, acquired);
    elector.order("pass").await;
    // By now client-go has read our record.
    sleep(2 * RETRY_PERIOD).await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

async fn elector(fixture: &Fixture, release_on_cancel: bool) -> Neighbour {
    let library =
        Library::ClientGo { renew_deadline: RENEW_DEADLINE, retry_period: RETRY_PERIOD, release_on_cancel };
    let pace = Pace { lease_duration: LEASE_DURATION, hold: FOREVER, rest: FOREVER };
    fixture.neighbour(library, "client-go", pace).await
}

fn assert_led_longer(fixture: &Fixture, acquired: u64) {
    let overlap = fixture.duration_after("client-go#1", acquired);
    println!("client-go led for {overlap:.1?} after our acquisition");
    assert!(!overlap.is_zero(), "the leader of client-go learned of the loss in time");
}

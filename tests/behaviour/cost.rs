//! The requests that the lock sends to the API server.

use std::time::Duration;

use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{LeaseServer, Verb};

use crate::cluster::{Cluster, LEASE_DURATION};
use crate::fixture::acquire;

on_both_servers!(
    a_free_lease_costs_one_read_and_one_write,
    the_same_lock_again_costs_one_write,
    a_renewal_costs_one_write,
    a_release_costs_one_write,
    a_short_critical_section_costs_one_read_two_writes_and_no_watch,
    an_idle_waiter_costs_one_read_one_watch_and_one_ticket,
);

async fn a_free_lease_costs_one_read_and_one_write(cluster: Cluster) {
    let (lock, tap) = cluster.tapped_lock();
    let guard = acquire(&lock).await;
    assert_eq!(writes_and_reads(&tap.requests()), ["GET", "PUT"], "created");
    guard.release().await.unwrap();

    let (lock, tap) = cluster.tapped_lock();
    let _guard = acquire(&lock).await;
    assert_eq!(writes_and_reads(&tap.requests()), ["GET", "PATCH"], "claimed");
}

async fn the_same_lock_again_costs_one_write(cluster: Cluster) {
    let (lock, tap) = cluster.tapped_lock();
    acquire(&lock).await.release().await.unwrap();
    tap.requests();
    acquire(&lock).await.release().await.unwrap();
    assert_eq!(writes_and_reads(&tap.requests()), ["PATCH", "PATCH"], "claim and release");
}

async fn a_renewal_costs_one_write(cluster: Cluster) {
    let (lock, tap) = cluster.tapped_lock();
    let _guard = acquire(&lock).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    tap.requests();
    // The lock renews every second: three times in each lease duration.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let mut renewals = tap.requests();
    renewals.retain(|request| request != "WATCH");
    assert!(renewals.iter().all(|request| request == "PATCH"), "{renewals:?}");
    assert!((2..=4).contains(&renewals.len()), "{renewals:?}");
}

#[tokio::test(start_paused = true)]
async fn locks_acquired_together_are_not_renewed_together() {
    const BUCKET: Duration = Duration::from_millis(100);
    const BUCKETS_IN_AN_INTERVAL: u32 = 50;
    let (server, mut guards) = (LeaseServer::new(), Vec::new());
    let link = server.connect();
    for number in 0..200 {
        let lock = LeaseLock::new(link.client(), format!("lock-{number}")).unwrap();
        guards.push(lock.acquire().await.unwrap());
    }
    let (mut renewals, mut busiest) = (0, 0);
    for _ in 0..4 * BUCKETS_IN_AN_INTERVAL {
        tokio::time::sleep(BUCKET).await;
        let before = std::mem::replace(&mut renewals, link.count(Verb::Apply));
        busiest = busiest.max(renewals - before);
    }
    assert!((600..=800).contains(&renewals), "{renewals}");
    // Half of all buckets have 8 renewals on average. If all locks renewed together, one bucket would have 200.
    assert!(busiest <= 25, "{busiest} in {BUCKET:?}");
}

async fn a_release_costs_one_write(cluster: Cluster) {
    let (client, tap) = cluster.tap(cluster.client());
    // So long that the lock does not renew during the test.
    let lock = cluster.builder(client).lease_duration(Duration::from_secs(600)).build().unwrap();
    let guard = acquire(&lock).await;
    tap.requests();
    guard.release().await.unwrap();
    assert_eq!(writes_and_reads(&tap.requests()), ["PATCH"]);
}

async fn a_short_critical_section_costs_one_read_two_writes_and_no_watch(cluster: Cluster) {
    // So short that a hold opens no watch. The Lease exists.
    const SECTION: Duration = Duration::from_millis(300);
    acquire(&cluster.lock()).await.release().await.unwrap();
    let (lock, tap) = cluster.tapped_lock();
    for requests in [["GET", "PATCH", "PATCH"].as_slice(), &["PATCH", "PATCH"]] {
        let guard = acquire(&lock).await;
        tokio::time::sleep(SECTION).await;
        guard.release().await.unwrap();
        assert_eq!(tap.requests(), requests);
    }
    // Nothing comes later.
    tokio::time::sleep(LEASE_DURATION).await;
    assert_eq!(tap.requests(), <[&str; 0]>::default());
}

async fn an_idle_waiter_costs_one_read_one_watch_and_one_ticket(cluster: Cluster) {
    let _guard = acquire(&cluster.lock()).await;
    let (lock, tap) = cluster.tapped_lock();
    let waiting = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(3 * LEASE_DURATION).await;
    assert_eq!(tap.requests(), ["GET", "WATCH", "PATCH"], "one read, one watch, one ticket");
    waiting.abort();
}

/// The requests without the watch, which a holder opens as well.
fn writes_and_reads(requests: &[String]) -> Vec<&str> {
    requests.iter().map(String::as_str).filter(|request| *request != "WATCH").collect()
}

//! Renewals, releases and hand-offs while other processes write to the Lease, which makes conditional writes fail.

use std::time::Duration;

use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{LeaseServer, Link};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use crate::fixture::{LEASE_DURATION, NAME, NAMESPACE, acquire, builder, spawn_acquire};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A lock at this distance from the server.
fn far(server: &LeaseServer, lease: Duration, distance: Duration, seed: u64) -> (Link, LeaseLock) {
    let (link, builder) = builder(server);
    link.set_distance(distance);
    link.set_jitter(seed);
    (link, builder.lease_duration(lease).rng_seed(seed).build().unwrap())
}

/// Edits beside the record, as often as processes of a crowd join.
fn edits(server: &LeaseServer) -> JoinHandle<()> {
    let server = server.clone();
    tokio::spawn(async move {
        for number in 0_u64.. {
            sleep(40 * MS).await;
            server.edit(NAMESPACE, NAME, |lease| {
                lease.metadata.labels.get_or_insert_default().insert("number".into(), number.to_string());
            });
        }
    })
}

/// A hold that was handed off should be claimed by the next task as soon as a renewal would succeed: its claim can be conditional
/// on the record of the former task alone, as that renewal is. Otherwise nobody holds the Lease until it expires.
#[tokio::test(start_paused = true)]
async fn a_hold_is_handed_off_while_a_crowd_joins_the_queue() {
    let mut failures = Vec::new();
    for joined_for in [500, 2_000, 4_000] {
        let server = LeaseServer::new();
        let (_link, lock) = far(&server, LEASE_DURATION, 250 * MS, 1);
        let guard = acquire(&lock).await;
        let next = spawn_acquire(&lock);
        let mut crowd = JoinSet::new();
        for seed in 2..130 {
            let (_, lock) = far(&server, LEASE_DURATION, 250 * MS, seed);
            crowd.spawn(async move { lock.acquire().await.map(drop) });
        }
        sleep(joined_for * MS).await;
        let asked = Instant::now();
        drop(guard);
        // Two lost races, the claim, and the pauses between them.
        let guard = tokio::time::timeout(4 * SECOND, next).await;
        if guard.is_err() {
            failures.push(format!("{joined_for} ms: not within {:?}", asked.elapsed()));
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

/// A release that also adds a ticket should leave the ticket out when time runs short, and not only after three lost races: with
/// a short lease the hold is over before that. Then the Lease stays taken until it expires.
#[tokio::test(start_paused = true)]
async fn a_release_that_rejoins_comes_through_before_a_short_hold_is_over() {
    let mut failures = Vec::new();
    for seed in 1..=10 {
        let server = LeaseServer::new();
        let (_link, lock) = far(&server, 3 * SECOND, 100 * MS, seed);
        // It comes back at once each time, and so it is expected to.
        for _ in 0..6 {
            acquire(&lock).await.release().await.unwrap();
        }
        let guard = acquire(&lock).await;
        let edits = edits(&server);
        sleep(200 * MS).await;
        if let Err(error) = guard.release().await {
            failures.push(format!("seed {seed}: {error}"));
        }
        edits.abort();
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

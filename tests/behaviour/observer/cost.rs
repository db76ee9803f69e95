//! The requests of an observer.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Link, Verb};
use serde_json::json;
use tokio::time::sleep;

use super::{assert_held_by, next, observer};
use crate::fixture::{acquire, connect, put_lease};

const HOUR: Duration = Duration::from_secs(3600);

/// An API server ends a watch after 290 seconds.
const WATCHES_PER_HOUR: usize = 13;

/// The reads and the watches over this link. There is nothing else.
#[track_caller]
fn reads_and_watches(link: &Link) -> (usize, usize) {
    let (reads, watches) = (link.count(Verb::Get), link.count(Verb::Watch));
    assert_eq!(link.requests().len(), reads + watches, "an observer should only read and watch");
    (reads, watches)
}

#[tokio::test(start_paused = true)]
async fn while_the_holder_renews_an_observer_costs_its_watch_alone() {
    let server = LeaseServer::new();
    let _guard = acquire(&connect(&server).1).await;
    let (link, mut observer) = observer(&server);
    assert_held_by(&next(&mut observer).await, "tester");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(reads_and_watches(&link).0, 2, "the second read proves the watch");
    link.forget_requests();
    sleep(HOUR).await;
    let (reads, watches) = reads_and_watches(&link);
    assert!(reads == 0 && watches <= WATCHES_PER_HOUR, "{reads} reads and {watches} watches in an hour");
    assert_held_by(&observer.holder(), "tester");
}

#[tokio::test(start_paused = true)]
async fn while_nobody_renews_an_observer_reads_every_half_minute_at_most() {
    let specs = [
        None,
        Some(json!({ "holderIdentity": "" })),
        Some(json!({ "holderIdentity": "crashed", "leaseDurationSeconds": 15 })),
        Some(json!({ "holderIdentity": "silent", "leaseDurationSeconds": 36_000 })),
    ];
    for spec in specs {
        let server = LeaseServer::new();
        if let Some(spec) = &spec {
            put_lease(&server, spec);
        }
        let (link, _observer) = observer(&server);
        sleep(HOUR).await;
        let (reads, watches) = reads_and_watches(&link);
        assert!(reads <= 121 && watches <= WATCHES_PER_HOUR, "{spec:?}: {reads} reads, {watches} watches");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_permission_to_watch_an_observer_reads_every_two_seconds_at_most_once_a_second() {
    let server = LeaseServer::new();
    let (link, mut observer) = observer(&server);
    link.inject(Fault::status(403).on(Verb::Watch));
    let (_holder_link, lock) = connect(&server);
    next(&mut observer).await;
    for _ in 0..10 {
        let guard = acquire(&lock).await;
        sleep(Duration::from_secs(3)).await;
        assert_held_by(&observer.holder(), "tester");
        guard.release().await.unwrap();
        sleep(Duration::from_secs(3)).await;
        assert!(observer.holder().holder().is_none());
    }
    let (reads, watches) = reads_and_watches(&link);
    assert!((30..=60).contains(&reads) && watches <= 2, "{reads} reads and {watches} watches in a minute");
}

#[tokio::test(start_paused = true)]
async fn clones_and_observers_of_one_lock_share_a_watch() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let first = lock.observe().unwrap();
    let mut observers: Vec<_> = (0..100).map(|_| lock.clone().observe().unwrap()).collect();
    observers.extend((0..100).map(|_| first.clone()));
    let _guard = acquire(&connect(&server).1).await;
    for observer in &mut observers {
        assert_held_by(&next(observer).await, "tester");
    }
    assert_eq!(reads_and_watches(&link), (1, 1));
}

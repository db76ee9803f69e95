//! Watches that fail, or that tell nothing.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, Link, Verb};
use kube_lease_lock::{LeaseGuard, LossReason};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{
    Fixture, LEASE_DURATION, NAME, NAMESPACE, acquire, create_free_lease, put_lease, set_holder,
    spawn_acquire,
};

#[tokio::test(start_paused = true)]
async fn no_wake_up_is_lost_when_the_watch_fails() {
    type WatchFailure = (&'static str, fn(&Link), Duration);
    let seconds = Duration::from_secs;
    let failures: [WatchFailure; 6] = [
        // Only its silence shows that a connection is dead.
        ("muted", Link::mute_watches, LEASE_DURATION),
        ("events dropped", |link| link.inject(Fault::drop_events().on(Verb::Watch)), LEASE_DURATION),
        ("ended", Link::end_watches, seconds(1)),
        ("reset", Link::reset_watches, seconds(1)),
        (
            "gone",
            |link| {
                link.inject(Fault::status(410).on(Verb::Watch));
                link.end_watches();
            },
            seconds(2),
        ),
        (
            "hanging",
            |link| {
                link.inject(Fault::hang().on(Verb::Watch));
                link.end_watches();
            },
            // One request timeout, and a pause.
            seconds(5),
        ),
    ];
    for (name, fail, bound) in failures {
        let fixture = Fixture::new();
        let guard = acquire(&fixture.other_lock()).await;
        let waiting = spawn_acquire(&fixture.lock);
        sleep(Duration::from_secs(7)).await;
        fail(&fixture.link);
        sleep(Duration::from_secs(7)).await;
        guard.release().await.unwrap();
        let acquired = timeout(bound, waiting).await;
        acquired.unwrap_or_else(|_| panic!("{name}: not acquired in time")).unwrap().release().await.unwrap();
    }
}

/// A lock that waits with a watch 100 revisions ahead of the server. The waiter read the Lease, and then, while its watch was
/// in flight, the server was restored from a backup.
async fn waiter_with_a_watch_into_the_future() -> (Fixture, JoinHandle<LeaseGuard>) {
    let fixture = Fixture::new();
    put_lease(&fixture.server, &json!({ "holderIdentity": "them", "leaseDurationSeconds": 1_000_000_000 }));
    let backup = fixture.server.revision();
    for transitions in 0..100 {
        fixture.server.edit(NAMESPACE, NAME, |lease| {
            lease.spec.as_mut().unwrap().lease_transitions = Some(transitions);
        });
    }
    fixture.link.inject(Fault::delay_before(Duration::from_secs(2)).on(Verb::Watch).times(1));
    let waiting = spawn_acquire(&fixture.lock);
    sleep(Duration::from_secs(1)).await;
    fixture.server.restore(backup);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(
        fixture.link.open_watches(),
        1,
        "the watch is open, and sees nothing of the next 100 revisions"
    );
    assert!(!waiting.is_finished(), "the Lease is held");
    (fixture, waiting)
}

#[tokio::test(start_paused = true)]
async fn a_watch_into_the_future_does_not_hide_a_release() {
    let (fixture, waiting) = waiter_with_a_watch_into_the_future().await;
    set_holder(&fixture.server, "");
    let acquired = timeout(Duration::from_secs(60), waiting).await;
    drop(acquired.expect("the waiter should have stopped trusting its watch by now").unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_watch_into_the_future_is_replaced_by_the_first_read() {
    let (fixture, waiting) = waiter_with_a_watch_into_the_future().await;
    sleep(Duration::from_secs(40)).await;
    let released = Instant::now();
    set_holder(&fixture.server, "");
    drop(waiting.await.unwrap());
    assert!(released.elapsed() < Duration::from_millis(100), "after {:?}", released.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_watch_died_opens_a_new_one() {
    let fixture = Fixture::new();
    let guard = fixture.lock.acquire().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    fixture.link.mute_watches();
    // The renewals at 5 s and 10 s show that the watch is dead.
    sleep(Duration::from_millis(10_500)).await;
    let taken = Instant::now();
    set_holder(&fixture.server, "them");
    guard.lost().await;
    assert!(taken.elapsed() < Duration::from_millis(100), "after {:?}", taken.elapsed());
}

/// A watch of another server of the same cluster can be a second late, as behind some stores.
#[tokio::test(start_paused = true)]
async fn a_watch_that_lags_by_a_second_is_kept() {
    let Fixture { link, lock, .. } = Fixture::new();
    link.inject(Fault::delay_events(Duration::from_millis(1_100)));
    for _ in 0..10 {
        let guard = acquire(&lock).await;
        sleep(Duration::from_secs(2)).await;
        assert!(guard.is_held());
        guard.release().await.unwrap();
    }
    assert!(link.count(Verb::Watch) <= 2, "{} watches", link.count(Verb::Watch));
}

/// As after a power cut of a store that had not written everything: the connections break, and what was told is no longer true.
#[tokio::test(start_paused = true)]
async fn a_holder_whose_watch_breaks_reads_at_once() {
    // The watch has proved nothing, or something, or has broken before.
    for held_for in [1_200, 7_000, 60_000] {
        let Fixture { server, link, lock } = Fixture::new();
        put_lease(&server, &json!({ "holderIdentity": "them", "leaseDurationSeconds": 1_000_000_000 }));
        let backup = server.revision();
        set_holder(&server, "");
        let guard = acquire(&lock).await;
        sleep(Duration::from_millis(held_for)).await;
        server.restore(backup);
        link.reset_watches();
        let lost = timeout(Duration::from_millis(10), guard.lost()).await.expect("read at once");
        assert!(matches!(&lost, LossReason::TakenOver { by, .. } if by == "them"), "{lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_watch_breaks_reads_at_once() {
    let fixture = Fixture::new();
    create_free_lease(&fixture.server).await;
    let backup = fixture.server.revision();
    let _guard = acquire(&fixture.other_lock()).await;
    let waiting = spawn_acquire(&fixture.lock);
    sleep(Duration::from_secs(7)).await;
    fixture.link.reset_watches();
    fixture.server.restore(backup);
    drop(timeout(Duration::from_millis(10), waiting).await.expect("read at once").unwrap());
}

/// Behind a load balancer that cuts every connection after a while. Without a watch, the waiter reads every 2 s.
#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_again_and_again_costs_few_reads() {
    let fixture = Fixture::new();
    let _guard = acquire(&fixture.other_lock()).await;
    let waiting = spawn_acquire(&fixture.lock);
    sleep(Duration::from_secs(1)).await;
    fixture.link.forget_requests();
    for _ in 0..30 {
        sleep(Duration::from_secs(20)).await;
        fixture.link.reset_watches();
    }
    let (reads, watches) = (fixture.link.count(Verb::Get), fixture.link.count(Verb::Watch));
    assert!(reads <= 300 && watches <= 30, "{reads} reads and {watches} watches for 30 broken connections");
    waiting.abort();
}

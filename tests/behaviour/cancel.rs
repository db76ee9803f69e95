//! Giving up: a future or a guard may be dropped at any point. The Lease is released then, and the next waiter
//! acquires.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::fixture::{STEP_TIMEOUT, acquire};

on_both_servers!(
    a_cancelled_waiter_leaves_nothing_behind,
    an_acquire_cancelled_at_any_time_leaves_nothing_behind,
    a_cancelled_task_gives_up_its_place_in_the_fifo,
    a_guard_dropped_on_a_thread_without_a_runtime_releases,
    a_guard_dropped_in_a_panic_releases,
    a_guard_dropped_by_select_releases,
    a_release_goes_on_when_its_future_is_dropped,
);

async fn a_cancelled_waiter_leaves_nothing_behind(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    let lock = cluster.lock();
    assert!(tokio::time::timeout(Duration::from_millis(500), lock.acquire()).await.is_err());
    guard.release().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(cluster.holder().await, None, "the cancelled waiter should not have claimed");
}

async fn an_acquire_cancelled_at_any_time_leaves_nothing_behind(cluster: Cluster) {
    let lock = cluster.lock();
    for step in 0..60_u64 {
        // On a real server, steps of 100 µs go through all phases of an acquisition. In virtual time, the number of
        // yields does.
        let cancelled = async {
            for _ in 0..step {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_micros(100 * step)).await;
        };
        tokio::select! {
            biased;
            () = cancelled => {}
            guard = lock.acquire() => drop(guard.unwrap()),
        }
        let next = acquire(&lock).await;
        assert_eq!(cluster.holder().await.as_deref(), Some(next.holder_identity()));
        next.release().await.unwrap();
        assert_eq!(cluster.holder().await, None, "cancelled at step {step}");
    }
    lock.shutdown().await.unwrap();
    assert_eq!(cluster.holder().await, None);
}

async fn a_cancelled_task_gives_up_its_place_in_the_fifo(cluster: Cluster) {
    let lock = cluster.lock();
    let guard = acquire(&lock).await;
    let spawn = || {
        let lock = lock.clone();
        tokio::spawn(async move { acquire(&lock).await })
    };
    let (first, second) = (spawn(), spawn());
    tokio::time::sleep(Duration::from_millis(20)).await;
    first.abort();
    drop(guard);
    drop(tokio::time::timeout(STEP_TIMEOUT, second).await.unwrap().unwrap());
}

async fn a_guard_dropped_on_a_thread_without_a_runtime_releases(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    std::thread::spawn(move || drop(guard)).join().unwrap();
    cluster.until_free().await;
}

async fn a_guard_dropped_in_a_panic_releases(cluster: Cluster) {
    let lock = cluster.lock();
    let panicked = tokio::spawn(async move {
        let _guard = acquire(&lock).await;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(panicked.await.unwrap_err().is_panic());
    cluster.until_free().await;
}

async fn a_guard_dropped_by_select_releases(cluster: Cluster) {
    let lock = cluster.lock();
    let work = async {
        let guard = acquire(&lock).await;
        std::future::pending::<()>().await;
        drop(guard);
    };
    tokio::select! {
        () = work => unreachable!("it never ends by itself"),
        () = async {
            while cluster.holder().await.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } => {}
    }
    cluster.until_free().await;
}

async fn a_release_goes_on_when_its_future_is_dropped(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    drop(guard.release());
    cluster.until_free().await;
}

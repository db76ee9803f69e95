//! One holder at a time, between processes and between tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::fixture::{STEP_TIMEOUT, acquire};

on_both_servers!(
    contenders_never_overlap_and_all_acquire,
    two_locks_of_one_identity_exclude_each_other,
    clones_acquire_in_the_order_of_their_calls,
    a_thousand_tasks_are_one_contender,
);

async fn contenders_never_overlap_and_all_acquire(cluster: Cluster) {
    let inside = Arc::new(AtomicUsize::new(0));
    let contenders: Vec<_> = (0..6)
        .map(|_| {
            let (lock, inside) = (cluster.lock(), inside.clone());
            tokio::spawn(async move {
                for _ in 0..4 {
                    let guard = acquire(&lock).await;
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two holders");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(guard);
                }
            })
        })
        .collect();
    for contender in contenders {
        tokio::time::timeout(2 * STEP_TIMEOUT, contender)
            .await
            .expect("every contender should have acquired by now")
            .unwrap();
    }
}

async fn two_locks_of_one_identity_exclude_each_other(cluster: Cluster) {
    let (one, other) = (cluster.lock(), cluster.lock());
    let guard = acquire(&one).await;
    assert!(other.try_acquire().await.is_err());
    assert!(other.acquire_timeout(Duration::from_millis(1_500)).await.is_err());
    guard.release().await.unwrap();
    let guard = acquire(&other).await;
    assert!(one.try_acquire().await.is_err());
    drop(guard);
}

async fn clones_acquire_in_the_order_of_their_calls(cluster: Cluster) {
    let lock = cluster.lock();
    let guard = acquire(&lock).await;
    let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..5 {
        let (lock, sender) = (lock.clone(), sender.clone());
        tokio::spawn(async move {
            let _guard = acquire(&lock).await;
            sender.send(number).unwrap();
        });
        // The task calls `acquire` before the next task is spawned.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    guard.release().await.unwrap();
    for expected in 0..5 {
        assert_eq!(order.recv().await, Some(expected));
    }
}

async fn a_thousand_tasks_are_one_contender(cluster: Cluster) {
    let holder = cluster.lock();
    let guard = acquire(&holder).await;
    let (lock, tap) = cluster.tapped_lock();
    let tasks: Vec<_> = (0..1_000)
        .map(|_| {
            let lock = lock.clone();
            tokio::spawn(async move { lock.acquire().await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(tap.requests(), ["GET", "WATCH", "PATCH"], "one read, one watch, one ticket");
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    guard.release().await.unwrap();
}

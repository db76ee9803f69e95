//! The order in which processes and tasks acquire, and what happens to a hand-off that has no taker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{Fault, Verb};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{Cluster, LEASE_DURATION};
use crate::fixture::{Fixture, STEP_TIMEOUT, acquire, connect};

on_both_servers!(
    processes_acquire_in_the_order_of_their_arrival,
    a_process_that_acquires_again_waits_behind_the_queue,
    a_cancelled_waiter_delays_the_queue_only_briefly,
    tasks_of_one_process_hand_the_lock_off_with_one_write_each,
    many_tasks_of_one_process_give_way_to_another_process,
    a_hold_handed_off_to_nobody_is_released,
);

/// Waits until the queue has this many tickets.
async fn queued(cluster: &Cluster, count: usize) {
    let queued = async {
        while cluster.tickets().await != count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(STEP_TIMEOUT, queued).await.expect("the queue should have filled by now");
}

/// A task that acquires and releases once. It returns how many tasks have acquired before it.
fn acquire_once(lock: LeaseLock, order: &Arc<AtomicUsize>) -> JoinHandle<usize> {
    let order = order.clone();
    tokio::spawn(async move {
        let guard = acquire(&lock).await;
        let before = order.fetch_add(1, Ordering::SeqCst);
        guard.release().await.unwrap();
        before
    })
}

async fn processes_acquire_in_the_order_of_their_arrival(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    let (order, mut waiting) = (Arc::default(), Vec::new());
    for place in 0..5 {
        waiting.push(acquire_once(cluster.lock(), &order));
        queued(&cluster, place + 1).await;
    }
    guard.release().await.unwrap();
    for (place, waiting) in waiting.into_iter().enumerate() {
        assert_eq!(timeout(STEP_TIMEOUT, waiting).await.unwrap().unwrap(), place);
    }
}

async fn a_process_that_acquires_again_waits_behind_the_queue(cluster: Cluster) {
    let (eager, patient) = (cluster.lock(), cluster.lock());
    let guard = acquire(&eager).await;
    let order = Arc::default();
    let waiting = acquire_once(patient, &order);
    queued(&cluster, 1).await;
    guard.release().await.unwrap();
    let again = acquire_once(eager, &order);
    assert_eq!(timeout(STEP_TIMEOUT, waiting).await.unwrap().unwrap(), 0);
    assert_eq!(timeout(STEP_TIMEOUT, again).await.unwrap().unwrap(), 1);
}

async fn a_cancelled_waiter_delays_the_queue_only_briefly(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    let order = Arc::default();
    let cancelled = acquire_once(cluster.lock(), &order);
    queued(&cluster, 1).await;
    let waiting = acquire_once(cluster.lock(), &order);
    queued(&cluster, 2).await;
    cancelled.abort();
    guard.release().await.unwrap();
    let released = Instant::now();
    assert_eq!(timeout(LEASE_DURATION, waiting).await.unwrap().unwrap(), 0);
    assert!(released.elapsed() < LEASE_DURATION / 2, "{:?}", released.elapsed());
}

/// The watch may tell of later holds before the reply to the release arrives.
#[tokio::test(start_paused = true)]
async fn a_lock_counts_what_its_watch_told_before_the_reply_to_its_release() {
    let Fixture { server, link: slow, lock: slow_lock } = Fixture::new();
    let (_link, quick_lock) = connect(&server);
    let guard = acquire(&slow_lock).await;
    let waiting = acquire_once(quick_lock, &Arc::default());
    sleep(Duration::from_secs(2)).await;
    slow.inject(Fault::delay_after(Duration::from_millis(20)).on(Verb::Apply).times(1));
    guard.release().await.unwrap();
    assert!(waiting.is_finished(), "the other process should have acquired and released meanwhile");
    slow.forget_requests();

    let asked = Instant::now();
    let _guard = acquire(&slow_lock).await;
    assert_eq!(asked.elapsed(), Duration::ZERO, "no other process is in the queue");
    let statuses: Vec<_> = slow.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(200)], "it claims the version that the watch told");
}

/// The try reads the Lease. It does not rely on what the watch has told so far.
#[tokio::test(start_paused = true)]
async fn try_acquire_is_not_refused_for_a_hold_that_is_over() {
    let Fixture { server, link: late, lock: late_lock } = Fixture::new();
    let (_link, quick_lock) = connect(&server);
    let guard = acquire(&late_lock).await;
    sleep(Duration::from_secs(1)).await;
    guard.release().await.unwrap();

    let guard = acquire(&quick_lock).await;
    sleep(Duration::from_millis(10)).await;
    late.mute_watches();
    guard.release().await.unwrap();
    drop(late_lock.try_acquire().await.unwrap());
}

async fn tasks_of_one_process_hand_the_lock_off_with_one_write_each(cluster: Cluster) {
    let (lock, tap) = cluster.tapped_lock();
    let guard = acquire(&lock).await;
    let order = Arc::default();
    let mut tasks = Vec::new();
    for _ in 0..20 {
        tasks.push(acquire_once(lock.clone(), &order));
        tokio::task::yield_now().await;
    }
    tap.requests();
    guard.release().await.unwrap();
    for (place, task) in tasks.into_iter().enumerate() {
        assert_eq!(timeout(STEP_TIMEOUT, task).await.unwrap().unwrap(), place);
    }
    let writes = tap.requests().iter().filter(|request| *request != "WATCH").count();
    assert_eq!(writes, 21, "one claim for each task, and one release");
}

async fn many_tasks_of_one_process_give_way_to_another_process(cluster: Cluster) {
    let (crowd, single) = (cluster.lock(), cluster.lock());
    let guard = acquire(&crowd).await;
    let order = Arc::default();
    let tasks: Vec<_> = (0..60).map(|_| acquire_once(crowd.clone(), &order)).collect();
    let waiting = acquire_once(single, &order);
    queued(&cluster, 1).await;
    guard.release().await.unwrap();
    let before = timeout(STEP_TIMEOUT, waiting).await.unwrap().unwrap();
    assert!(before <= 20, "{before} tasks acquired before the other process");
    for task in tasks {
        timeout(STEP_TIMEOUT, task).await.unwrap().unwrap();
    }
}

async fn a_hold_handed_off_to_nobody_is_released(cluster: Cluster) {
    for yields in 0..12 {
        let lock = cluster.lock();
        let guard = acquire(&lock).await;
        let waiting: Vec<_> = (0..3).map(|_| acquire_once(lock.clone(), &Arc::default())).collect();
        tokio::task::yield_now().await;
        drop(guard);
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        waiting.iter().for_each(JoinHandle::abort);
        let next = timeout(LEASE_DURATION / 2, acquire(&cluster.lock())).await;
        next.unwrap_or_else(|_| panic!("not released after {yields} yields")).release().await.unwrap();
    }
}

//! The ends of an acquisition: a release, a shutdown, the end of the runtime.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Verb};
use kube_lease_lock::{LossReason, ReleaseError};
use tokio::time::{sleep, timeout};

use crate::fixture::{LEASE_DURATION, RENEW_DEADLINE, connect, create_free_lease, delete_lease, holder};

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_an_acquire_whose_claim_is_on_the_wire() {
    let server = LeaseServer::new();
    create_free_lease(&server).await;
    let (link, lock) = connect(&server);
    link.inject(Fault::delay_after(Duration::from_secs(2)).on(Verb::Apply).times(1));
    let waiting = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await.map(drop) }
    });
    sleep(Duration::from_secs(1)).await;
    lock.shutdown().await.unwrap();
    assert_eq!(holder(&server), None, "shutdown returned while the Lease was held");
    let _ = waiting.await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_a_guard_that_was_won_but_not_delivered() {
    let server = LeaseServer::new();
    let (_link, lock) = connect(&server);
    let mut acquiring = Box::pin(lock.acquire());
    assert!(timeout(Duration::ZERO, &mut acquiring).await.is_err(), "it was polled once");
    sleep(Duration::from_secs(1)).await; // won in the background by now
    assert!(holder(&server).is_some());
    tokio::join!(lock.shutdown(), acquiring).0.unwrap();
    assert_eq!(holder(&server), None, "shutdown returned while the Lease was held");
}

#[tokio::test(start_paused = true)]
async fn shutdown_reports_a_guard_that_still_holds_the_lease() {
    let server = LeaseServer::new();
    let (_link, lock) = connect(&server);
    let guard = lock.acquire().await.unwrap();
    let error = lock.shutdown().await.unwrap_err();
    assert!(error.held && error.pending == 0 && !error.unconfirmed, "{error:?}");
    assert!(error.to_string().contains("a guard still holds it"), "{error}");
    assert!(guard.is_held(), "a guard is released by its owner");
    drop(guard);
    lock.shutdown().await.unwrap();
    assert_eq!(holder(&server), None);
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_count_a_guard_that_was_lost() {
    let server = LeaseServer::new();
    let (_link, lock) = connect(&server);
    let guard = lock.acquire().await.unwrap();
    delete_lease(&server);
    guard.lost().await;
    lock.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_reports_a_release_that_was_not_confirmed() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    drop(lock.acquire().await.unwrap());
    sleep(Duration::from_secs(1)).await;
    let guard = lock.acquire().await.unwrap();
    link.inject(Fault::refuse());
    drop(guard);
    let error = lock.shutdown().await.unwrap_err();
    assert!(error.unconfirmed && !error.held && error.pending == 0, "{error:?}");
    assert!(holder(&server).is_some());
    sleep(LEASE_DURATION).await;
    lock.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_forgets_an_unconfirmed_release_once_the_lease_was_acquired_again() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let guard = lock.acquire().await.unwrap();
    link.inject(Fault::refuse());
    drop(guard);
    sleep(RENEW_DEADLINE).await;
    link.heal();
    delete_lease(&server);
    lock.acquire().await.unwrap().release().await.unwrap();
    lock.shutdown().await.unwrap();
    assert_eq!(holder(&server), None);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_its_caller_knows_to_be_unconfirmed_is_not_reported_again() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let guard = lock.acquire().await.unwrap();
    link.inject(Fault::refuse());
    assert!(matches!(guard.release().await, Err(ReleaseError::Unconfirmed { .. })));
    lock.shutdown().await.unwrap();
}

#[test]
fn a_release_ended_by_its_runtime_is_not_reported_as_done() {
    let server = LeaseServer::new();
    let first = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let second = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (link, guard) = first.block_on(async {
        let (link, lock) = connect(&server);
        (link, lock.acquire().await.unwrap())
    });
    link.inject(Fault::hang());
    let release = guard.release();
    std::thread::sleep(Duration::from_millis(200));
    first.shutdown_background();
    let error =
        second.block_on(async { timeout(Duration::from_secs(5), release).await.unwrap() }).unwrap_err();
    let reported = matches!(
        error,
        ReleaseError::Unconfirmed { .. } | ReleaseError::Lost { reason: LossReason::TaskEnded, .. }
    );
    assert!(reported, "{error:?}");
}

/// In real time, and with worker threads: the background task and the caller run at the same time.
#[test]
fn the_lock_is_free_as_soon_as_a_release_has_returned() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (_link, lock) = connect(&LeaseServer::new());
        for round in 0..2_000 {
            let acquired = lock.try_acquire().await;
            let guard = acquired.unwrap_or_else(|error| panic!("in round {round}: {error}"));
            guard.release().await.unwrap();
        }
    });
}

/// In real time, and with worker threads: holders and waiters are aborted while others hand off, release and give up.
#[test]
fn nothing_is_left_behind_by_tasks_that_are_aborted_at_any_time() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = LeaseServer::new();
        let (_link, lock) = connect(&server);
        for round in 0..200_u64 {
            let tasks = [0, 1, 2, 3].map(|number| {
                let lock = lock.clone();
                tokio::spawn(async move {
                    let guard = lock.acquire().await.unwrap();
                    sleep(Duration::from_micros(number * 70)).await;
                    drop(guard);
                })
            });
            sleep(Duration::from_micros(round % 8 * 500)).await;
            for (number, task) in (0..).zip(&tasks) {
                for _ in 0..(round * 7 + number * 31) % 97 * 40 {
                    std::hint::spin_loop();
                }
                task.abort();
            }
            // No error and no further acquisition releases what was left.
            let free = async {
                while holder(&server).is_some() || tasks.iter().any(|task| !task.is_finished()) {
                    sleep(Duration::from_micros(100)).await;
                }
            };
            timeout(Duration::from_secs(5), free)
                .await
                .unwrap_or_else(|_| panic!("held after round {round}"));
        }
        lock.shutdown().await.unwrap();
        assert_eq!(holder(&server), None);
    });
}

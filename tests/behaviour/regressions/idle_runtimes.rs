//! A runtime that nobody drives any more. In real time: only then do two runtimes share one clock.

use std::time::Duration;

use kube_lease_lock::testing::LeaseServer;
use kube_lease_lock::{AcquireError, LeaseLock};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use crate::fixture::{STEP_TIMEOUT, acquire, connect, holder};

const PATIENCE: Duration = Duration::from_millis(100);

fn runtimes() -> (Runtime, Runtime) {
    let driven = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let idle = Builder::new_current_thread().enable_all().build().unwrap();
    (driven, idle)
}

/// Acquires the lock on a runtime that runs only during this call, in vain.
fn time_out_on(idle: &Runtime, lock: &LeaseLock) {
    let error = idle.block_on(lock.acquire_timeout(PATIENCE)).unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut { .. }), "{error:?}");
}

#[test]
fn nothing_is_handed_off_to_a_place_that_was_given_up_on_an_idle_runtime() {
    let (server, (driven, idle)) = (LeaseServer::new(), runtimes());
    let (_link, lock, guard) = driven.block_on(async {
        let (link, lock) = connect(&server);
        let guard = acquire(&lock).await;
        (link, lock, guard)
    });
    time_out_on(&idle, &lock);
    driven.block_on(async {
        guard.release().await.unwrap();
        assert_eq!(holder(&server), None, "the Lease was handed off");
        acquire(&lock).await.release().await.unwrap();
        lock.shutdown().await.unwrap();
    });
}

#[test]
fn an_acquire_that_timed_out_on_an_idle_runtime_lets_other_tasks_wait_for_another_process() {
    let (server, (driven, idle)) = (LeaseServer::new(), runtimes());
    let (_link, lock, foreign) = driven.block_on(async {
        let (link, lock) = connect(&server);
        let foreign = acquire(&connect(&server).1).await;
        (link, lock, foreign)
    });
    time_out_on(&idle, &lock);
    driven.block_on(async {
        foreign.release().await.unwrap();
        acquire(&lock).await.release().await.unwrap();
        lock.shutdown().await.unwrap();
    });
}

#[test]
fn a_guard_dropped_while_nobody_drives_its_runtime_is_handed_off_at_once() {
    let (server, (driven, idle)) = (LeaseServer::new(), runtimes());
    let (_link, lock) = driven.block_on(async { connect(&server) });
    let guard = idle.block_on(acquire(&lock));
    let waiting = driven.spawn({
        let lock = lock.clone();
        async move { acquire(&lock).await }
    });
    driven.block_on(async { sleep(PATIENCE).await });
    drop(guard);
    let next = driven.block_on(async { timeout(STEP_TIMEOUT, waiting).await.unwrap().unwrap() });
    assert_eq!(holder(&server).as_deref(), Some(next.holder_identity()));
}

#[test]
fn an_election_dropped_on_an_idle_runtime_gives_up_its_place_in_the_fifo() {
    let (server, (driven, idle)) = (LeaseServer::new(), runtimes());
    let (_link, lock, guard) = driven.block_on(async {
        let (link, lock) = connect(&server);
        let guard = acquire(&lock).await;
        (link, lock, guard)
    });
    let election = idle.block_on(async {
        let election = lock.elect().unwrap();
        sleep(PATIENCE).await;
        election
    });
    let leadership = election.subscribe();
    let borrowed = leadership.borrow();
    drop(election);
    drop(borrowed);
    driven.block_on(async {
        guard.release().await.unwrap();
        assert_eq!(holder(&server), None, "the Lease was handed off");
        acquire(&lock).await.release().await.unwrap();
        lock.shutdown().await.unwrap();
    });
}

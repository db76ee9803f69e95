//! A runtime that nobody drives any more. In real time: only then do two runtimes share one clock.

use std::time::{Duration, Instant};

use kube_lease_lock::testing::{Fault, LeaseServer, Verb};
use kube_lease_lock::{AcquireError, LeaseLock, TryAcquireError};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use crate::fixture::{STEP_TIMEOUT, acquire, connect, holder};

const PATIENCE: Duration = Duration::from_millis(100);

/// Far less than it takes until a Lease expires.
const PROMPTLY: Duration = Duration::from_secs(2);

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
    let leadership = election.subscribe_bool();
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

#[test]
fn a_guard_dropped_while_nobody_drives_its_runtime_does_not_block_later_tasks() {
    let (server, (driven, idle)) = (LeaseServer::new(), runtimes());
    let (_link, lock) = driven.block_on(async { connect(&server) });
    drop(idle.block_on(acquire(&lock)));
    driven.block_on(async {
        let started = Instant::now();
        acquire(&lock).await.release().await.unwrap();
        assert!(started.elapsed() < PROMPTLY, "{:?}", started.elapsed());
        assert_eq!(holder(&server), None);
        lock.shutdown().await.unwrap();
    });
}

#[test]
fn a_claim_given_up_on_an_idle_runtime_is_withdrawn_by_the_next_task() {
    let (server, (driven, idle)) = (LeaseServer::new(), runtimes());
    let (link, lock) = driven.block_on(async { connect(&server) });
    link.inject(Fault::delay_after(2 * PATIENCE).on(Verb::Update).times(1));
    time_out_on(&idle, &lock);
    driven.block_on(async {
        sleep(3 * PATIENCE).await;
        assert!(holder(&server).is_some(), "the claim was made");
        let started = Instant::now();
        let acquired = lock.try_acquire().await;
        acquired.expect("the claim should have been withdrawn").release().await.unwrap();
        assert!(started.elapsed() < PROMPTLY, "{:?}", started.elapsed());
        lock.shutdown().await.unwrap();
    });
}

#[test]
fn shutdown_releases_what_was_dropped_while_nobody_drove_its_runtime() {
    let (server, (driven, idle)) = (LeaseServer::new(), runtimes());
    let (_link, lock) = driven.block_on(async { connect(&server) });
    drop(idle.block_on(acquire(&lock)));
    assert!(holder(&server).is_some());
    driven.block_on(lock.shutdown()).unwrap();
    assert_eq!(holder(&server), None);
}

#[test]
fn a_release_goes_on_if_its_runtime_is_driven_again() {
    let (server, (driven, idle)) = (LeaseServer::new(), runtimes());
    let (_link, lock) = driven.block_on(async { connect(&server) });
    drop(idle.block_on(acquire(&lock)));
    idle.block_on(async { sleep(PATIENCE).await });
    assert_eq!(holder(&server), None);
    driven.block_on(lock.shutdown()).unwrap();
}

#[test]
fn a_guard_that_cannot_be_handed_off_on_an_idle_runtime_does_not_block_tasks_that_wait() {
    let (server, (driven, idle)) = (LeaseServer::new(), runtimes());
    let (link, lock) = driven.block_on(async { connect(&server) });
    let guard = idle.block_on(acquire(&lock));
    // The outcome of the first renewal is unknown when the guard is dropped.
    link.inject(Fault::delay_after(Duration::from_secs(1)).on(Verb::Apply).times(1));
    idle.block_on(async {
        while link.count(Verb::Apply) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    });
    let waiting = driven.spawn({
        let lock = lock.clone();
        async move { acquire(&lock).await }
    });
    driven.block_on(async { sleep(PATIENCE).await });
    drop(guard);
    let next = driven.block_on(async { timeout(PROMPTLY, waiting).await.unwrap().unwrap() });
    assert_eq!(holder(&server).as_deref(), Some(next.holder_identity()));
}

#[test]
fn a_try_that_failed_on_an_idle_runtime_does_not_block_later_tasks() {
    let (server, (driven, idle)) = (LeaseServer::new(), runtimes());
    let (link, lock) = driven.block_on(async { connect(&server) });
    link.inject(Fault::commit_then_status(504).on(Verb::Update).times(1));
    assert!(matches!(idle.block_on(lock.try_acquire()), Err(TryAcquireError::Request(_))));
    assert!(holder(&server).is_some(), "the claim was made");
    driven.block_on(async {
        let acquired = timeout(PROMPTLY, lock.acquire()).await.expect("the claim should have been withdrawn");
        acquired.unwrap().release().await.unwrap();
        lock.shutdown().await.unwrap();
    });
}

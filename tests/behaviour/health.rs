//! What the probes of a Pod learn.

use std::time::Duration;

use kube_lease_lock::testing::{LeaseServer, Machine};
use kube_lease_lock::{Health, LeaseLock};
use tokio::time::{sleep, timeout};

use crate::fixture::{LEASE_DURATION, RENEW_DEADLINE, acquire, builder, connect};

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn assert_health(lock: &LeaseLock, health: Health, live: bool, ready: bool) {
    assert_eq!(lock.health(), health);
    assert_eq!((health.is_live(), health.is_ready()), (live, ready), "{health}");
}

#[tokio::test(start_paused = true)]
async fn it_follows_the_life_of_a_lock() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    assert_health(&lock, Health::Idle, true, true);

    link.cut();
    let waiting = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await }
    });
    sleep(LEASE_DURATION).await;
    assert_health(&lock, Health::Unreached, true, false);
    link.mend();
    let guard = waiting.await.unwrap().unwrap();
    assert_health(&lock, Health::Holds, true, true);
    guard.release().await.unwrap();
    assert_health(&lock, Health::Idle, true, true);

    link.cut();
    assert!(lock.acquire_timeout(LEASE_DURATION).await.is_err());
    assert_health(&lock, Health::Failing, true, true);
    link.mend();
    acquire(&lock).await.release().await.unwrap();
    lock.shutdown().await.unwrap();
    assert_health(&lock, Health::ShutDown, true, false);
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_work_does_not_stop_is_not_live() {
    let server = LeaseServer::new();
    let machine = Machine::new();
    let (link, builder) = builder(&server);
    let lock = builder.machine(&machine).build().unwrap();
    let mut working = tokio::spawn({
        let (machine, lock) = (machine.clone(), lock.clone());
        async move { machine.run(lock.with(|_| std::future::pending::<()>())).await }
    });
    sleep(SECOND).await;
    assert_health(&lock, Health::Holds, true, true);
    link.cut();
    // Nobody polls the task that works, as if it blocked its thread.
    machine.freeze();
    let frozen = lock.clone();
    sleep(RENEW_DEADLINE).await;
    assert_health(&frozen, Health::Stopping, true, false);
    sleep(LEASE_DURATION).await;
    assert_health(&frozen, Health::Overdue, false, false);
    machine.thaw();
    assert!(timeout(SECOND, &mut working).await.unwrap().unwrap().is_err());
    assert_ne!(lock.health(), Health::Overdue);
}

#[test]
fn a_lock_whose_runtime_has_ended_is_not_live() {
    let server = LeaseServer::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (holding, _other) = (runtime(), runtime());
    let (lock, guard) = holding.block_on(async {
        let lock = connect(&server).1;
        let guard = acquire(&lock).await;
        (lock, guard)
    });
    assert_health(&lock, Health::Holds, true, true);
    drop(holding);
    assert_health(&lock, Health::TaskEnded, false, false);
    drop(guard);
}

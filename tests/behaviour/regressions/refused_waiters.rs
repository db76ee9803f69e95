//! Refusals that are told late, or for too long.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, Verb};
use kube_lease_lock::{AcquireError, LeaseLockBuilder};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{Fixture, acquire, builder, connect, create_free_lease, holder, spawn_acquire};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn read_only() -> Fault {
    Fault::status(403).on_any(&[Verb::Apply, Verb::Patch, Verb::Update])
}

fn hour(builder: LeaseLockBuilder) -> LeaseLockBuilder {
    builder.lease_duration(60 * MINUTE)
}

/// The second acquisition of a process that may not write learns it as the first one did.
#[tokio::test(start_paused = true)]
async fn each_acquisition_that_may_not_write_learns_it_while_another_process_holds_the_lease() {
    let Fixture { server, lock, .. } = Fixture::with(hour);
    let guard = acquire(&lock).await;
    let (link, standby) = builder(&server);
    let standby = hour(standby).build().unwrap();
    link.inject(read_only());
    for number in 0..3 {
        let error = timeout(MINUTE, standby.acquire()).await;
        let error = error.unwrap_or_else(|_| panic!("acquisition {number} is not told")).unwrap_err();
        assert!(matches!(error, AcquireError::Forbidden(_)), "{error:?}");
    }
    assert!(guard.is_held());
}

/// A process whose ticket is in the queue does not join, and loses its permission.
#[tokio::test(start_paused = true)]
async fn a_process_in_the_queue_that_may_not_write_any_more_learns_it() {
    let Fixture { server, lock, .. } = Fixture::with(hour);
    let guard = acquire(&lock).await;
    let (link, standby) = builder(&server);
    let standby = hour(standby).build().unwrap();
    assert!(standby.acquire_timeout(10 * SECOND).await.is_err());
    link.inject(read_only());
    let error = timeout(MINUTE, standby.acquire()).await.expect("not told").unwrap_err();
    assert!(matches!(error, AcquireError::Forbidden(_)), "{error:?}");
    assert!(guard.is_held());
}

/// The refused process keeps its place in the queue. Its permission comes back while another process leads.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_is_over_is_not_reported_for_ever() {
    let Fixture { server, lock, .. } = Fixture::new();
    let guard = acquire(&lock).await;
    let (first_link, first) = connect(&server);
    let first = spawn_acquire(&first);
    sleep(2 * SECOND).await;
    let (link, candidate) = connect(&server);
    let election = candidate.elect().unwrap();
    sleep(2 * SECOND).await;
    first_link.cut();
    link.inject(read_only());
    guard.release().await.unwrap();
    sleep(2 * SECOND).await;
    assert!(matches!(election.last_error(), Some(AcquireError::Forbidden(_))), "{:?}", election.last_error());
    first_link.mend();
    let leader = timeout(MINUTE, first).await.unwrap().unwrap();
    link.heal();
    sleep(10 * MINUTE).await;
    assert!(leader.is_held() && !election.is_leader());
    assert!(election.last_error().is_none(), "{:?}", election.last_error());
}

#[tokio::test(start_paused = true)]
async fn timeouts_of_any_length() {
    for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let Fixture { server, lock, .. } = Fixture::with(|builder| builder.startup_timeout(timeout));
        create_free_lease(&server).await;
        acquire(&lock).await.release().await.unwrap();
        match lock.acquire_timeout(timeout).await {
            Ok(guard) => guard.release().await.unwrap(),
            Err(error) => assert!(matches!(error, AcquireError::TimedOut { .. }), "{error:?}"),
        }
        sleep(SECOND).await;
        assert_eq!(holder(&server), None);
    }
}

/// Several tasks acquire at once, and no server ever answers.
#[tokio::test(start_paused = true)]
async fn each_task_gives_up_after_the_startup_timeout() {
    let Fixture { link, lock, .. } = Fixture::new();
    link.inject(Fault::refuse());
    let start = Instant::now();
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let lock = lock.clone();
            tokio::spawn(async move { (lock.acquire().await.unwrap_err(), Instant::now()) })
        })
        .collect();
    let mut told = Vec::new();
    for task in tasks {
        let (error, at) = task.await.unwrap();
        assert!(matches!(error, AcquireError::Unreachable { .. }), "{error:?}");
        told.push(at - start);
    }
    assert!(told.iter().all(|after| *after < 2 * MINUTE), "{told:?}");
}

/// An acquisition that fails hands its place to the next task, which can have the lock.
#[tokio::test(start_paused = true)]
async fn a_task_that_is_refused_leaves_the_lock_to_the_next_one() {
    for code in [400, 403, 422] {
        let Fixture { server, link, lock } = Fixture::new();
        let guard = acquire(&lock).await;
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let lock = lock.clone();
                tokio::spawn(async move { lock.acquire().await })
            })
            .collect();
        sleep(SECOND).await;
        link.inject(Fault::status(code).on(Verb::Apply).times(1));
        guard.release().await.unwrap();
        let mut results = Vec::new();
        for task in tasks {
            let start = Instant::now();
            let result = timeout(MINUTE, task).await.expect("told").unwrap();
            results.push((result.is_ok(), start.elapsed()));
            if let Ok(guard) = result {
                guard.release().await.unwrap();
            }
        }
        assert_eq!(results.iter().filter(|(acquired, _)| *acquired).count(), 2, "{code}: {results:?}");
        assert!(results.iter().all(|(_, after)| *after < 5 * SECOND), "{code}: {results:?}");
        sleep(SECOND).await;
        assert_eq!(holder(&server), None);
    }
}

/// Credentials are not accepted for a while, also during a hold.
#[tokio::test(start_paused = true)]
async fn credentials_that_are_not_accepted_for_a_while_do_not_lose_the_lock() {
    let Fixture { link, lock, .. } = Fixture::new();
    let guard = acquire(&lock).await;
    sleep(20 * SECOND).await;
    for _ in 0..5 {
        link.inject(Fault::status(401));
        sleep(4 * SECOND).await;
        link.heal();
        sleep(20 * SECOND).await;
        assert!(guard.is_held());
    }
    link.inject(Fault::status(401));
    let reason = guard.lost().await;
    assert!(reason.to_string().contains("401"), "{reason}");
}

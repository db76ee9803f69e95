//! `with`, on a machine that stands still for longer than the hold lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube_lease_lock::testing::{LeaseServer, Machine};
use kube_lease_lock::{LossReason, WithError};
use tokio::time::{sleep, timeout};

use crate::fixture::{LEASE_DURATION, STEP_TIMEOUT, builder};

#[tokio::test(start_paused = true)]
async fn the_work_does_not_go_on_after_a_freeze_that_was_too_long() {
    assert_eq!(steps_after_the_loss(freeze).await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_work_does_not_go_on_after_a_suspend_that_was_too_long() {
    assert_eq!(steps_after_the_loss(suspend).await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_work_does_not_begin_if_the_caller_is_too_late() {
    let (_link, builder) = builder(&LeaseServer::new());
    let machine = Machine::new();
    let lock = builder.machine(&machine).build().unwrap();
    let begun = Arc::new(AtomicUsize::new(0));
    let working = tokio::spawn({
        let (begun, machine) = (begun.clone(), machine.clone());
        async move {
            let work = |_| {
                begun.fetch_add(1, Ordering::SeqCst);
                std::future::ready(())
            };
            // The lock is acquired while nobody polls the caller.
            let mut with = std::pin::pin!(lock.with(work));
            assert!(timeout(Duration::ZERO, &mut with).await.is_err(), "it was polled once");
            sleep(Duration::from_millis(100)).await;
            machine.suspended_for(LEASE_DURATION);
            with.await
        }
    });
    let result = timeout(STEP_TIMEOUT, working).await.unwrap().unwrap();
    assert!(matches!(result, Err(WithError::Lost(LossReason::DeadlinePassed { .. }))), "{result:?}");
    assert_eq!(begun.load(Ordering::SeqCst), 0);
}

async fn freeze(machine: &Machine) {
    machine.freeze();
    sleep(LEASE_DURATION).await;
    machine.thaw();
}

async fn suspend(machine: &Machine) {
    machine.suspended_for(LEASE_DURATION);
}

/// How many steps the work under the lock makes after `stop` has ended the hold.
async fn steps_after_the_loss(stop: impl AsyncFnOnce(&Machine)) -> usize {
    let (_link, builder) = builder(&LeaseServer::new());
    let machine = Machine::new();
    let lock = builder.machine(&machine).build().unwrap();
    let late_steps = Arc::new(AtomicUsize::new(0));
    let working = tokio::spawn({
        let (machine, late_steps) = (machine.clone(), late_steps.clone());
        async move {
            let work = lock.with(async |hold| {
                loop {
                    sleep(Duration::from_millis(1)).await;
                    late_steps.fetch_add(usize::from(!hold.is_held()), Ordering::SeqCst);
                }
            });
            machine.run(work).await
        }
    });
    sleep(Duration::from_millis(2_500)).await;
    stop(&machine).await;
    let result = timeout(STEP_TIMEOUT, working).await.unwrap().unwrap();
    assert!(matches!(result, Err(WithError::Lost(LossReason::DeadlinePassed { .. }))), "{result:?}");
    late_steps.load(Ordering::SeqCst)
}

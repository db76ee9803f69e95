//! The health of a lock whose requests failed: "the last request failed", and not "nothing has failed".

use kube_lease_lock::testing::{Fault, LeaseServer};
use kube_lease_lock::{AcquireError, Health, TryAcquireError};
use tokio::time::sleep;

use crate::fixture::{RENEW_DEADLINE, acquire, connect};

/// The renewals have failed, and nothing since then has succeeded.
#[tokio::test(start_paused = true)]
async fn a_lock_that_was_lost_because_its_renewals_failed_is_not_idle() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let guard = acquire(&lock).await;
    link.cut();
    sleep(2 * RENEW_DEADLINE).await;
    assert!(!guard.is_held());
    drop(guard);
    assert_eq!(lock.health(), Health::Failing);
}

/// This lock cannot do what it is there for, and no API server has accepted it.
#[tokio::test(start_paused = true)]
async fn a_lock_that_was_refused_is_not_idle() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    link.inject(Fault::status(403));
    assert!(matches!(lock.acquire().await, Err(AcquireError::Forbidden(_))));
    assert_ne!(lock.health(), Health::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_try_failed_is_not_idle() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    link.inject(Fault::refuse());
    assert!(matches!(lock.try_acquire().await, Err(TryAcquireError::Request(_))));
    assert_eq!(lock.health(), Health::Unreached);
}

//! Acquiring a free Lease, waiting for a held one, giving up.

use std::time::Duration;

use kube_lease_lock::{AcquireError, ReleaseError, TryAcquireError, WithError};

use crate::cluster::{Cluster, LEASE_DURATION};
use crate::fixture::{NAME, STEP_TIMEOUT, acquire};

on_both_servers!(
    a_guard_holds_until_it_is_released,
    a_dropped_guard_releases,
    a_waiter_takes_over_after_a_release_without_polling,
    a_crashed_holder_is_replaced_after_its_lease_duration,
    try_acquire_names_the_holder,
    a_later_try_acquire_takes_over_from_a_crashed_holder,
    a_first_try_acquire_says_that_the_record_looks_expired,
    a_timeout_names_the_holder,
    a_timeout_names_another_task_of_this_process,
    a_timeout_says_that_the_record_looks_expired,
    fencing_tokens_rise_with_every_claim_even_after_a_deletion,
    with_returns_the_output_and_releases,
    with_distinguishes_a_loss_from_a_failure,
    holder_returns_the_present_holder,
    shutdown_waits_for_releases_and_ends_waiting,
    a_long_expired_lease_is_claimed_at_first_sight_only_with_max_clock_skew,
);

async fn a_guard_holds_until_it_is_released(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    assert!(guard.is_held() && !guard.token().is_cancelled());
    assert!(guard.remaining() > Duration::ZERO && guard.remaining() <= LEASE_DURATION);
    assert!(guard.holder_identity().starts_with("tester_"));
    assert_eq!(cluster.holder().await.as_deref(), Some(guard.holder_identity()));
    let hold = guard.hold().clone();
    guard.release().await.unwrap();
    assert_eq!(cluster.holder().await, None);
    assert!(!hold.is_held() && hold.token().is_cancelled());
    assert_eq!(hold.ended().await, kube_lease_lock::EndReason::Released);
}

async fn a_dropped_guard_releases(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    let token = guard.token();
    drop(guard);
    assert!(token.is_cancelled(), "the token is cancelled first");
    cluster.until_free().await;
}

async fn a_waiter_takes_over_after_a_release_without_polling(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    let waiting = tokio::spawn({
        let lock = cluster.lock();
        async move { acquire(&lock).await }
    });
    // Long enough for several renewals: time alone must not let the waiter claim.
    tokio::time::sleep(2 * LEASE_DURATION).await;
    assert!(!waiting.is_finished() && guard.is_held());
    guard.release().await.unwrap();
    let guard = tokio::time::timeout(STEP_TIMEOUT, waiting).await.unwrap().unwrap();
    assert_eq!(cluster.holder().await.as_deref(), Some(guard.holder_identity()));
}

async fn a_crashed_holder_is_replaced_after_its_lease_duration(cluster: Cluster) {
    cluster.create(crashed_holder(4)).await;
    let started = tokio::time::Instant::now();
    let _guard = acquire(&cluster.lock()).await;
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(4), "claimed too early, after {waited:?}");
}

async fn try_acquire_names_the_holder(cluster: Cluster) {
    let lock = cluster.lock();
    let guard = lock.try_acquire().await.unwrap();
    for other in [cluster.lock(), lock.clone()] {
        let Err(TryAcquireError::Held { holder: Some(holder), lease, .. }) = other.try_acquire().await else {
            panic!("the Lease is held")
        };
        assert_eq!((holder.identity.as_str(), lease.name()), (guard.holder_identity(), NAME));
    }
    guard.release().await.unwrap();
    drop(lock.try_acquire().await.unwrap());
}

async fn a_later_try_acquire_takes_over_from_a_crashed_holder(cluster: Cluster) {
    cluster.create(crashed_holder(1)).await;
    let lock = cluster.lock();
    assert!(matches!(lock.try_acquire().await, Err(TryAcquireError::Held { .. })));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    drop(lock.try_acquire().await.unwrap());
}

async fn a_timeout_names_the_holder(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    let timeout = Duration::from_secs(1);
    let error = cluster.lock().acquire_timeout(timeout).await.unwrap_err();
    let AcquireError::TimedOut { holder: Some(holder), waited, last: None, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!((holder.identity.as_str(), *waited), (guard.holder_identity(), timeout));
    assert!(error.to_string().contains(guard.holder_identity()), "{error}");
}

async fn a_first_try_acquire_says_that_the_record_looks_expired(cluster: Cluster) {
    cluster.create(crashed_holder(15)).await;
    let error = cluster.lock().try_acquire().await.unwrap_err();
    let TryAcquireError::Held { holder: Some(holder), expired_for: Some(expired), .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(holder.duration, Some(Duration::from_secs(15)));
    assert_eq!(holder.renewed, holder.since);
    assert!(*expired > Duration::from_secs(365 * 24 * 3_600), "{expired:?}");
    let message = error.to_string();
    for part in
        ["by the holder's wall clock", "for 15s", "acquire_timeout", "more than 15s", "max_clock_skew"]
    {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }

    cluster.delete().await;
    let _guard = acquire(&cluster.lock()).await;
    let error = cluster.lock().try_acquire().await.unwrap_err();
    assert!(matches!(error, TryAcquireError::Held { expired_for: None, .. }), "{error:?}");
    assert!(!error.to_string().contains("acquire_timeout"), "{error}");
}

async fn a_timeout_names_another_task_of_this_process(cluster: Cluster) {
    let lock = cluster.lock();
    let guard = acquire(&lock).await;
    let error = lock.acquire_timeout(Duration::from_millis(100)).await.unwrap_err();
    let AcquireError::TimedOut { local_holder: Some(local), holder: None, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(local, guard.holder_identity());
    let message = error.to_string();
    assert!(message.contains("another task of this process") && message.contains(local), "{message}");

    guard.release().await.unwrap();
    let _foreign = acquire(&cluster.lock()).await;
    let error = lock.acquire_timeout(Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut { local_holder: None, holder: Some(_), .. }), "{error:?}");
}

async fn a_timeout_says_that_the_record_looks_expired(cluster: Cluster) {
    cluster.create(crashed_holder(600)).await;
    let error = cluster.lock().acquire_timeout(Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut { expired_for: Some(_), .. }), "{error:?}");
    assert!(error.to_string().contains("acquire_timeout with more than 600s"), "{error}");
}

async fn fencing_tokens_rise_with_every_claim_even_after_a_deletion(cluster: Cluster) {
    let mut last = None;
    for round in 0..4 {
        let guard = acquire(&cluster.lock()).await;
        assert!(last < Some(guard.fencing_token()), "{last:?} in round {round}");
        last = Some(guard.fencing_token());
        let version = cluster.lease().await.unwrap().metadata.resource_version.unwrap();
        assert_eq!(version, guard.fencing_token().to_string());
        guard.release().await.unwrap();
        if round % 2 == 1 {
            cluster.delete().await;
        }
    }
}

async fn with_returns_the_output_and_releases(cluster: Cluster) {
    let lock = cluster.lock();
    assert!(lock.with(async |hold| hold.is_held()).await.unwrap());
    assert_eq!(cluster.holder().await, None);
}

async fn with_distinguishes_a_loss_from_a_failure(cluster: Cluster) {
    let lock = cluster.lock();
    let failed = lock.with(async |_| Err::<(), _>("by itself")).await;
    assert!(matches!(failed, Ok(Err("by itself"))), "{failed:?}");
    assert_eq!(cluster.holder().await, None);

    let dropped = tokio_util::sync::CancellationToken::new();
    let watched = dropped.clone().drop_guard();
    let lost = lock
        .with(async |_| {
            let _watched = watched;
            cluster.delete().await;
            std::future::pending::<()>().await;
        })
        .await;
    assert!(matches!(lost, Err(WithError::Lost(_))), "{lost:?}");
    assert!(dropped.is_cancelled(), "the future was dropped before `with` came back");
}

async fn holder_returns_the_present_holder(cluster: Cluster) {
    let lock = cluster.lock();
    assert_eq!(lock.holder().await.unwrap(), None, "no Lease");
    let guard = acquire(&lock).await;
    let holder = lock.holder().await.unwrap().unwrap();
    assert_eq!(holder.identity, guard.holder_identity());
    assert_eq!(holder.until.unwrap().duration_since(holder.since.unwrap()).unwrap(), LEASE_DURATION);
    assert_eq!(holder.resource_version, u64::from(guard.fencing_token()));
    guard.release().await.unwrap();
    assert_eq!(lock.holder().await.unwrap(), None, "released");
}

async fn shutdown_waits_for_releases_and_ends_waiting(cluster: Cluster) {
    let lock = cluster.lock();
    let guard = acquire(&lock).await;
    let waiting = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await }
    });
    tokio::task::yield_now().await;
    drop(guard);
    lock.shutdown().await.unwrap();
    assert_eq!(cluster.holder().await, None);
    assert!(matches!(waiting.await.unwrap(), Err(AcquireError::ShutDown(_))));
    assert!(matches!(lock.acquire().await, Err(AcquireError::ShutDown(_))));
    assert!(matches!(lock.try_acquire().await, Err(TryAcquireError::Acquire(AcquireError::ShutDown(_)))));
    lock.shutdown().await.unwrap();
}

async fn a_long_expired_lease_is_claimed_at_first_sight_only_with_max_clock_skew(cluster: Cluster) {
    cluster.create(crashed_holder(3600)).await;
    let skewed = cluster.builder(cluster.client()).max_clock_skew(Duration::from_secs(60)).build().unwrap();
    assert!(matches!(cluster.lock().try_acquire().await, Err(TryAcquireError::Held { .. })));
    let guard = skewed.try_acquire().await.unwrap();
    assert!(matches!(guard.release().await, Ok(()) | Err(ReleaseError::Lost { .. })));
}

/// The record of a holder that renewed last years ago.
fn crashed_holder(seconds: u32) -> serde_json::Value {
    serde_json::json!({
        "holderIdentity": "crashed",
        "leaseDurationSeconds": seconds,
        "acquireTime": "2020-01-01T00:00:00.000000Z",
        "renewTime": "2020-01-01T00:00:00.000000Z",
        "leaseTransitions": 1,
    })
}

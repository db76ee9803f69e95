//! The token is cancelled in time, to the millisecond.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, Machine, Verb};
use kube_lease_lock::{LossReason, ReleaseError};
use tokio::time::{Instant, sleep, timeout};

use super::{failures, on_every_verb};
use crate::fixture::{
    Fixture, LEASE_DURATION, RENEW_DEADLINE, RENEW_INTERVAL, connect, holder, spawn_acquire,
};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Twice the granularity of tokio's timers: that of the cancellation, and that of its observation.
const GRANULARITY: Duration = Duration::from_millis(2);

#[tokio::test(start_paused = true)]
async fn the_token_is_cancelled_at_the_renew_deadline_whatever_fails() {
    for (name, fault) in failures() {
        let Fixture { link, lock, .. } = Fixture::new();
        let sent = Instant::now();
        let guard = lock.acquire().await.unwrap();
        link.mute_watches();
        link.inject(on_every_verb(fault));
        let reason = guard.lost().await;
        let held = sent.elapsed();
        assert!(held <= RENEW_DEADLINE, "{name}: late, after {held:?}");
        assert!(held + GRANULARITY >= RENEW_DEADLINE, "{name}: early, after {held:?}");
        assert!(guard.token().is_cancelled() && !guard.is_held());
        let expected = match name {
            "403" => matches!(reason, LossReason::Forbidden { .. }),
            // The server refuses each renewal: no request fails, but none is confirmed either.
            "409" => matches!(reason, LossReason::DeadlinePassed { .. }),
            _ => matches!(reason, LossReason::DeadlinePassed { last_failure: Some(_), .. }),
        };
        assert!(expected, "{name}: {reason:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_renewal_the_deadline_counts_from_its_sending() {
    let Fixture { link, lock, .. } = Fixture::new();
    // The first renewal is answered 2 s after it was sent.
    link.inject(Fault::delay_after(Duration::from_secs(2)).on(Verb::Apply).times(1));
    let guard = lock.acquire().await.unwrap();
    let claimed = Instant::now();
    while link.count(Verb::Apply) == 0 {
        sleep(MILLISECOND).await;
    }
    let sent = Instant::now();
    assert!((RENEW_INTERVAL / 2..=RENEW_INTERVAL + MILLISECOND).contains(&claimed.elapsed()));
    sleep(Duration::from_millis(2_100)).await;
    link.inject(on_every_verb(Fault::hang()));
    guard.lost().await;
    let held = sent.elapsed();
    assert!(held <= RENEW_DEADLINE && held + GRANULARITY + MILLISECOND >= RENEW_DEADLINE, "{held:?}");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_cannot_get_through_ends_with_the_hold() {
    let Fixture { link, lock, .. } = Fixture::new();
    let sent = Instant::now();
    let guard = lock.acquire().await.unwrap();
    link.inject(Fault::refuse());
    let outcome = guard.release().await;
    assert!(matches!(outcome, Err(ReleaseError::Unconfirmed { .. })), "{outcome:?}");
    assert!(sent.elapsed() <= RENEW_DEADLINE);
    link.heal();
    link.forget_requests();
    sleep(LEASE_DURATION).await;
    assert_eq!(link.count(Verb::Apply), 0, "nothing is written past the deadline");
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_followed_by_a_takeover_to_the_millisecond() {
    let fixture = Fixture::new();
    let (link, lock) = connect(&fixture.server);
    let started = Instant::now();
    let _guard = lock.acquire().await.unwrap();
    let waiting = spawn_acquire(&fixture.lock);
    // The last renewal that gets through is sent at 10 s.
    sleep(Duration::from_secs(12)).await;
    link.cut();
    let _successor = waiting.await.unwrap();
    let takeover = started.elapsed();
    assert!(
        takeover <= Duration::from_secs(10) + LEASE_DURATION + 2 * GRANULARITY,
        "late, after {takeover:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_shuts_down_cancels_the_token_and_lets_the_lease_expire() {
    let fixture = Fixture::new();
    let server = fixture.server.clone();
    let guard = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let guard = runtime.block_on(async { connect(&server).1.acquire().await.unwrap() });
        runtime.shutdown_background();
        guard
    })
    .join()
    .unwrap();
    assert!(guard.token().is_cancelled() && !guard.is_held());
    assert_eq!(guard.lost().await, LossReason::TaskEnded);
    assert!(holder(&fixture.server).is_some(), "no task was left to release the Lease");
    let release = guard.release().await;
    assert!(matches!(release, Err(ReleaseError::Lost { reason: LossReason::TaskEnded, .. })), "{release:?}");
    drop(fixture.lock.acquire().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_lock_is_lost_when_a_suspended_machine_resumes() {
    let machine = Machine::new();
    let Fixture { lock, .. } = Fixture::with(|builder| builder.machine(&machine));
    let guard = lock.acquire().await.unwrap();
    let token = guard.token();
    machine.suspended_for(Duration::from_secs(60));
    assert!(!guard.is_held(), "at the first question after the suspend");
    timeout(Duration::from_secs(1), token.cancelled()).await.unwrap();
    assert!(matches!(guard.lost().await, LossReason::DeadlinePassed { .. }));
}

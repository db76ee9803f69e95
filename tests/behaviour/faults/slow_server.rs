//! A server that answers slowly is waited for. A request that is lost is repeated.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, Verb};
use kube_lease_lock::{LeaseLockBuilder, TryAcquireError};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{Fixture, acquire, builder, create_free_lease, spawn_acquire};

const SECOND: Duration = Duration::from_secs(1);

/// Every write of the record takes `delay`, and the server cancels it if the client gives up.
fn slow_writes(delay: Duration) -> Fault {
    Fault::slow(delay).on_any(&[Verb::Update, Verb::Apply])
}

/// Settings that survive an API outage of a minute.
fn long_lease(builder: LeaseLockBuilder) -> LeaseLockBuilder {
    builder.lease_duration(270 * SECOND).renew_deadline(240 * SECOND).renew_interval(60 * SECOND)
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_acquired_and_kept_while_writes_are_answered_within_their_bound() {
    for (lease, deadline, interval, bound) in
        [(15, 10, 5, 5), (3, 2, 1, 1), (60, 40, 20, 20), (270, 240, 60, 120)]
    {
        let [lease, deadline, interval, bound] = [lease, deadline, interval, bound].map(Duration::from_secs);
        let Fixture { link, lock, .. } = Fixture::with(|builder| {
            builder.lease_duration(lease).renew_deadline(deadline).renew_interval(interval)
        });
        let delay = bound.mul_f64(0.9);
        link.inject(slow_writes(delay));
        let start = Instant::now();
        let guard = lock.acquire().await.unwrap();
        assert!(start.elapsed() < delay + SECOND / 10, "{lease:?}: {:?}", start.elapsed());

        assert!(timeout(20 * lease, guard.lost()).await.is_err(), "{lease:?}: lost");
        let renewals = link.count(Verb::Apply);
        let expected = 20 * lease.as_secs() / interval.as_secs();
        assert!(renewals as u64 <= expected + 10, "{lease:?}: {renewals} writes for {expected} renewals");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_becomes_slow_does_not_lose_the_lock() {
    let Fixture { link, lock, .. } = Fixture::new();
    let guard = lock.acquire().await.unwrap();
    sleep(20 * SECOND).await;
    link.inject(slow_writes(3 * SECOND));
    assert!(timeout(120 * SECOND, guard.lost()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lost_claim_delays_a_handover_by_seconds_whatever_the_lease_duration() {
    let fixture = Fixture::with(long_lease);
    let holder = acquire(&fixture.lock).await;
    let (link, builder) = builder(&fixture.server);
    let waiter = spawn_acquire(&long_lease(builder).build().unwrap());
    sleep(100 * SECOND).await;
    link.inject(Fault::hang().on(Verb::Apply).times(1));
    holder.release().await.unwrap();
    let released = Instant::now();
    let next = waiter.await.unwrap();
    assert!(released.elapsed() < 5 * SECOND, "{:?}", released.elapsed());
    next.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_read_delays_its_caller_by_seconds_whatever_the_lease_duration() {
    let Fixture { link, lock, .. } = Fixture::with(long_lease);
    let start = Instant::now();
    link.inject(Fault::hang().on(Verb::Get).times(1));
    assert!(lock.holder().await.unwrap().is_none());
    assert!(start.elapsed() < 5 * SECOND, "{:?}", start.elapsed());

    let start = Instant::now();
    link.inject(Fault::hang().times(1));
    let guard = lock.try_acquire().await.unwrap();
    assert!(start.elapsed() < 5 * SECOND, "{:?}", start.elapsed());
    guard.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reads_that_are_never_answered_end_within_seconds_whatever_the_lease_duration() {
    let Fixture { link, lock, .. } = Fixture::with(long_lease);
    link.inject(Fault::hang());
    let start = Instant::now();
    assert!(matches!(lock.try_acquire().await, Err(TryAcquireError::Request(_))));
    assert!(lock.holder().await.is_err());
    assert!(start.elapsed() <= 10 * SECOND + SECOND / 10, "{:?}", start.elapsed());
}

/// The first claim is made 4 s later; its repetition is refused, once in each way. The refusal must not be taken for the end
/// of the first claim.
#[tokio::test(start_paused = true)]
async fn a_repetition_that_fails_does_not_hide_a_claim_that_is_made() {
    for (name, failure) in [
        ("403", Fault::status(403)),
        ("500", Fault::status(500)),
        ("refused", Fault::refuse()),
        ("garbage", Fault::status(400)),
    ] {
        let Fixture { server, link, lock } = Fixture::new();
        create_free_lease(&server).await;
        link.inject(Fault::delay_before(4 * SECOND).on(Verb::Apply).times(1));
        link.inject(failure.on(Verb::Apply).times(1));
        let start = Instant::now();
        let guard = lock.acquire().await.unwrap();
        assert!(start.elapsed() < 5 * SECOND, "{name}: {:?}", start.elapsed());
        assert!(link.count(Verb::Apply) >= 2, "{name}");
        guard.release().await.unwrap();
    }
}

/// While the network is cut, all requests are lost. The next one is not far away when the network works again.
#[tokio::test(start_paused = true)]
async fn a_cut_network_is_found_to_work_again_within_seconds() {
    let Fixture { server, link, lock } = Fixture::with(long_lease);
    create_free_lease(&server).await;
    link.inject(Fault::hang().on(Verb::Apply));
    let waiter = spawn_acquire(&lock);
    sleep(60 * SECOND).await;
    link.heal();
    let healed = Instant::now();
    let guard = waiter.await.unwrap();
    assert!(healed.elapsed() <= 6 * SECOND, "{:?}", healed.elapsed());
    guard.release().await.unwrap();
}

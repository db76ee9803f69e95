//! Requests that are repeated beside the first: what their refusals hide, and how long they take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use http::header::CONTENT_TYPE;
use kube::Client;
use kube::client::Body;
use kube_lease_lock::testing::{Fault, LeaseServer, Link, Verb};
use kube_lease_lock::{AcquireError, LeaseLock, LeaseLockBuilder};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{Fixture, NAME, acquire, create_free_lease, delete_lease, holder};

const SECOND: Duration = Duration::from_secs(1);

/// Settings that survive an API outage of a minute.
fn long_lease(builder: LeaseLockBuilder) -> LeaseLockBuilder {
    builder.lease_duration(270 * SECOND).renew_deadline(240 * SECOND).renew_interval(60 * SECOND)
}

/// Sends the apply patches over the links of the script, one after the other, each after its pause, and every other request and
/// all later patches over the last link. Tells when each patch was sent.
fn scripted(script: Vec<(Duration, Link)>) -> (Client, Arc<Mutex<Vec<Instant>>>) {
    let (count, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let log = sent.clone();
    let script: Arc<Vec<_>> =
        Arc::new(script.into_iter().map(|(pause, link)| (pause, link.client())).collect());
    let service = tower::service_fn(move |request: Request<Body>| {
        let is_apply = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply"));
        let last = script.len() - 1;
        let number = if is_apply {
            log.lock().unwrap().push(Instant::now());
            count.fetch_add(1, Ordering::Relaxed).min(last)
        } else {
            last
        };
        let script = script.clone();
        async move {
            let (pause, client) = &script[number];
            if is_apply {
                sleep(*pause).await;
            }
            client.send(request).await
        }
    });
    (Client::new(service, "default"), sent)
}

fn link_with(server: &LeaseServer, fault: Fault) -> Link {
    let link = server.connect();
    link.inject(fault.on(Verb::Apply));
    link
}

/// The second of three copies makes the claim, and its answer is lost. It is given up for the third. The first and the third are
/// refused.
#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_hide_a_claim_whose_copy_was_given_up() {
    let server = LeaseServer::new();
    create_free_lease(&server).await;
    let refused = || link_with(&server, Fault::status(400));
    let lost = link_with(&server, Fault::lose_reply());
    let (client, _) = scripted(vec![
        (9 * SECOND, refused()),
        (Duration::ZERO, lost),
        (Duration::ZERO, refused()),
        (Duration::ZERO, server.connect()),
    ]);
    let lock = LeaseLock::builder(client, NAME).lease_duration(60 * SECOND).build().unwrap();
    match lock.acquire().await {
        Ok(guard) => guard.release().await.unwrap(),
        Err(error) => {
            sleep(10 * SECOND).await;
            assert_eq!(holder(&server), None, "still held 10 s after {error}");
        }
    }
}

/// The first copy is lost. All others are refused.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_within_seconds_although_the_first_copy_is_lost() {
    let Fixture { server, link, lock } = Fixture::with(|builder| builder.lease_duration(3600 * SECOND));
    create_free_lease(&server).await;
    link.inject(Fault::hang().on(Verb::Apply).times(1));
    link.inject(Fault::status(403).on(Verb::Apply));
    let start = Instant::now();
    let error = lock.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::Forbidden(_)), "{error:?}");
    assert!(
        start.elapsed() < 60 * SECOND,
        "told after {:?} and {} requests",
        start.elapsed(),
        link.count(Verb::Apply)
    );
}

/// The first copy is lost. The server asks each repetition to wait.
#[tokio::test(start_paused = true)]
async fn a_repetition_waits_as_long_as_the_server_asks() {
    let Fixture { server, link, lock } = Fixture::with(long_lease);
    create_free_lease(&server).await;
    link.inject(Fault::hang().on(Verb::Apply).times(1));
    link.inject(Fault::status(429).retry_after(30 * SECOND).on(Verb::Apply));
    assert!(timeout(32 * SECOND, lock.acquire()).await.is_err());
    let claims = link.count(Verb::Apply);
    assert!(claims <= 2, "{claims} claims: the server has asked for a pause of 30 s after the second one");
}

/// The first copy fails by and by, the second one with a pause that the server asks for.
#[tokio::test(start_paused = true)]
async fn a_failure_without_a_pause_does_not_hide_a_pause_that_the_server_asks_for() {
    let server = LeaseServer::new();
    create_free_lease(&server).await;
    let busy = Fault::status(429).retry_after(30 * SECOND);
    let (client, sent) = scripted(vec![
        (3 * SECOND, link_with(&server, Fault::status(500))),
        (SECOND, link_with(&server, busy)),
        (Duration::ZERO, server.connect()),
    ]);
    let lock = long_lease(LeaseLock::builder(client, NAME)).build().unwrap();
    acquire_within(&lock, 120 * SECOND).await;
    let sent = sent.lock().unwrap().clone();
    let pause = sent[2] - sent[1];
    assert!(pause >= 30 * SECOND, "claimed again after {pause:?}");
}

async fn acquire_within(lock: &LeaseLock, within: Duration) {
    let guard = timeout(within, lock.acquire()).await.expect("not acquired in time").unwrap();
    guard.release().await.unwrap();
}

/// The Lease is deleted while the writes of this client hang.
#[tokio::test(start_paused = true)]
async fn the_reason_of_a_deletion_is_told_within_seconds_whatever_the_lease_duration() {
    let Fixture { server, link, lock } = Fixture::with(|builder| builder.lease_duration(3600 * SECOND));
    let guard = acquire(&lock).await;
    sleep(10 * SECOND).await;
    link.inject(Fault::hang().on(Verb::Update));
    delete_lease(&server);
    let start = Instant::now();
    let reason = guard.lost().await;
    assert!(start.elapsed() < 60 * SECOND, "{reason} told after {:?}", start.elapsed());
}

/// One answer came late. The next request that is lost is repeated within seconds all the same.
#[tokio::test(start_paused = true)]
async fn one_late_answer_does_not_end_the_repetitions() {
    let Fixture { server, link, lock } = Fixture::with(long_lease);
    create_free_lease(&server).await;
    link.inject(Fault::delay_after(30 * SECOND).on(Verb::Apply));
    let guard = lock.acquire().await.unwrap();
    link.heal();
    guard.release().await.unwrap();
    link.inject(Fault::hang().on(Verb::Apply).times(1));
    let start = Instant::now();
    let guard = lock.acquire().await.unwrap();
    assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
    guard.release().await.unwrap();
}

/// A server whose startup lasts: the lock gives up when `startup_timeout` is over.
#[tokio::test(start_paused = true)]
async fn the_startup_timeout_is_kept_whatever_the_lease_duration() {
    for lease in [15, 60, 3600, 86_400] {
        let Fixture { link, lock, .. } = Fixture::with(|builder| builder.lease_duration(lease * SECOND));
        link.inject(Fault::refuse());
        let start = Instant::now();
        let error = lock.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::Unreachable { .. }), "{error:?}");
        assert!(start.elapsed() <= 66 * SECOND, "lease of {lease} s: {:?}", start.elapsed());
    }
}

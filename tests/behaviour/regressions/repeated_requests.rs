//! Requests that are repeated beside the first: what their refusals hide, and how long they take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use http::header::CONTENT_TYPE;
use kube::Client;
use kube::client::Body;
use kube_lease_lock::testing::{Fault, LeaseServer, Link, Machine, Verb};
use kube_lease_lock::{AcquireError, LeaseLock, LeaseLockBuilder};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{
    Fixture, NAME, NAMESPACE, acquire, builder, connect, create_free_lease, delete_lease, holder,
    spawn_acquire,
};

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

/// The server asks the second copy for a pause. The first one fails later, without a pause.
#[tokio::test(start_paused = true)]
async fn a_failure_without_a_pause_does_not_hide_a_pause_that_the_server_asks_for() {
    let server = LeaseServer::new();
    create_free_lease(&server).await;
    let busy = Fault::status(429).retry_after(30 * SECOND);
    let (client, sent) = scripted(vec![
        (3 * SECOND, link_with(&server, Fault::status(500))),
        (SECOND / 10, link_with(&server, busy)),
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
    for lease in [15, 60, 3600, 3600, 86_400, 86_400] {
        let Fixture { link, lock, .. } = Fixture::with(|builder| builder.lease_duration(lease * SECOND));
        link.inject(Fault::refuse());
        let start = Instant::now();
        let error = lock.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::Unreachable { .. }), "{error:?}");
        assert!(start.elapsed() <= 66 * SECOND, "lease of {lease} s: {:?}", start.elapsed());
    }
}

/// A request that was lost is no measure of the distance. Its process would ask the others for 2 s of head start.
#[tokio::test(start_paused = true)]
async fn a_lost_packet_is_no_measure_of_the_distance() {
    let Fixture { server, link, lock } = Fixture::new();
    create_free_lease(&server).await;
    link.inject(Fault::hang().on(Verb::Get).times(1));
    acquire(&lock).await.release().await.unwrap();
    let guard = acquire(&connect(&server).1).await;
    let waiting = spawn_acquire(&lock);
    sleep(2 * SECOND).await;
    let annotations = server.lease(NAMESPACE, NAME).unwrap().metadata.annotations.unwrap();
    let ticket = &annotations["kube-lease-lock/joining"];
    let head_start: u64 = ticket.trim_end().split_once(':').unwrap().1.parse().unwrap();
    assert!(head_start <= 500, "a process without distance asks for {head_start} ms");
    guard.release().await.unwrap();
    waiting.await.unwrap().release().await.unwrap();
}

/// The first copy of a renewal is lost, and the second one fails. There is time enough for a third one.
#[tokio::test(start_paused = true)]
async fn a_renewal_survives_a_lost_packet_and_an_error() {
    for lease in [3, 15, 60] {
        for failure in [Fault::status(500), Fault::status(503), Fault::refuse(), Fault::reset()] {
            let Fixture { link, lock, .. } = Fixture::with(|builder| builder.lease_duration(lease * SECOND));
            let guard = acquire(&lock).await;
            sleep(3 * lease * SECOND).await;
            link.inject(Fault::hang().on(Verb::Apply).times(1));
            link.inject(failure.clone().on(Verb::Apply).times(1));
            let lost = timeout(3 * lease * SECOND, guard.lost()).await;
            assert!(lost.is_err(), "lease of {lease} s, {failure:?}: {lost:?}");
        }
    }
}

/// The machine is suspended while a release is in flight.
#[tokio::test(start_paused = true)]
async fn nothing_is_written_past_the_deadline_after_a_suspension() {
    let (server, machine) = (LeaseServer::new(), Machine::new());
    let (link, builder) = builder(&server);
    let lock = builder.machine(&machine).build().unwrap();
    let guard = acquire(&lock).await;
    sleep(SECOND).await;
    link.inject(Fault::hang().on(Verb::Apply).times(1));
    let releasing = tokio::spawn(guard.release());
    sleep(SECOND).await;
    machine.suspended_for(60 * SECOND);
    let before = link.count(Verb::Apply);
    let released = releasing.await.unwrap();
    sleep(20 * SECOND).await;
    assert_eq!(link.count(Verb::Apply), before, "written past the deadline; {released:?}");
}

/// Both copies of a claim or of a creation arrive after the acquisition was given up.
#[tokio::test(start_paused = true)]
async fn late_copies_of_a_claim_that_was_given_up_leave_the_lease_free() {
    for exists in [true, false] {
        for given_up_after in [1, 3, 4, 6, 9] {
            let Fixture { server, link, lock } = Fixture::with(long_lease);
            if exists {
                create_free_lease(&server).await;
            }
            link.inject(Fault::delay_before(8 * SECOND).on_any(&[Verb::Apply, Verb::Update]).times(2));
            let acquired = timeout(given_up_after * SECOND, lock.acquire()).await;
            drop(acquired);
            sleep(40 * SECOND).await;
            assert_eq!(holder(&server), None, "{exists}, given up after {given_up_after} s");
        }
    }
}

/// Copies of a renewal arrive after the hold has ended, with or without another task of the process that waits.
#[tokio::test(start_paused = true)]
async fn late_copies_of_a_renewal_change_nothing() {
    for waited_for in [false, true] {
        for ended_after in [1, 3, 6] {
            let Fixture { server, link, lock } = Fixture::with(long_lease);
            let guard = acquire(&lock).await;
            let next = waited_for.then(|| spawn_acquire(&lock));
            link.inject(Fault::delay_before(12 * SECOND).on(Verb::Apply).times(2));
            let before = link.count(Verb::Apply);
            while link.count(Verb::Apply) == before {
                sleep(SECOND / 10).await;
            }
            sleep(ended_after * SECOND).await;
            drop(guard);
            if let Some(next) = next {
                let next = timeout(20 * SECOND, next).await.expect("acquired in time").unwrap();
                assert!(timeout(300 * SECOND, next.lost()).await.is_err());
                next.release().await.unwrap();
            }
            sleep(40 * SECOND).await;
            assert_eq!(holder(&server), None, "{waited_for} {ended_after}");
        }
    }
}

/// The first copy of a renewal is lost with its connection, and the server at the other end of the next one is slow. Each copy is
/// given up for the next one, so the server cancels them all.
#[tokio::test(start_paused = true)]
async fn a_renewal_survives_a_lost_packet_and_a_slow_server() {
    let Fixture { link, lock, .. } = Fixture::with(|builder| builder.lease_duration(60 * SECOND));
    let guard = acquire(&lock).await;
    sleep(100 * SECOND).await;
    link.inject(Fault::hang().on(Verb::Apply).times(1));
    link.inject(Fault::slow(6 * SECOND).on(Verb::Apply));
    let lost = timeout(300 * SECOND, guard.lost()).await;
    assert!(lost.is_err(), "{lost:?}");
}

/// The same for a claim.
#[tokio::test(start_paused = true)]
async fn a_claim_survives_a_lost_packet_and_a_slow_server() {
    let Fixture { server, link, lock } = Fixture::with(long_lease);
    create_free_lease(&server).await;
    link.inject(Fault::hang().on(Verb::Apply).times(1));
    link.inject(Fault::slow(6 * SECOND).on(Verb::Apply));
    let start = Instant::now();
    let guard = lock.acquire().await.unwrap();
    assert!(start.elapsed() < 30 * SECOND, "{:?}", start.elapsed());
    guard.release().await.unwrap();
}

/// The first copy of a renewal is lost. The others are refused.
#[tokio::test(start_paused = true)]
async fn the_reason_of_a_loss_names_the_refusal_of_a_repetition() {
    let Fixture { link, lock, .. } = Fixture::new();
    let guard = acquire(&lock).await;
    sleep(20 * SECOND).await;
    link.inject(Fault::hang().on(Verb::Apply).times(1));
    link.inject(Fault::status(403).on(Verb::Apply));
    let reason = guard.lost().await;
    assert!(reason.to_string().contains("forbidden"), "{reason}");
}

/// The first copy of a read is lost. The server asks the repetition to wait.
#[tokio::test(start_paused = true)]
async fn a_read_waits_as_long_as_the_server_asks_its_repetition() {
    let Fixture { server, link, lock } = Fixture::new();
    create_free_lease(&server).await;
    link.inject(Fault::hang().on(Verb::Get).times(1));
    link.inject(Fault::status(429).retry_after(30 * SECOND).on(Verb::Get));
    assert!(timeout(30 * SECOND, lock.acquire()).await.is_err());
    let reads = link.count(Verb::Get);
    assert!(reads <= 2, "{reads} reads");
}

/// Two processes whose requests are lost and late now and then.
#[tokio::test(start_paused = true)]
async fn copies_do_not_make_two_holders() {
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let server = LeaseServer::new();
        let (link, lock) = connect(&server);
        let (other_link, other) = connect(&server);
        let holders = Arc::new(AtomicUsize::new(0));
        let run = |lock: LeaseLock, holders: Arc<AtomicUsize>, seed: u64| async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            loop {
                let Ok(guard) = lock.acquire().await else { continue };
                if !guard.is_held() {
                    continue;
                }
                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two holders");
                let _ = timeout(seconds(&mut rng, 1..12), guard.lost()).await;
                holders.fetch_sub(1, Ordering::SeqCst);
                drop(guard);
                sleep(Duration::from_millis(rng.u64(0..2000))).await;
            }
        };
        let tasks = [
            tokio::spawn(run(lock.clone(), holders.clone(), seed)),
            tokio::spawn(run(other.clone(), holders.clone(), seed + 1)),
        ];
        for _ in 0..20 {
            for link in [&link, &other_link] {
                let fault = match rng.u32(0..7) {
                    0 => Fault::hang(),
                    1 => Fault::lose_reply(),
                    2 => Fault::delay_before(seconds(&mut rng, 1..15)),
                    3 => Fault::delay_after(seconds(&mut rng, 1..15)),
                    4 => Fault::slow(seconds(&mut rng, 1..6)),
                    5 => Fault::replay(),
                    _ => Fault::commit_then_status(504),
                };
                link.inject(fault.times(rng.usize(1..3)));
            }
            sleep(Duration::from_millis(rng.u64(500..8000))).await;
        }
        for task in tasks {
            assert!(!task.is_finished(), "seed {seed}: {:?}", task.await);
            task.abort();
        }
    }
}

fn seconds(rng: &mut fastrand::Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_secs(rng.u64(range))
}

//! Every defect that was ever found in the lock, kept from coming back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

use kube_lease_lock::testing::{Fault, LeaseServer, Link, Machine, Verb};
use kube_lease_lock::{AcquireError, CreateMode, LeaseLock, LeaseLockBuilder, LossReason, ReleaseError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const NAME: &str = "a-lock";
fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}
type Set = fn(LeaseLockBuilder, Duration) -> LeaseLockBuilder;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
fn builder(server: &LeaseServer) -> (Link, LeaseLockBuilder) {
    let link = server.connect();
    let builder = LeaseLock::builder(link.client(), NAME).identity("tester");
    (link, builder)
}
fn connect(server: &LeaseServer) -> (Link, LeaseLock) {
    let (link, builder) = builder(server);
    (link, builder.build().unwrap())
}
fn holder(server: &LeaseServer) -> Option<String> {
    server.lease("default", NAME)?.spec?.holder_identity.filter(|h| !h.is_empty())
}
fn set_holder(server: &LeaseServer, by: &str) {
    server.edit("default", NAME, |l| l.spec.as_mut().unwrap().holder_identity = Some(by.into()));
}
async fn free_lease(server: &LeaseServer) {
    connect(server).1.acquire().await.unwrap().release().await.unwrap();
}
async fn poll_once<F: Future + Unpin>(f: &mut F) {
    std::future::poll_fn(|cx| {
        let _ = std::pin::Pin::new(&mut *f).poll(cx);
        std::task::Poll::Ready(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_counts_from_its_own_sending() {
    let server = LeaseServer::new();
    free_lease(&server).await;
    let (link, lock) = connect(&server);
    link.inject(Fault::lose_reply().on(Verb::Apply).times(1)); // claim 1 is made at 0 s, its reply lost
    link.inject(Fault::status(500).on(Verb::Get).skip(1)); // reads fail until 9 s
    let acquiring = tokio::spawn(async move { lock.acquire().await.unwrap() });
    while link.count(Verb::Apply) < 1 {
        sleep(ms(1)).await;
    }
    let claimed = Instant::now();
    let successor = tokio::spawn({
        let lock = connect(&server).1;
        async move { lock.acquire().await.unwrap() }
    });
    sleep(s(9)).await;
    link.heal();
    link.inject(Fault::status(500).on(Verb::Apply).times(1)); // claim 2, over claim 1, is never made
    while link.count(Verb::Apply) < 2 {
        sleep(ms(1)).await;
    }
    server.edit("default", NAME, |l| {
        l.metadata.labels.get_or_insert_default().insert("a".into(), "b".into());
    });
    let guard = acquiring.await.unwrap();
    link.inject(Fault::hang());
    link.mute_watches();
    let next = successor.await.unwrap();
    assert!(
        !guard.is_held(),
        "{:?} after claim 1 both {} and {} hold, for another {:?}",
        claimed.elapsed(),
        guard.holder_identity(),
        next.holder_identity(),
        guard.remaining()
    );
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_an_acquire_whose_claim_is_on_the_wire() {
    let server = LeaseServer::new();
    free_lease(&server).await;
    let (link, lock) = connect(&server);
    link.inject(Fault::delay_after(s(2)).on(Verb::Apply).times(1));
    let waiting = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await.map(drop) }
    });
    sleep(s(1)).await;
    lock.shutdown().await.unwrap();
    assert_eq!(holder(&server), None, "shutdown returned while the Lease was held");
    let _ = waiting.await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_a_guard_that_was_won_but_not_delivered() {
    let server = LeaseServer::new();
    let (_link, lock) = connect(&server);
    let mut acquiring = Box::pin(lock.acquire());
    poll_once(&mut acquiring).await;
    sleep(s(1)).await; // won in the background by now
    assert!(holder(&server).is_some());
    tokio::join!(lock.shutdown(), acquiring).0.unwrap();
    assert_eq!(holder(&server), None, "shutdown returned while the Lease was held");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_backs_off_while_the_watch_fails_and_reads_do_not() {
    let server = LeaseServer::new();
    let _guard = connect(&server).1.acquire().await.unwrap();
    let (link, lock) = connect(&server);
    link.inject(Fault::status(500).on(Verb::Watch));
    let waiting = tokio::spawn(async move { lock.acquire().await });
    sleep(s(600)).await;
    let (watches, reads) = (link.count(Verb::Watch), link.count(Verb::Get));
    waiting.abort();
    assert!(watches + reads < 2400, "{watches} watches and {reads} reads in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_backs_off_while_writes_fail_and_reads_do_not() {
    let server = LeaseServer::new();
    free_lease(&server).await;
    let (link, lock) = connect(&server);
    link.inject(Fault::status(500).on(Verb::Apply));
    let waiting = tokio::spawn(async move { lock.acquire().await });
    sleep(s(600)).await;
    let (writes, reads) = (link.count(Verb::Apply), link.count(Verb::Get));
    waiting.abort();
    assert!(writes < 1200, "{writes} writes and {reads} reads in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_backs_off_while_it_may_not_replace_a_dead_holder() {
    let server = LeaseServer::new();
    free_lease(&server).await;
    set_holder(&server, "dead");
    let (link, lock) = connect(&server);
    link.inject(Fault::status(409).on(Verb::Apply));
    let waiting = tokio::spawn(async move { lock.acquire().await });
    sleep(s(600)).await;
    waiting.abort();
    assert!(link.count(Verb::Apply) < 1200, "{} writes in ten minutes", link.count(Verb::Apply));
}

#[tokio::test(start_paused = true)]
async fn try_acquire_comes_back() {
    let server = LeaseServer::new();
    free_lease(&server).await;
    let (link, lock) = connect(&server);
    link.inject(Fault::status(409).on(Verb::Apply));
    assert!(timeout(s(600), lock.try_acquire()).await.is_ok(), "{} writes", link.count(Verb::Apply));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_is_not_hammered() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let _guard = lock.acquire().await.unwrap();
    for _ in 0..60_000 {
        sleep(ms(10)).await;
        link.end_watches();
    }
    let watches = link.count(Verb::Watch);
    assert!(watches < 1200, "{watches} watches in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn one_refused_watch_does_not_end_watching_for_good() {
    for code in [401, 403] {
        let server = LeaseServer::new();
        let (link, lock) = connect(&server);
        let guard = lock.acquire().await.unwrap();
        sleep(s(1)).await;
        link.inject(Fault::status(code).on(Verb::Watch).times(1));
        link.end_watches();
        sleep(ms(601_500)).await; // half-way between two renewals
        let stolen = Instant::now();
        set_holder(&server, "them");
        guard.lost().await;
        assert!(stolen.elapsed() < ms(500), "{code}: noticed after {:?}", stolen.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn acquire_never_returns_a_guard_that_is_lost() {
    let (server, machine) = (LeaseServer::new(), Machine::new());
    let (link, b) = builder(&server);
    let lock = b.machine(&machine).build().unwrap();
    link.inject(Fault::delay_after(s(1)).on(Verb::Update).times(1));
    let waiting = tokio::spawn(async move { lock.acquire().await.map(|guard| guard.is_held()) });
    sleep(ms(500)).await;
    machine.suspended_for(s(60));
    assert!(waiting.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_must_not_exist_is_reported_at_once_though_held() {
    let server = LeaseServer::new();
    let _guard = connect(&server).1.acquire().await.unwrap();
    let lock = builder(&server).1.create_mode(CreateMode::MustNotExist).build().unwrap();
    let outcome = timeout(s(60), lock.acquire()).await.expect("it waits for a Lease that it may not use");
    assert!(matches!(outcome, Err(AcquireError::LeaseExists(_))));
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_creation_counts_as_creation() {
    let server = LeaseServer::new();
    let (link, b) = builder(&server);
    let lock = b.create_mode(CreateMode::MustNotExist).build().unwrap();
    link.inject(Fault::delay_after(s(2)).on(Verb::Update).times(1));
    lock.acquire_timeout(s(1)).await.unwrap_err();
    sleep(s(10)).await;
    let again = lock.acquire().await;
    assert!(again.is_ok(), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn durations_however_absurd_are_an_error_not_a_panic() {
    let server = LeaseServer::new();
    let settings: [(&str, Set); 4] = [
        ("lease_duration", LeaseLockBuilder::lease_duration),
        ("renew_deadline", LeaseLockBuilder::renew_deadline),
        ("renew_interval", LeaseLockBuilder::renew_interval),
        ("request_timeout", LeaseLockBuilder::request_timeout),
    ];
    let panics = |b: LeaseLockBuilder| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(b.build()))).is_err()
    };
    let bad: Vec<_> = settings
        .into_iter()
        .filter(|(_, set)| panics(set(builder(&server).1, Duration::MAX)))
        .map(|(n, _)| n)
        .collect();
    assert!(bad.is_empty(), "panics on Duration::MAX: {bad:?}");
}

#[test]
fn nothing_panics_outside_of_a_runtime() {
    fn poll<F: Future>(f: F) {
        let _ = std::pin::pin!(f).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = || {
        runtime.block_on(async {
            let (l, lock) = connect(&LeaseServer::new());
            let g = lock.acquire().await.unwrap();
            (l, lock, g)
        })
    };
    let panics = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
    let mut bad = Vec::new();
    if panics(&|| poll(world().1.shutdown())) {
        bad.push("shutdown");
    }
    if panics(&|| poll(world().1.holder())) {
        bad.push("holder");
    }
    if panics(&|| {
        let w = world();
        poll(w.1.try_acquire());
    }) {
        bad.push("try_acquire");
    }
    assert!(bad.is_empty(), "{bad:?}");
}

#[tokio::test(start_paused = true)]
async fn a_401_is_not_a_missing_permission() {
    let server = LeaseServer::new();
    let guard = connect(&server).1.acquire().await.unwrap();
    let (link, lock) = connect(&server);
    let waiting = tokio::spawn(async move { lock.acquire().await });
    sleep(s(7)).await;
    link.inject(Fault::status(401).on(Verb::Apply).times(1));
    guard.release().await.unwrap();
    let outcome = waiting.await.unwrap();
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_none_is_reported() {
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        let body = kube::client::Body::from(b"404 page not found".to_vec());
        Ok::<_, std::io::Error>(http::Response::builder().status(404).body(body).unwrap())
    });
    let lock = LeaseLock::new(kube::Client::new(service, "default"), NAME).unwrap();
    assert!(timeout(s(3600), lock.acquire()).await.is_ok(), "acquire retries for ever");
}

#[test]
fn a_release_cut_off_by_its_runtime_does_not_claim_to_be_one() {
    let server = LeaseServer::new();
    let first = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let second = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (link, guard) = first.block_on(async {
        let (link, lock) = connect(&server);
        (link, lock.acquire().await.unwrap())
    });
    link.inject(Fault::hang());
    let release = guard.release();
    std::thread::sleep(ms(200));
    first.shutdown_background();
    let error = second.block_on(async { timeout(s(5), release).await.unwrap() }).unwrap_err();
    let told = matches!(
        error,
        ReleaseError::Unconfirmed { .. } | ReleaseError::Lost { reason: LossReason::TaskEnded, .. }
    );
    assert!(told, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_and_a_release_cost_one_write_even_if_the_watch_is_faster() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let guard = lock.acquire().await.unwrap();
    link.inject(Fault::delay_after(ms(50)).on(Verb::Apply));
    link.forget_requests();
    sleep(s(51)).await;
    let (reads, writes) = (link.count(Verb::Get), link.count(Verb::Apply));
    link.forget_requests();
    guard.release().await.unwrap();
    let release: Vec<_> = link.requests().iter().map(|r| r.verb).collect();
    assert_eq!((reads, writes, release), (0, 10, vec![Verb::Apply]));
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_bounded() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    link.inject(Fault::status(429).retry_after(s(1_000_000)).on(Verb::Get).times(1));
    assert!(timeout(s(3600), lock.acquire()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_died_before_the_claim_is_replaced_soon_after_it() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let guard = lock.acquire().await.unwrap();
    sleep(s(6)).await; // a renewal was told: the watch is alive
    link.mute_watches();
    guard.release().await.unwrap();
    let guard = lock.acquire().await.unwrap();
    sleep(s(2)).await;
    set_holder(&server, "them");
    timeout(ms(100), guard.token().cancelled()).await.expect("a deaf holder");
}

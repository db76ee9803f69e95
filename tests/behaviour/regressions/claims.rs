//! Claims, and the errors that end an acquisition.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Machine, Verb};
use kube_lease_lock::{AcquireError, CreateMode, LeaseLock};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{
    NAME, NAMESPACE, acquire, builder, connect, create_free_lease, set_holder, spawn_acquire,
};

#[tokio::test(start_paused = true)]
async fn a_claim_counts_from_its_own_sending() {
    let server = LeaseServer::new();
    create_free_lease(&server).await;
    let (link, lock) = connect(&server);
    link.inject(Fault::lose_reply().on(Verb::Apply).times(1)); // claim 1 is made at 0 s, its reply lost
    link.inject(Fault::status(500).on(Verb::Get).skip(1)); // reads fail until 9 s
    let acquiring = tokio::spawn(async move { lock.acquire().await.unwrap() });
    while link.count(Verb::Apply) < 1 {
        sleep(Duration::from_millis(1)).await;
    }
    let claimed = Instant::now();
    let successor = tokio::spawn({
        let lock = connect(&server).1;
        async move { lock.acquire().await.unwrap() }
    });
    sleep(Duration::from_secs(9)).await;
    link.heal();
    link.inject(Fault::status(500).on(Verb::Apply).times(1)); // claim 2, over claim 1, is never made
    while link.count(Verb::Apply) < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    server.edit(NAMESPACE, NAME, |lease| {
        lease.metadata.labels.get_or_insert_default().insert("a".into(), "b".into());
    });
    let guard = acquiring.await.unwrap();
    link.cut();
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
async fn acquire_never_returns_a_guard_that_is_lost() {
    let (server, machine) = (LeaseServer::new(), Machine::new());
    let (link, builder) = builder(&server);
    let lock = builder.machine(&machine).build().unwrap();
    link.inject(Fault::delay_after(Duration::from_secs(1)).on(Verb::Update).times(1));
    let waiting = tokio::spawn(async move { lock.acquire().await.map(|guard| guard.is_held()) });
    sleep(Duration::from_millis(500)).await;
    machine.suspended_for(Duration::from_secs(60));
    assert!(waiting.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_must_not_exist_is_reported_at_once_though_held() {
    let server = LeaseServer::new();
    let _guard = acquire(&connect(&server).1).await;
    let lock = builder(&server).1.create_mode(CreateMode::MustNotExist).build().unwrap();
    let outcome = timeout(Duration::from_secs(60), lock.acquire())
        .await
        .expect("acquire should not wait for a Lease that it may not use");
    assert!(matches!(outcome, Err(AcquireError::LeaseExists(_))));
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_creation_counts_as_creation() {
    let server = LeaseServer::new();
    let (link, builder) = builder(&server);
    let lock = builder.create_mode(CreateMode::MustNotExist).build().unwrap();
    link.inject(Fault::delay_after(Duration::from_secs(2)).on(Verb::Update).times(1));
    lock.acquire_timeout(Duration::from_secs(1)).await.unwrap_err();
    sleep(Duration::from_secs(10)).await;
    let again = lock.acquire().await;
    assert!(again.is_ok(), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn try_acquire_returns_even_if_every_write_conflicts() {
    let server = LeaseServer::new();
    create_free_lease(&server).await;
    let (link, lock) = connect(&server);
    link.inject(Fault::status(409).on(Verb::Apply));
    assert!(
        timeout(Duration::from_secs(600), lock.try_acquire()).await.is_ok(),
        "{} writes",
        link.count(Verb::Apply)
    );
}

#[tokio::test(start_paused = true)]
async fn a_401_is_not_a_missing_permission() {
    let server = LeaseServer::new();
    let guard = acquire(&connect(&server).1).await;
    let (link, lock) = connect(&server);
    let waiting = spawn_acquire(&lock);
    sleep(Duration::from_secs(7)).await;
    link.inject(Fault::status(401).on(Verb::Apply).times(1));
    guard.release().await.unwrap();
    drop(waiting.await.expect("the waiter should have tried again"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_an_api_server_is_reported() {
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        let body = kube::client::Body::from(b"404 page not found".to_vec());
        Ok::<_, std::io::Error>(http::Response::builder().status(404).body(body).unwrap())
    });
    let lock = LeaseLock::new(kube::Client::new(service, "default"), NAME).unwrap();
    let outcome = timeout(Duration::from_secs(3_600), lock.acquire()).await;
    assert!(outcome.expect("acquire should not retry for ever").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_bounded() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    link.inject(Fault::status(429).retry_after(Duration::from_secs(1_000_000)).on(Verb::Get).times(1));
    let outcome = timeout(Duration::from_secs(3_600), lock.acquire()).await;
    drop(outcome.expect("the pause should be bounded").unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_does_not_name_a_holder_that_this_process_has_replaced() {
    let server = LeaseServer::new();
    create_free_lease(&server).await;
    set_holder(&server, "dead");
    let (_link, lock) = connect(&server);
    let guard = lock.acquire().await.unwrap();
    let error = lock.acquire_timeout(Duration::from_secs(1)).await.unwrap_err();
    let AcquireError::TimedOut { local_holder: Some(local), holder: None, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(local, guard.holder_identity());
}

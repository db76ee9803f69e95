//! `LeaseLock::check` beside other processes, and for locks that do not create the Lease.

use std::time::Duration;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use kube_lease_lock::testing::{Fault, LeaseServer, Verb};
use kube_lease_lock::{CreateMode, LeaseLock};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::fixture::{Fixture, NAME, acquire, create_free_lease, delete_lease};

const SECOND: Duration = Duration::from_secs(1);

/// Two replicas start: one checks while the other creates the Lease.
#[tokio::test(start_paused = true)]
async fn a_check_succeeds_while_another_process_creates_the_lease() {
    let Fixture { server, link, lock } = Fixture::new();
    link.set_distance(SECOND / 10);
    let checking = tokio::spawn({
        let lock = lock.clone();
        async move { lock.check().await }
    });
    while link.count(Verb::Get) == 0 || link.count(Verb::Update) == 0 {
        sleep(SECOND / 100).await;
    }
    create_free_lease(&server).await;
    checking.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_check_succeeds_while_the_lease_is_deleted() {
    let Fixture { server, link, lock } = Fixture::new();
    create_free_lease(&server).await;
    link.set_distance(SECOND / 10);
    let checking = tokio::spawn({
        let lock = lock.clone();
        async move { lock.check().await }
    });
    while link.count(Verb::Patch) == 0 {
        sleep(SECOND / 100).await;
    }
    delete_lease(&server);
    checking.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_check_agrees_with_acquire_about_a_lease_that_must_exist() {
    let Fixture { lock, .. } = Fixture::with(|builder| builder.create_mode(CreateMode::MustExist));
    let checked = lock.check().await;
    assert_eq!(checked.is_ok(), lock.acquire().await.is_ok(), "there is no Lease: {checked:?}");
}

/// The administrator creates the Lease, and gives no permission to create it: the server says so when it is asked.
#[tokio::test(start_paused = true)]
async fn a_check_does_not_ask_for_the_permission_to_create_a_lease_that_must_exist() {
    let server = LeaseServer::new();
    create_free_lease(&server).await;
    let reviews = tower::service_fn(async |request: Request<Body>| {
        let body = request.into_body().collect_bytes().await.unwrap();
        let mut review: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let verb = review["spec"]["resourceAttributes"]["verb"].clone();
        review["status"] = json!({ "allowed": !["create", "update"].contains(&verb.as_str().unwrap()) });
        Ok::<_, std::convert::Infallible>(Response::new(Body::from(review.to_string().into_bytes())))
    });
    let link = server.connect();
    link.inject(Fault::status(403).on(Verb::Update));
    let client = link.client_with(Client::new(reviews, "default"));
    let lock = LeaseLock::builder(client, NAME).create_mode(CreateMode::MustExist).build().unwrap();
    acquire(&lock).await.release().await.unwrap();
    lock.check().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_check_agrees_with_acquire_about_a_lease_that_must_not_exist() {
    let Fixture { server, lock, .. } = Fixture::with(|builder| builder.create_mode(CreateMode::MustNotExist));
    create_free_lease(&server).await;
    let checked = lock.check().await;
    assert_eq!(checked.is_ok(), lock.acquire().await.is_ok(), "there is a Lease: {checked:?}");
}

/// A program calls it when it starts, and waits.
#[tokio::test(start_paused = true)]
async fn a_check_ends_within_seconds_whatever_the_lease_duration() {
    for exists in [true, false] {
        let Fixture { server, link, lock } = Fixture::with(|builder| builder.lease_duration(3600 * SECOND));
        if exists {
            create_free_lease(&server).await;
        }
        link.inject(Fault::hang().on_any(&[Verb::Update, Verb::Patch]));
        let start = Instant::now();
        lock.check().await.unwrap_err();
        assert!(start.elapsed() < 60 * SECOND, "exists: {exists}, {:?}", start.elapsed());
    }
}

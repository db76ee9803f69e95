//! `LeaseLock::check` beside other processes, and for locks that do not create the Lease.

use std::time::Duration;

use kube_lease_lock::CreateMode;
use kube_lease_lock::testing::{Fault, Verb};
use tokio::time::sleep;

use crate::fixture::{Fixture, acquire, create_free_lease, delete_lease};

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

/// The administrator creates the Lease, and has given no permission to create it.
#[tokio::test(start_paused = true)]
async fn a_check_agrees_with_acquire_about_a_lease_that_must_exist() {
    let Fixture { server, link, lock } = Fixture::with(|builder| builder.create_mode(CreateMode::MustExist));
    let checked = lock.check().await;
    assert_eq!(checked.is_ok(), lock.acquire().await.is_ok(), "there is no Lease: {checked:?}");
    create_free_lease(&server).await;
    link.inject(Fault::status(403).on(Verb::Update));
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

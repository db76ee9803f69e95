//! The beginning and the end of an observer.

use std::time::Duration;

use futures::FutureExt;
use kube_lease_lock::testing::{LeaseServer, Verb};
use kube_lease_lock::{LeaseObserver, ObserveError, ObservedHolder};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use super::{AT_ONCE, assert_free, assert_held_by, next, observer};
use crate::fixture::{NAME, NAMESPACE, connect};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_watch_ends_with_the_last_clone() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let metrics = tokio::runtime::Handle::current().metrics();
    for _ in 0..3 {
        let before = metrics.num_alive_tasks();
        let mut first = lock.observe().unwrap();
        assert_free(&next(&mut first).await);
        sleep(AT_ONCE).await;
        let second = first.clone();
        drop(first);
        sleep(AT_ONCE).await;
        assert_eq!(link.open_watches(), 1);
        drop(second);
        sleep(AT_ONCE).await;
        assert_eq!(link.open_watches(), 0);
        assert_eq!(metrics.num_alive_tasks(), before, "a task was left behind");
        link.forget_requests();
        sleep(Duration::from_secs(600)).await;
        assert!(link.requests().is_empty(), "{:?}", link.requests());
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_dropped_at_once_leaves_nothing_behind() {
    let server = LeaseServer::new();
    let (link, observer) = observer(&server);
    drop(observer);
    sleep(AT_ONCE).await;
    assert!(link.open_watches() == 0 && link.count(Verb::Watch) == 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_of_the_lock_does_not_end_its_observers() {
    let server = LeaseServer::new();
    let (_link, lock) = connect(&server);
    let mut observer = lock.observe().unwrap();
    assert_free(&next(&mut observer).await);
    lock.shutdown().await.unwrap();
    drop(lock);
    server.take(NAMESPACE, NAME, "them");
    assert_held_by(&next(&mut observer).await, "them");
}

#[tokio::test(start_paused = true)]
async fn a_clone_begins_with_the_present_answer() {
    let server = LeaseServer::new();
    let (_link, mut first) = observer(&server);
    assert_free(&next(&mut first).await);
    server.take(NAMESPACE, NAME, "them");
    assert_held_by(&next(&mut first).await, "them");
    let mut second = first.clone();
    assert_held_by(&next(&mut second).await, "them");
    assert!(second.changed().now_or_never().is_none());
    // A call that is given up loses no change.
    server.take(NAMESPACE, NAME, "another");
    assert!(first.changed().now_or_never().is_none());
    sleep(AT_ONCE).await;
    assert_held_by(&first.changed().now_or_never().unwrap().unwrap(), "another");
}

#[test]
fn an_observer_whose_runtime_has_ended_says_so_and_the_lock_makes_a_new_one() {
    let server = LeaseServer::new();
    server.take(NAMESPACE, NAME, "them");
    let (first, second) = (runtime(), runtime());
    let (lock, mut observer) = first.block_on(async {
        let (_link, lock) = connect(&server);
        let mut observer = lock.observe().unwrap();
        assert_held_by(&next(&mut observer).await, "them");
        (lock, observer)
    });
    drop(first);
    let answer = observer.holder();
    let ObservedHolder::Unknown { last: Some(last), error: ObserveError::TaskEnded(_), .. } = &answer else {
        panic!("{answer:?}");
    };
    assert_eq!(last.name(), "them");
    second.block_on(async {
        assert!(matches!(observer.changed().await, Some(ObservedHolder::Unknown { .. })));
        assert!(observer.changed().await.is_none());
        assert!(observer.changed().await.is_none(), "it stays ended");
        assert!(observer.clone().changed().await.is_some(), "the last answer");
        let mut renewed = lock.observe().unwrap();
        let answer = renewed.changed().await.unwrap();
        let ObservedHolder::Unknown { error: ObserveError::ClientClosed(_), .. } = answer else {
            panic!("the client belongs to the runtime that has ended: {answer:?}");
        };
    });
}

#[test]
fn an_observer_needs_a_runtime_and_a_valid_name() {
    let server = LeaseServer::new();
    let runtime = runtime();
    let (link, lock) = runtime.block_on(async { connect(&server) });
    assert!(matches!(lock.observe().unwrap_err(), ObserveError::NoRuntime(_)));
    runtime.block_on(async {
        let error = LeaseObserver::in_namespace(link.client(), "default", "A Lock").unwrap_err();
        assert!(matches!(error, ObserveError::Invalid(_)) && error.to_string().contains("A Lock"), "{error}");
        let observer = LeaseObserver::in_namespace(link.client(), "default", NAME).unwrap();
        assert_eq!(observer.lease().to_string(), "default/a-lock");
    });
}

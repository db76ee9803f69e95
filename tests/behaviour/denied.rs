//! What no waiting will change is said at once, in words that help.

use std::time::Duration;

use kube_lease_lock::{AcquireError, LeaseLock, LossReason, TryAcquireError};

use crate::world::{D, NAME, World, acquire};

on_both_servers!(a_missing_namespace_is_named, a_client_that_points_nowhere_is_reported);

async fn a_missing_namespace_is_named(world: World) {
    let lock = LeaseLock::builder(world.client(), NAME).namespace("not-there").build().unwrap();
    let error = lock.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::NamespaceGone(_)), "{error:?}");
    assert!(error.to_string().contains("\"not-there\" does not exist"), "{error}");
}

async fn a_client_that_points_nowhere_is_reported(world: World) {
    let (client, tap) = world.tap(world.client());
    tap.cut();
    let lock = world.builder(client).build().unwrap();
    assert!(matches!(lock.try_acquire().await, Err(TryAcquireError::Request(_))));
    assert!(lock.holder().await.is_err());
    let error = lock.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::Unreachable { waited, .. } if waited >= D), "{error:?}");
}

mod in_process_only {
    //! The same denials, one verb at a time; for a real server see the test of the README's RBAC.

    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use kube_lease_lock::testing::{Fault, LeaseServer, Link, Verb};

    use super::*;

    fn lock() -> (LeaseServer, Link, LeaseLock) {
        let server = LeaseServer::new();
        let link = server.connect();
        let lock = LeaseLock::builder(link.client(), NAME).lease_duration(D).build().unwrap();
        (server, link, lock)
    }

    #[tokio::test(start_paused = true)]
    async fn a_forbidden_verb_is_named_along_with_what_is_needed() {
        for (verb, word, exists) in
            [(Verb::Get, "get", true), (Verb::Update, "update", false), (Verb::Apply, "patch", true)]
        {
            let (_server, link, lock) = lock();
            if exists {
                acquire(&lock).await.release().await.unwrap();
            }
            link.inject(Fault::status(403).on(verb));
            let error = lock.acquire().await.map(drop);
            // With its own release fresh in mind the lock does not read: then only the write is denied.
            let error = match error {
                Ok(()) => lock_anew(&link).acquire().await.unwrap_err(),
                Err(error) => error,
            };
            let AcquireError::Forbidden(request) = &error else { panic!("{word}: {error:?}") };
            assert_eq!((request.verb(), request.status()), (word, Some(403)));
            let text = error.to_string();
            assert!(text.contains("needs the verbs get, watch, create, update and patch"), "{text}");
            assert!(text.contains("default/a-lock"), "{text}");
        }
    }

    fn lock_anew(link: &Link) -> LeaseLock {
        LeaseLock::builder(link.client(), NAME).lease_duration(D).build().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn where_watching_is_forbidden_waiters_poll() {
        let (server, link, lock) = lock();
        link.inject(Fault::status(403).on(Verb::Watch));
        let holder = LeaseLock::builder(server.connect().client(), NAME).lease_duration(D).build().unwrap();
        let guard = acquire(&holder).await;
        let waiting = tokio::spawn(async move { acquire(&lock).await });
        tokio::time::sleep(4 * D).await;
        assert_eq!(link.count(Verb::Watch), 1, "it is not tried again and again");
        assert!(link.count(Verb::Get) <= 14, "polled {} times in 12 s", link.count(Verb::Get));
        guard.release().await.unwrap();
        let started = tokio::time::Instant::now();
        let guard = waiting.await.unwrap();
        assert!(started.elapsed() <= Duration::from_secs(2));
        tokio::time::sleep(4 * D).await;
        assert!(guard.is_held(), "a holder does without the watch too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_under_deletion_is_reported() {
        let (server, _link, lock) = lock();
        server.terminate_namespace("default");
        assert!(matches!(lock.acquire().await, Err(AcquireError::NamespaceGone(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_lost_with_its_namespace_says_so() {
        let (server, _link, lock) = lock();
        let guard = acquire(&lock).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        server.delete_namespace("default");
        assert_eq!(guard.lost().await, LossReason::NamespaceGone);
    }

    #[tokio::test(start_paused = true)]
    async fn permission_withdrawn_while_holding_loses_the_lock_unless_restored_in_time() {
        let (_server, link, lock) = lock();
        let guard = acquire(&lock).await;
        link.inject(Fault::status(403).on(Verb::Apply).times(1));
        tokio::time::sleep(4 * D).await;
        assert!(guard.is_held(), "restored in time");
        link.inject(Fault::status(403));
        let reason = guard.lost().await;
        assert!(
            matches!(&reason, LossReason::Forbidden { message, .. } if message.contains("403") || message.contains("orbidden")),
            "{reason:?}"
        );
    }

    #[test]
    fn without_a_runtime_there_is_an_error_not_a_panic() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lock = runtime.block_on(async { lock().2 });
        let mut waker = Context::from_waker(Waker::noop());
        let acquired = pin!(lock.acquire()).poll(&mut waker);
        assert!(matches!(acquired, Poll::Ready(Err(AcquireError::NoRuntime(_)))));
        let acquired = pin!(lock.acquire_timeout(D)).poll(&mut waker);
        assert!(matches!(acquired, Poll::Ready(Err(AcquireError::NoRuntime(_)))));
    }
}

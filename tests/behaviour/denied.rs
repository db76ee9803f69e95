//! Errors that no waiting can resolve: they are reported at once, with what the user can do.

use std::time::Duration;

use kube_lease_lock::{AcquireError, LeaseLock, LossReason, TryAcquireError};

use crate::cluster::{Cluster, LEASE_DURATION};
use crate::fixture::{NAME, acquire};

/// Short, because the test on a real server runs in real time.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(3);

on_both_servers!(a_missing_namespace_is_named, an_unreachable_server_is_reported);

async fn a_missing_namespace_is_named(cluster: Cluster) {
    let lock = LeaseLock::builder(cluster.client(), NAME).namespace("not-there").build().unwrap();
    let error = lock.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::NamespaceGone(_)), "{error:?}");
    assert!(error.to_string().contains("\"not-there\" does not exist"), "{error}");
}

async fn an_unreachable_server_is_reported(cluster: Cluster) {
    let (client, tap) = cluster.tap(cluster.client());
    tap.cut();
    let lock = cluster.builder(client).startup_timeout(STARTUP_TIMEOUT).build().unwrap();
    assert!(matches!(lock.try_acquire().await, Err(TryAcquireError::Request(_))));
    assert!(lock.holder().await.is_err());
    let error = lock.acquire().await.unwrap_err();
    assert!(
        matches!(error, AcquireError::Unreachable { waited, .. } if waited >= STARTUP_TIMEOUT),
        "{error:?}"
    );
}

mod in_process_only {
    //! The same errors, one verb at a time. The test `rbac` has them on a real server.

    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use kube_lease_lock::testing::{Fault, Verb};

    use super::*;
    use crate::fixture::{Fixture, connect};

    fn fixture() -> Fixture {
        Fixture::with(|builder| builder.lease_duration(LEASE_DURATION))
    }

    #[tokio::test(start_paused = true)]
    async fn a_forbidden_verb_is_named_with_all_that_are_needed() {
        for (verb, word, exists) in
            [(Verb::Get, "get", true), (Verb::Update, "update", false), (Verb::Apply, "patch", true)]
        {
            let Fixture { link, lock, .. } = fixture();
            if exists {
                acquire(&lock).await.release().await.unwrap();
            }
            link.inject(Fault::status(403).on(verb));
            let error = lock.acquire().await.map(drop);
            // A lock that has just released does not read, so a read that is denied does not stop it. A new lock reads.
            let error = match error {
                Ok(()) => LeaseLock::new(link.client(), NAME).unwrap().acquire().await.unwrap_err(),
                Err(error) => error,
            };
            let AcquireError::Forbidden(request) = &error else { panic!("{word}: {error:?}") };
            assert_eq!((request.verb(), request.status()), (word, Some(403)));
            let text = error.to_string();
            assert!(text.contains("needs the verbs get, watch, create, update and patch"), "{text}");
            assert!(text.contains("default/a-lock"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_poll_if_watching_is_forbidden() {
        let Fixture { server, link, lock } = fixture();
        link.inject(Fault::status(403).on(Verb::Watch));
        let guard = acquire(&connect(&server).1).await;
        let waiting = tokio::spawn(async move { acquire(&lock).await });
        tokio::time::sleep(4 * LEASE_DURATION).await;
        assert_eq!(link.count(Verb::Watch), 1, "a forbidden watch should not be tried again");
        assert!(link.count(Verb::Get) <= 14, "polled {} times in 12 s", link.count(Verb::Get));
        guard.release().await.unwrap();
        let started = tokio::time::Instant::now();
        let guard = waiting.await.unwrap();
        assert!(started.elapsed() <= Duration::from_secs(2));
        tokio::time::sleep(4 * LEASE_DURATION).await;
        assert!(guard.is_held(), "a holder should not need the watch");
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_under_deletion_is_reported() {
        let Fixture { server, lock, .. } = fixture();
        server.terminate_namespace("default");
        assert!(matches!(lock.acquire().await, Err(AcquireError::NamespaceGone(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_with_the_namespace_is_reported_as_such() {
        let Fixture { server, lock, .. } = fixture();
        let guard = acquire(&lock).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        server.delete_namespace("default");
        assert_eq!(guard.lost().await, LossReason::NamespaceGone);
    }

    #[tokio::test(start_paused = true)]
    async fn permission_withdrawn_while_holding_loses_the_lock_unless_restored_in_time() {
        let Fixture { link, lock, .. } = fixture();
        let guard = acquire(&lock).await;
        link.inject(Fault::status(403).on(Verb::Apply).times(1));
        tokio::time::sleep(4 * LEASE_DURATION).await;
        assert!(guard.is_held(), "the permission was restored in time");
        link.inject(Fault::status(403));
        let reason = guard.lost().await;
        let LossReason::Forbidden { message, .. } = &reason else { panic!("{reason:?}") };
        assert!(message.contains("403") || message.contains("orbidden"), "{message}");
    }

    #[test]
    fn acquire_without_a_runtime_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lock = runtime.block_on(async { fixture().lock });
        let mut waker = Context::from_waker(Waker::noop());
        let acquired = pin!(lock.acquire()).poll(&mut waker);
        assert!(matches!(acquired, Poll::Ready(Err(AcquireError::NoRuntime(_)))));
        let acquired = pin!(lock.acquire_timeout(LEASE_DURATION)).poll(&mut waker);
        assert!(matches!(acquired, Poll::Ready(Err(AcquireError::NoRuntime(_)))));
    }
}

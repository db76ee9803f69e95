//! Requests that fail, or seem to.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, Verb};
use kube_lease_lock::{AcquireError, TryAcquireError};
use tokio::time::{sleep, timeout};

use super::failures;
use crate::fixture::{Fixture, acquire, create_free_lease, delete_lease, holder, spawn_acquire};

#[tokio::test(start_paused = true)]
async fn one_failed_renewal_loses_nothing() {
    for (name, fault) in failures() {
        let Fixture { link, lock, .. } = Fixture::new();
        let guard = lock.acquire().await.unwrap();
        link.inject(fault.on(Verb::Apply).times(1));
        sleep(Duration::from_secs(120)).await;
        assert!(guard.is_held() && !guard.token().is_cancelled(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_claim_is_resolved_by_a_read() {
    for (name, fault) in failures() {
        if name == "403" {
            continue; // A denied claim is an error at once: see the module `denied`.
        }
        for verb in [Verb::Get, Verb::Update, Verb::Apply] {
            let fixture = Fixture::new();
            if verb == Verb::Apply {
                create_free_lease(&fixture.server).await;
            }
            fixture.link.inject(fault.clone().on(verb).times(1));
            let acquired = timeout(Duration::from_secs(60), fixture.lock.acquire()).await;
            let guard =
                acquired.unwrap_or_else(|_| panic!("{name} on {verb:?}: not acquired in time")).unwrap();
            assert_eq!(
                holder(&fixture.server).as_deref(),
                Some(guard.holder_identity()),
                "{name} on {verb:?}"
            );
            sleep(Duration::from_secs(120)).await;
            assert!(guard.is_held(), "{name} on {verb:?}: lost later");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_transport_repeats_is_recognised() {
    for verb in [Verb::Update, Verb::Apply] {
        let fixture = Fixture::new();
        if verb == Verb::Apply {
            create_free_lease(&fixture.server).await;
        }
        // The transport sends each request twice. The server refuses the second of two writes.
        fixture.link.inject(Fault::replay());
        let guard = fixture.lock.acquire().await.unwrap();
        sleep(Duration::from_secs(60)).await;
        assert!(guard.is_held());
        guard.release().await.unwrap();
        assert_eq!(holder(&fixture.server), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_release_is_resolved_by_a_read() {
    for (name, fault) in failures() {
        let fixture = Fixture::new();
        let guard = fixture.lock.acquire().await.unwrap();
        fixture.link.inject(fault.on(Verb::Apply).times(1));
        assert_eq!(guard.release().await, Ok(()), "{name}");
        assert_eq!(holder(&fixture.server), None, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_renewal_or_release_never_ends_the_hold_of_a_successor() {
    for recreated in [false, true] {
        for release in [false, true] {
            let fixture = Fixture::new();
            let guard = fixture.lock.acquire().await.unwrap();
            // The next write of the old holder arrives a minute late.
            fixture.link.inject(Fault::delay_before(Duration::from_secs(60)).on(Verb::Apply));
            let old = guard.hold().clone();
            let kept = if release {
                drop(guard);
                None
            } else {
                sleep(Duration::from_secs(6)).await;
                Some(guard)
            };
            if recreated {
                delete_lease(&fixture.server);
            }
            let successor = acquire(&fixture.other_lock()).await;
            assert!(!old.is_held(), "the old holder should have stopped before");
            sleep(Duration::from_secs(120)).await;
            assert!(successor.is_held(), "recreated: {recreated}, release: {release}");
            assert_eq!(holder(&fixture.server).as_deref(), Some(successor.holder_identity()));
            drop(kept);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_cancelled_on_the_wire_is_withdrawn() {
    // The claim arrives after its caller has given up.
    for (arrives, exists) in [(0, true), (0, false), (8, true), (8, false)] {
        let fixture = Fixture::new();
        if exists {
            create_free_lease(&fixture.server).await;
        }
        let fault = match arrives {
            0 => Fault::lose_reply(),
            late => Fault::delay_before(Duration::from_secs(late)),
        };
        fixture.link.inject(fault.on_any(&[Verb::Update, Verb::Apply]).times(1));
        assert!(timeout(Duration::from_secs(1), fixture.lock.acquire()).await.is_err());
        fixture.lock.shutdown().await.unwrap();
        for _ in 0..10 {
            assert_eq!(holder(&fixture.server), None, "arriving after {arrives} s, existing: {exists}");
            sleep(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn acquire_waits_for_a_server_that_has_answered_before() {
    let Fixture { link, lock, .. } = Fixture::new();
    lock.acquire().await.unwrap().release().await.unwrap();
    link.inject(Fault::refuse());
    let waiting = spawn_acquire(&lock);
    sleep(Duration::from_secs(3_600)).await;
    assert!(!waiting.is_finished());
    link.heal();
    drop(waiting.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_reports_the_last_failure() {
    let Fixture { link, lock, .. } = Fixture::new();
    link.inject(Fault::status(500));
    let error = lock.acquire_timeout(Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut { last: Some(_), .. }), "{error:?}");
    assert!(matches!(lock.try_acquire().await, Err(TryAcquireError::Request(_))));
}

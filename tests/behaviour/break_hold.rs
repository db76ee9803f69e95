//! Breaking a hold by force: exactly the hold that was meant, and nothing else of the Lease.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Verb};
use kube_lease_lock::{AcquireError, BreakHoldError, LeaseHolder, LeaseLock, LossReason};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;
use crate::fixture::{
    Fixture, NAME, NAMESPACE, RENEW_DEADLINE, RENEW_INTERVAL, STEP_TIMEOUT, acquire, connect, delete_lease,
    holder, put_lease, set_holder, spawn_acquire,
};

on_both_servers!(
    a_holder_learns_at_once_that_its_hold_was_broken_and_the_first_waiter_follows,
    the_hold_of_client_go_is_broken_and_its_fields_stay,
    a_hold_that_is_over_is_not_broken,
);

async fn holder_of(lock: &LeaseLock) -> LeaseHolder {
    lock.holder().await.unwrap().expect("a holder")
}

async fn a_holder_learns_at_once_that_its_hold_was_broken_and_the_first_waiter_follows(cluster: Cluster) {
    let guard = acquire(&cluster.lock()).await;
    let waiting = spawn_acquire(&cluster.lock());
    let queued = async {
        while cluster.tickets().await == 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(STEP_TIMEOUT, queued).await.expect("the waiter should be in the queue by now");
    // The holder watches its Lease after the first second.
    sleep(Duration::from_millis(1_500)).await;
    let administrator = cluster.lock();
    let held = holder_of(&administrator).await;
    // Renewals do not matter.
    sleep(Duration::from_secs(2)).await;
    assert!(guard.is_held());
    administrator.break_hold(&held).await.unwrap();
    let lost = timeout(Duration::from_millis(900), guard.lost()).await.expect("before the next renewal");
    assert!(matches!(lost, LossReason::Cleared | LossReason::TakenOver { .. }), "{lost:?}");
    let successor = timeout(STEP_TIMEOUT, waiting).await.unwrap().unwrap();
    assert!(successor.fencing_token() > guard.fencing_token());
    successor.release().await.unwrap();
}

async fn the_hold_of_client_go_is_broken_and_its_fields_stay(cluster: Cluster) {
    let time = "2026-01-01T00:00:00.123456Z";
    cluster
        .create(json!({
            "holderIdentity": "host_0b9f2f6e-6c0e-4b1e-9a51-3f2f6c1f2a77", "leaseDurationSeconds": 3600,
            "acquireTime": time, "renewTime": time, "leaseTransitions": 7,
        }))
        .await;
    let foreign = json!({ "metadata": {
        "labels": { "app": "controller" },
        "annotations": {
            "note": "keep", "kube-lease-lock/queue": "000000ff:50", "kube-lease-lock/joining": "00000001:60",
        },
        "finalizers": ["example.com/keep"],
    }});
    cluster.edit(foreign).await;
    let lock = cluster.lock();
    let held = holder_of(&lock).await;
    assert_eq!((held.name(), held.transitions), ("host_0b9f2f6e-6c0e-4b1e-9a51-3f2f6c1f2a77", 7));
    cluster.edit(json!({ "spec": { "renewTime": "2026-01-01T00:00:02.123456Z" } })).await;
    lock.break_hold(&held).await.unwrap();
    let lease = cluster.lease().await.unwrap();
    let spec = lease.spec.unwrap();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some(""), Some(7)));
    let annotations = lease.metadata.annotations.unwrap();
    assert_eq!(annotations["note"], "keep");
    assert_eq!(annotations["kube-lease-lock/queue"], "000000ff:50 00000001:60", "the queue stays");
    assert_eq!(lease.metadata.labels.unwrap()["app"], "controller");
    assert_eq!(lease.metadata.finalizers.unwrap(), ["example.com/keep"]);
    assert_eq!(lock.holder().await.unwrap(), None);
    cluster.edit(json!({ "metadata": { "finalizers": null } })).await;
}

async fn a_hold_that_is_over_is_not_broken(cluster: Cluster) {
    let (lock, administrator) = (cluster.lock(), cluster.lock());
    let guard = acquire(&lock).await;
    let held = holder_of(&administrator).await;
    guard.release().await.unwrap();
    let error = administrator.break_hold(&held).await.unwrap_err();
    assert!(matches!(error, BreakHoldError::Changed { holder: None, .. }), "{error:?}");

    let guard = acquire(&lock).await;
    let error = administrator.break_hold(&held).await.unwrap_err();
    let BreakHoldError::Changed { holder: Some(now), .. } = &error else { panic!("{error:?}") };
    assert_eq!(now.identity, guard.holder_identity());
    assert!(error.to_string().contains(guard.holder_identity()), "{error}");
    assert!(guard.is_held());
    let held = holder_of(&administrator).await;
    guard.release().await.unwrap();

    cluster.delete().await;
    let error = administrator.break_hold(&held).await.unwrap_err();
    assert!(matches!(error, BreakHoldError::Changed { holder: None, .. }), "{error:?}");
    assert!(cluster.lease().await.is_none(), "a Lease was created again");
}

/// Two fixtures on one server: the holder's lock, and another one.
async fn held() -> (Fixture, kube_lease_lock::LeaseGuard, LeaseHolder) {
    let fixture = Fixture::new();
    let guard = acquire(&fixture.other_lock()).await;
    sleep(Duration::from_secs(1)).await;
    let held = holder_of(&fixture.lock).await;
    (fixture, guard, held)
}

#[tokio::test(start_paused = true)]
async fn a_renewal_between_the_read_and_the_write_leads_to_a_second_write() {
    let (Fixture { server, link, lock }, guard, held) = held().await;
    let known = server.revision();
    while server.revision() == known {
        sleep(Duration::from_millis(10)).await;
    }
    // The first write reaches the server after the next renewal.
    sleep(RENEW_INTERVAL.saturating_sub(Duration::from_secs(1))).await;
    link.inject(Fault::delay_before(Duration::from_secs(2)).on(Verb::Apply).times(1));
    lock.break_hold(&held).await.unwrap();
    assert_eq!(holder(&server), None);
    assert_eq!((link.count(Verb::Get), link.count(Verb::Apply)), (3, 2));
    assert_eq!(guard.lost().await, LossReason::Cleared);
}

#[tokio::test(start_paused = true)]
async fn a_successor_between_the_read_and_the_write_stays() {
    type Change = (&'static str, fn(&LeaseServer));
    let changes: [Change; 4] = [
        ("taken", |server| drop(server.take(NAMESPACE, NAME, "another"))),
        ("renamed", |server| set_holder(server, "another")),
        ("the same holder again", |server| {
            let same = holder(server).unwrap();
            server.take(NAMESPACE, NAME, &same);
        }),
        ("created again", |server| {
            let spec = server.lease(NAMESPACE, NAME).unwrap().spec;
            delete_lease(server);
            put_lease(server, &serde_json::to_value(spec).unwrap());
        }),
    ];
    for (name, change) in changes {
        let (Fixture { server, link, lock }, _guard, held) = held().await;
        link.inject(Fault::delay_before(Duration::from_secs(1)).on(Verb::Apply).times(1));
        let breaking = tokio::spawn(async move { lock.break_hold(&held).await });
        sleep(Duration::from_millis(500)).await;
        change(&server);
        let successor = holder(&server);
        let error = breaking.await.unwrap().unwrap_err();
        assert!(matches!(error, BreakHoldError::Changed { holder: Some(_), .. }), "{name}: {error:?}");
        assert!(successor.is_some() && holder(&server) == successor, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_is_found_out() {
    for fault in [Fault::lose_reply(), Fault::reset(), Fault::commit_then_status(504), Fault::garbage()] {
        let (Fixture { server, link, lock }, _guard, held) = held().await;
        link.inject(fault.clone().on(Verb::Apply).times(1));
        lock.break_hold(&held).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(holder(&server), None, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_comes_at_once_and_other_failures_after_a_renew_deadline() {
    let (Fixture { link, lock, .. }, guard, held) = held().await;
    link.inject(Fault::status(403).on(Verb::Apply));
    let error = lock.break_hold(&held).await.unwrap_err();
    assert!(matches!(error, BreakHoldError::Denied(AcquireError::Forbidden(_))), "{error:?}");
    link.heal();
    for fault in [Fault::refuse(), Fault::hang(), Fault::status(503), Fault::status(409).on(Verb::Apply)] {
        link.inject(fault.clone());
        link.forget_requests();
        let started = Instant::now();
        let error = lock.break_hold(&held).await.unwrap_err();
        assert!(matches!(error, BreakHoldError::Request(_)), "{fault:?}: {error:?}");
        let took = started.elapsed();
        assert!(took.abs_diff(RENEW_DEADLINE) < Duration::from_millis(100), "{fault:?}: {took:?}");
        assert!(link.requests().len() <= 60, "{fault:?}: {} requests", link.requests().len());
        link.heal();
    }
    assert!(guard.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_process_can_break_its_own_hold() {
    let server = LeaseServer::new();
    let (_link, lock) = connect(&server);
    let guard = acquire(&lock).await;
    sleep(Duration::from_secs(2)).await;
    lock.break_hold(&holder_of(&lock).await).await.unwrap();
    assert_eq!(guard.lost().await, LossReason::Cleared);
    acquire(&lock).await.release().await.unwrap();
}

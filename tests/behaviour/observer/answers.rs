//! The answer follows the Lease, whoever writes it.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kube_lease_lock::ObservedHolder;
use kube_lease_lock::testing::LeaseServer;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{AT_ONCE, assert_free, assert_held_by, next, observer, within};
use crate::cluster::Cluster;
use crate::fixture::{
    LEASE_DURATION, NAME, NAMESPACE, RENEW_INTERVAL, acquire, connect, delete_lease, put_lease, set_holder,
};

on_both_servers!(an_observer_is_told_of_each_holder);

async fn an_observer_is_told_of_each_holder(cluster: Cluster) {
    let patience = Duration::from_secs(10);
    let mut observer = cluster.builder(cluster.client()).build().unwrap().observe().unwrap();
    assert_free(&within(patience, &mut observer).await);
    for name in ["first", "second"] {
        let lock = cluster.builder(cluster.client()).identity(name).build().unwrap();
        let guard = acquire(&lock).await;
        let answer = within(patience, &mut observer).await;
        assert_held_by(&answer, name);
        let holder = answer.holder().unwrap();
        assert_eq!((&*holder.identity, &*holder.lease_uid), (guard.holder_identity(), guard.lease_uid()));
        guard.release().await.unwrap();
        assert_free(&within(patience, &mut observer).await);
    }
    cluster.delete().await;
    let guard = acquire(&cluster.lock()).await;
    assert_held_by(&within(patience, &mut observer).await, "tester");
    cluster.edit(json!({ "spec": { "holderIdentity": "somebody else" } })).await;
    assert_held_by(&within(patience, &mut observer).await, "somebody else");
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_no_change_but_the_answer_has_its_time() {
    let server = LeaseServer::new();
    let (_link, mut observer) = observer(&server);
    let _guard = acquire(&connect(&server).1).await;
    assert_held_by(&next(&mut observer).await, "tester");
    let renewed = |answer: ObservedHolder| answer.holder().unwrap().renewed.unwrap();
    let at_first = renewed(observer.holder());
    sleep(3 * RENEW_INTERVAL).await;
    assert!(observer.changed().now_or_never().is_none(), "a renewal is no change");
    let now = renewed(observer.holder());
    assert!(now >= at_first + 2 * RENEW_INTERVAL, "{at_first:?}, then {now:?}");
}

#[tokio::test(start_paused = true)]
async fn a_crashed_holder_is_expired_as_soon_as_a_contender_could_take_over() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let _guard = acquire(&lock).await;
    let (_, mut observer) = observer(&server);
    assert_held_by(&next(&mut observer).await, "tester");
    sleep(2 * RENEW_INTERVAL).await;
    let known = server.revision();
    while server.revision() == known {
        sleep(Duration::from_millis(10)).await;
    }
    let renewed = Instant::now();
    link.cut();
    let answer = within(2 * LEASE_DURATION, &mut observer).await;
    let ObservedHolder::Expired(holder) = &answer else { panic!("{answer:?}") };
    assert_eq!(holder.name(), "tester");
    assert!(answer.holder().is_none() && answer.last_known().is_none());
    let waited = renewed.elapsed();
    assert!(waited.abs_diff(LEASE_DURATION) <= Duration::from_millis(20), "{waited:?}");

    let _successor = acquire(&connect(&server).1).await;
    assert_held_by(&next(&mut observer).await, "tester");
}

#[tokio::test(start_paused = true)]
async fn a_record_expires_by_the_clock_of_the_observer_and_not_by_its_times() {
    for (spec, seconds) in [
        // The holder's wall clock is far behind.
        (json!({ "renewTime": "2001-01-01T00:00:00.000000Z", "leaseDurationSeconds": 40 }), 40),
        // A record without a duration counts as one of 15 seconds.
        (json!({ "renewTime": "2101-01-01T00:00:00.000000Z" }), 15),
        (json!({ "leaseDurationSeconds": 7 }), 7),
    ] {
        let server = LeaseServer::new();
        let mut held = spec.clone();
        held["holderIdentity"] = json!("host_0b9f2f6e-6c0e-4b1e-9a51-3f2f6c1f2a77");
        put_lease(&server, &held);
        let (_link, mut observer) = observer(&server);
        assert_held_by(&next(&mut observer).await, "host_0b9f2f6e-6c0e-4b1e-9a51-3f2f6c1f2a77");
        let seen = Instant::now();
        let answer = within(Duration::from_secs(60), &mut observer).await;
        assert!(matches!(answer, ObservedHolder::Expired(_)), "{spec}: {answer:?}");
        let waited = seen.elapsed();
        let duration = Duration::from_secs(seconds);
        assert!(waited + AT_ONCE >= duration && waited <= duration + AT_ONCE, "{spec}: {waited:?}");

        // It lives after all.
        held["leaseTransitions"] = json!(0);
        held["renewTime"] = json!("2101-01-01T00:00:00.000001Z");
        put_lease(&server, &held);
        assert_held_by(&next(&mut observer).await, "host_0b9f2f6e-6c0e-4b1e-9a51-3f2f6c1f2a77");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_without_a_holder_is_free_whatever_else_is_in_it() {
    for spec in [
        Value::Null,
        json!({}),
        json!({ "holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 7 }),
        json!({ "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z" }),
    ] {
        let server = LeaseServer::new();
        put_lease(&server, &spec);
        let (_link, mut observer) = observer(&server);
        assert_free(&next(&mut observer).await);
        set_holder(&server, "them");
        assert_held_by(&next(&mut observer).await, "them");
        set_holder(&server, "");
        assert_free(&next(&mut observer).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_told_and_so_is_the_next_lease() {
    let server = LeaseServer::new();
    let (link, mut observer) = observer(&server);
    assert_free(&next(&mut observer).await);
    for round in 0..3 {
        // Long enough for reads that find no Lease, and for bookmarks.
        sleep(Duration::from_secs(200)).await;
        put_lease(&server, &json!({ "holderIdentity": "them", "leaseDurationSeconds": 3600 }));
        assert_held_by(&next(&mut observer).await, "them");
        sleep(Duration::from_secs(round)).await;
        delete_lease(&server);
        assert_free(&next(&mut observer).await);
    }
    assert_eq!(link.open_watches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_hold_of_the_same_holder_is_a_change() {
    let server = LeaseServer::new();
    server.take(NAMESPACE, NAME, "them");
    let (_link, mut observer) = observer(&server);
    assert_held_by(&next(&mut observer).await, "them");
    sleep(Duration::from_secs(1)).await;
    server.take(NAMESPACE, NAME, "them");
    let answer = next(&mut observer).await;
    assert_eq!(answer.holder().map(|holder| holder.transitions), Some(1));
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_a_stream() {
    let server = LeaseServer::new();
    let (_link, observer) = observer(&server);
    let mut leaders =
        observer.filter_map(|answer| async move { Some(answer.holder()?.name().to_owned()) }.boxed());
    for leader in ["one", "two"] {
        server.take(NAMESPACE, NAME, leader);
        assert_eq!(leaders.next().await.as_deref(), Some(leader));
    }
}

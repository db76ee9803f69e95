//! A store that loses acknowledged writes: because it did not sync them before a power cut, or because an administrator
//! restored a backup. The default store of k3s does not sync each write.
//!
//! The lock cannot exclude then: the store has forgotten the holder. But the holder has to learn of it in time.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::PostParams;
use kube_lease_lock::{EndReason, LeaseLock, LossReason};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::ControlPlane;

const LEASE: &str = "contended";
/// Longer than a restart of the control plane needs, so that the holder outlives it.
const LONG: Duration = Duration::from_secs(60);
/// Short enough to wait for the expiry of a record that came back.
const SHORT: Duration = Duration::from_secs(12);
/// For requests on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(5);

/// The store goes back to a free Lease, so that the waiter claims it. The holder learns of it at its next renewal, long
/// before its deadline.
///
/// The store also forgets other writes, so that the version of the next claim is lower than that of the holder. If it is
/// the same by chance, the next renewal of the holder replaces the record of the waiter, and the waiter learns of that.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server"]
async fn a_holder_stops_at_its_next_renewal_after_the_store_has_lost_its_claim() {
    let plane = ControlPlane::start().await;
    let namespace = plane.fresh_namespace().await;
    create_free_lease(&plane, &namespace).await;
    let before = plane.copy_store().await;
    write_others(&plane, &namespace).await;
    let holder = lock(&plane, &namespace, "holder", LONG).await.acquire().await.unwrap();
    let ended = tokio::spawn({
        let hold = holder.hold().clone();
        async move { (hold.ended().await, Instant::now()) }
    });
    let waiter = lock(&plane, &namespace, "waiter", LONG).await;
    let waiter = tokio::spawn(async move { waiter.acquire().await });
    sleep(Duration::from_millis(500)).await;
    assert!(!waiter.is_finished(), "the waiter did not wait");

    let cut = Instant::now();
    plane.restart_from(&before).await;
    let restarted = Instant::now();
    let successor = timeout(LONG, waiter).await.expect("a free Lease is claimed").unwrap().unwrap();
    let (reason, told) = timeout(LONG, ended).await.expect("the hold ends").unwrap();
    assert!(
        matches!(reason, EndReason::Lost(LossReason::TakenOver { .. } | LossReason::Cleared)),
        "the holder has not seen what the store says: {reason:?}"
    );
    println!("restart {:.1?}, the holder was told after {:.1?}", restarted - cut, told - cut);
    let late = told.saturating_duration_since(restarted);
    assert!(late <= renew_interval(LONG) + TOLERANCE, "told {late:?} after the restart");
    // It was not disturbed by the end of the other hold.
    sleep(Duration::from_secs(1)).await;
    assert!(successor.is_held());
}

/// Contenders take turns while the store goes back again and again. Two of them hold the lock at the same time only after
/// such an event, and no longer than until the earlier one has to renew.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server"]
async fn after_a_rollback_two_holds_overlap_no_longer_than_until_the_next_renewal() {
    let plane = ControlPlane::start().await;
    let namespace = plane.fresh_namespace().await;
    let (spans, turns) = (Arc::new(Mutex::new(Vec::new())), watch::Sender::new(0_u64));
    let contenders = join_all(["a", "b", "c"].map(|name| lock(&plane, &namespace, name, SHORT))).await;
    let mut contending = JoinSet::new();
    for lock in contenders {
        contending.spawn(take_turns(lock, Arc::clone(&spans), turns.clone()));
    }

    let mut rollbacks = Vec::new();
    for _ in 0..ROLLBACKS {
        sleep(millis(500..3_000)).await;
        let earlier = plane.copy_store().await;
        // The store will forget this claim.
        turns.subscribe().changed().await.unwrap();
        sleep(millis(0..500)).await;
        let begin = Instant::now();
        plane.restart_from(&earlier).await;
        rollbacks.push(Rollback { begin, end: Instant::now() });
    }
    // The last rollback may have brought back the record of a hold that has ended, and tickets that nobody owns any more.
    // Their head starts take up to half of a lease.
    let next_turn =
        timeout(2 * SHORT + TOLERANCE, async { turns.subscribe().changed().await.unwrap() }).await;
    assert!(next_turn.is_ok(), "nobody acquires the lock any more: {:?}", spans.lock().unwrap());
    // The holds of now also count when they have ended.
    sleep(Duration::from_millis(LONG_HOLD.end)).await;
    drop(contending);

    let spans = spans.lock().unwrap().clone();
    let mut overlaps = 0;
    for (earlier, later) in pairs(&spans).filter(|(earlier, later)| later.begin < earlier.end) {
        overlaps += 1;
        let end = earlier.end.min(later.end);
        let explained = rollbacks.iter().any(|rollback| {
            earlier.begin <= rollback.end
                && rollback.begin <= later.begin
                && end <= rollback.end + renew_interval(SHORT) + TOLERANCE
        });
        assert!(explained, "{earlier:?} overlaps {later:?}, with {rollbacks:?}");
    }
    println!("{} holds, {overlaps} overlaps after {ROLLBACKS} rollbacks", spans.len());
}

const ROLLBACKS: usize = 3;
/// How many milliseconds a long hold lasts: longer than a holder needs to notice that the store has forgotten it.
const LONG_HOLD: Range<u64> = 4_000..8_000;

/// One time at which the store went back, from the end of the old control plane to the start of the new one.
#[derive(Debug)]
struct Rollback {
    begin: Instant,
    end: Instant,
}

/// One hold.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "the identity and the reason are for the message of a failed assertion")]
struct Span {
    identity: String,
    begin: Instant,
    end: Instant,
    lost: Option<LossReason>,
}

/// Every second hold is a long one.
async fn take_turns(lock: LeaseLock, spans: Arc<Mutex<Vec<Span>>>, turns: watch::Sender<u64>) {
    loop {
        let Ok(guard) = lock.acquire().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (identity, begin) = (guard.holder_identity().to_owned(), Instant::now());
        turns.send_modify(|turns| *turns += 1);
        let work = if fastrand::bool() { millis(10..500) } else { millis(LONG_HOLD) };
        let lost = timeout(work, guard.lost()).await.ok();
        let end = Instant::now();
        spans.lock().unwrap().push(Span { identity, begin, end, lost });
        // A release that fails is told to nobody: the Lease expires, or the store has forgotten the hold.
        let _ = guard.release().await;
    }
}

/// Each pair of holds, the one that began earlier first.
fn pairs(spans: &[Span]) -> impl Iterator<Item = (&Span, &Span)> {
    spans
        .iter()
        .flat_map(|one| spans.iter().map(move |other| (one, other)))
        .filter(|(one, other)| one.begin < other.begin)
}

fn millis(range: Range<u64>) -> Duration {
    Duration::from_millis(fastrand::u64(range))
}

async fn lock(plane: &ControlPlane, namespace: &str, identity: &str, lease_duration: Duration) -> LeaseLock {
    LeaseLock::builder(plane.client().await, LEASE)
        .namespace(namespace)
        .identity(identity)
        .lease_duration(lease_duration)
        .renew_interval(renew_interval(lease_duration))
        .build()
        .unwrap()
}

fn renew_interval(lease_duration: Duration) -> Duration {
    lease_duration / 4
}

/// More writes than the API server makes when it starts.
async fn write_others(plane: &ControlPlane, namespace: &str) {
    let leases: Api<Lease> = Api::namespaced(plane.client().await, namespace);
    for number in 0..100 {
        let other = json!({ "metadata": { "name": format!("other-{number}") } });
        let other = serde_json::from_value(other).unwrap();
        leases.create(&PostParams::default(), &other).await.unwrap();
    }
}

async fn create_free_lease(plane: &ControlPlane, namespace: &str) {
    let lease = json!({ "metadata": { "name": LEASE }, "spec": { "holderIdentity": "" } });
    let lease: Lease = serde_json::from_value(lease).unwrap();
    Api::namespaced(plane.client().await, namespace).create(&PostParams::default(), &lease).await.unwrap();
}

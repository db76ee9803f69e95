//! `once`: work that is done at most once for each key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube::Api;
use kube::api::PostParams;
use kube_lease_lock::testing::{Fault, Verb};
use kube_lease_lock::{AcquireError, LeaseLock, LossReason, Once, OnceError, ReleaseError};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{Cluster, LEASE_DURATION};
use crate::fixture::{
    Fixture, NAME, NAMESPACE, RENEW_DEADLINE, STEP_TIMEOUT, acquire, connect, delete_lease, holder,
    set_holder,
};

const DONE: &str = "kube-lease-lock/done";

on_both_servers!(
    replicas_that_come_at_once_run_the_work_once,
    a_replica_that_comes_later_reads_and_writes_nothing,
    after_a_crash_the_next_replica_runs_the_work,
    work_that_fails_is_run_again,
    keys_come_in_any_order,
    any_text_is_a_key,
    the_lease_remembers_sixteen_keys,
    no_other_holder_removes_what_is_done,
    a_client_that_writes_the_whole_lease_keeps_what_is_done,
    a_deleted_lease_remembers_nothing,
    nothing_runs_if_it_cannot_be_read_what_is_done,
);

type Outcome<T> = Result<Result<Once<T>, &'static str>, OnceError>;

/// Counts how often work is run.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicUsize>);

impl Runs {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    async fn work(self) -> Result<usize, &'static str> {
        sleep(Duration::from_millis(50)).await;
        Ok(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

async fn once(lock: &LeaseLock, key: &str, runs: &Runs) -> Outcome<usize> {
    let done = timeout(STEP_TIMEOUT, lock.once(key, |_| runs.clone().work())).await;
    done.expect("the work should have been done by now")
}

fn spawn_once(lock: LeaseLock, key: &str, runs: &Runs) -> JoinHandle<Outcome<usize>> {
    let (key, runs) = (key.to_owned(), runs.clone());
    tokio::spawn(async move { once(&lock, &key, &runs).await })
}

#[track_caller]
fn is_done(outcome: &Outcome<usize>) -> bool {
    match outcome {
        Ok(Ok(Once::Done(_))) => true,
        Ok(Ok(Once::AlreadyDone { by, at, .. })) => {
            assert!(by.starts_with("tester_") && at.is_some(), "{outcome:?}");
            false
        }
        other => panic!("{other:?}"),
    }
}

/// The list in the annotation.
async fn list(cluster: &Cluster) -> Vec<Value> {
    let annotations = cluster.lease().await.and_then(|lease| lease.metadata.annotations).unwrap_or_default();
    annotations.get(DONE).map_or_else(Vec::new, |list| serde_json::from_str(list).unwrap())
}

async fn keys(cluster: &Cluster) -> Vec<String> {
    list(cluster).await.iter().map(|done| done["key"].as_str().unwrap().to_owned()).collect()
}

async fn replicas_that_come_at_once_run_the_work_once(cluster: Cluster) {
    let runs = Runs::default();
    for (night, key) in ["2026-11-28", "2026-11-29"].into_iter().enumerate() {
        let replicas: Vec<_> = (0..4).map(|_| spawn_once(cluster.lock(), key, &runs)).collect();
        let mut done = 0;
        for replica in replicas {
            done += usize::from(is_done(&replica.await.unwrap()));
        }
        assert_eq!((runs.count(), done), (night + 1, 1));
        assert_eq!(cluster.holder().await, None);
    }
    assert_eq!(keys(&cluster).await, ["2026-11-28", "2026-11-29"]);
}

async fn a_replica_that_comes_later_reads_and_writes_nothing(cluster: Cluster) {
    let runs = Runs::default();
    assert!(is_done(&once(&cluster.lock(), "5", &runs).await));
    let before = cluster.lease().await;
    let (late, tap) = cluster.tapped_lock();
    let outcome = once(&late, "5", &runs).await;
    assert_eq!(tap.requests(), ["GET"]);
    assert_eq!(cluster.lease().await, before);
    assert!(
        matches!(&outcome, Ok(Ok(Once::AlreadyDone { by, .. })) if **by == list(&cluster).await[0]["by"])
    );
    assert_eq!(runs.count(), 1);
}

async fn after_a_crash_the_next_replica_runs_the_work(cluster: Cluster) {
    let (lock, tap) = cluster.tapped_lock();
    let (runs, never) = (Runs::default(), std::future::pending::<Result<(), &str>>);
    let crashing = tokio::spawn(async move { lock.once("5", |_| never()).await });
    let held = async {
        while cluster.holder().await.is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(STEP_TIMEOUT, held).await.unwrap();
    let next = spawn_once(cluster.lock(), "5", &runs);
    // As a process that is gone, it sends nothing more.
    tap.cut();
    crashing.abort();
    assert!(is_done(&timeout(STEP_TIMEOUT, next).await.unwrap().unwrap()));
    assert!(!is_done(&once(&cluster.lock(), "5", &runs).await));
    assert_eq!(runs.count(), 1);
}

async fn work_that_fails_is_run_again(cluster: Cluster) {
    let (lock, runs) = (cluster.lock(), Runs::default());
    let failed = lock.once("5", async |_| Err::<(), _>("no database")).await.unwrap();
    assert_eq!(failed, Err("no database"));
    assert_eq!(cluster.holder().await, None);
    let panicked = tokio::spawn({
        let lock = lock.clone();
        async move { lock.once("5", async |_| -> Result<(), &str> { panic!("on purpose") }).await }
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert!(keys(&cluster).await.is_empty());
    assert!(is_done(&once(&lock, "5", &runs).await));
}

async fn keys_come_in_any_order(cluster: Cluster) {
    let (lock, late, runs) = (cluster.lock(), cluster.lock(), Runs::default());
    for key in ["5", "7", "6"] {
        assert!(is_done(&once(&lock, key, &runs).await));
    }
    for key in ["6", "5", "7"] {
        assert!(!is_done(&once(&late, key, &runs).await));
    }
    assert!(is_done(&once(&late, "4", &runs).await), "it was never done");
}

async fn any_text_is_a_key(cluster: Cluster) {
    let (lock, late, runs) = (cluster.lock(), cluster.lock(), Runs::default());
    let longest = "\u{1}".repeat(LeaseLock::MAX_KEY_LENGTH);
    let texts = ["", " ", "a \"quoted\"\\ key", "two\nlines\r\0", "Nächte: 夜 🌙", "]}", longest.as_str()];
    for key in texts {
        assert!(is_done(&once(&lock, key, &runs).await), "{key:?}");
    }
    for key in texts {
        assert!(!is_done(&once(&late, key, &runs).await), "{key:?}");
    }
    assert_eq!(keys(&cluster).await, texts);

    let too_long = format!("{longest}x");
    let outcome = once(&lock, &too_long, &runs).await;
    assert!(matches!(outcome, Err(OnceError::KeyTooLong { length: 257, max: 256, .. })), "{outcome:?}");
    assert_eq!(runs.count(), texts.len());
}

async fn the_lease_remembers_sixteen_keys(cluster: Cluster) {
    let (lock, runs) = (cluster.lock(), Runs::default());
    assert_eq!(LeaseLock::REMEMBERED_KEYS, 16);
    for key in 0..=16 {
        assert!(is_done(&once(&lock, &key.to_string(), &runs).await));
    }
    assert!(!is_done(&once(&lock, "1", &runs).await), "15 others have been done since");
    assert!(is_done(&once(&lock, "0", &runs).await), "16 others have been done since");
    assert_eq!(keys(&cluster).await.len(), 16);
}

async fn no_other_holder_removes_what_is_done(cluster: Cluster) {
    let runs = Runs::default();
    assert!(is_done(&once(&cluster.lock(), "5", &runs).await));
    let done = list(&cluster).await;
    // One holds until its first renewal, one waits and takes over, and one has another field manager.
    let other = cluster.builder(cluster.client()).field_manager("another").build().unwrap();
    for lock in [cluster.lock(), other] {
        let guard = acquire(&lock).await;
        let waiting = tokio::spawn({
            let lock = cluster.lock();
            async move { acquire(&lock).await }
        });
        sleep(LEASE_DURATION).await;
        assert_eq!(list(&cluster).await, done);
        guard.release().await.unwrap();
        timeout(STEP_TIMEOUT, waiting).await.unwrap().unwrap().release().await.unwrap();
        assert_eq!(list(&cluster).await, done);
    }
}

/// As client-go does.
async fn a_client_that_writes_the_whole_lease_keeps_what_is_done(cluster: Cluster) {
    let runs = Runs::default();
    assert!(is_done(&once(&cluster.lock(), "5", &runs).await));
    let mut lease = cluster.lease().await.unwrap();
    lease.spec.as_mut().unwrap().lease_duration_seconds = Some(1);
    lease.spec.as_mut().unwrap().holder_identity = Some("them".into());
    let leases = Api::namespaced(cluster.client(), &cluster.namespace);
    leases.replace(NAME, &PostParams::default(), &lease).await.unwrap();
    assert!(is_done(&once(&cluster.lock(), "6", &runs).await), "their hold should have expired");
    assert_eq!(keys(&cluster).await, ["5", "6"]);
}

async fn a_deleted_lease_remembers_nothing(cluster: Cluster) {
    let runs = Runs::default();
    assert!(is_done(&once(&cluster.lock(), "5", &runs).await));
    cluster.delete().await;
    assert!(is_done(&once(&cluster.lock(), "5", &runs).await));
    assert_eq!(runs.count(), 2);
}

async fn nothing_runs_if_it_cannot_be_read_what_is_done(cluster: Cluster) {
    let runs = Runs::default();
    acquire(&cluster.lock()).await.release().await.unwrap();
    cluster.edit(json!({ "metadata": { "annotations": { DONE: "5" } } })).await;
    let error = once(&cluster.lock(), "5", &runs).await.unwrap_err();
    assert!(matches!(&error, OnceError::Unreadable { value, .. } if value == "5"), "{error:?}");
    assert!(error.to_string().contains("repair it, or remove it"), "{error}");
    // A lock without a key goes on, and does not touch it.
    acquire(&cluster.lock()).await.release().await.unwrap();
    assert!(once(&cluster.lock(), "5", &runs).await.is_err());
    assert_eq!((runs.count(), cluster.holder().await), (0, None));

    cluster.edit(json!({ "metadata": { "annotations": { DONE: null } } })).await;
    assert!(is_done(&once(&cluster.lock(), "5", &runs).await));
}

#[tokio::test(start_paused = true)]
async fn tasks_of_one_process_run_the_work_once_with_one_claim_and_one_release() {
    let Fixture { link, lock, .. } = Fixture::new();
    let runs = Runs::default();
    let tasks: Vec<_> = (0..20).map(|_| spawn_once(lock.clone(), "5", &runs)).collect();
    let mut done = 0;
    for task in tasks {
        done += usize::from(is_done(&task.await.unwrap()));
    }
    assert_eq!((runs.count(), done), (1, 1));
    let verbs: Vec<_> = link.requests().iter().map(|request| request.verb).collect();
    assert_eq!(verbs, [Verb::Get, Verb::Update, Verb::Apply]);
}

/// Only a write can tell other processes what is done. If the lock were handed off, the next task would have to make that write.
#[tokio::test(start_paused = true)]
async fn the_lease_says_what_is_done_before_another_task_has_the_lock() {
    let Fixture { server, link, lock } = Fixture::new();
    let runs = Runs::default();
    let first = spawn_once(lock.clone(), "5", &runs);
    tokio::task::yield_now().await;
    let next = tokio::spawn({
        let (lock, link) = (lock.clone(), link.clone());
        async move {
            let guard = acquire(&lock).await;
            // The process dies with the second task.
            link.cut();
            guard
        }
    });
    assert!(is_done(&first.await.unwrap()));
    let _dead = next.await.unwrap();
    assert!(holder(&server).is_some());
    assert!(!is_done(&once(&connect(&server).1, "5", &runs).await));
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_ends_when_the_work_is_done_and_not_when_it_is_its_turn() {
    let Fixture { server, lock, .. } = Fixture::new();
    let (link, other) = connect(&server);
    let runs = Runs::default();
    let work = lock.once("5", async |_| {
        sleep(Duration::from_secs(3)).await;
        Ok::<_, &str>(())
    });
    let (outcome, waited) = tokio::join!(work, async {
        sleep(Duration::from_secs(1)).await;
        once(&other, "5", &runs).await
    });
    assert_eq!(outcome.unwrap(), Ok(Once::Done(())));
    assert!(!is_done(&waited));
    let claims = link.requests().into_iter().filter(|request| request.verb == Verb::Apply).count();
    assert_eq!((claims, runs.count()), (0, 0));
}

/// The answer to the release is lost, and the read after it tells.
#[tokio::test(start_paused = true)]
async fn a_release_whose_answer_is_lost_is_found_to_be_done() {
    let Fixture { server, link, lock } = Fixture::new();
    let runs = Runs::default();
    acquire(&lock).await.release().await.unwrap();
    let other = connect(&server).1;
    let outcome = lock
        .once("5", async |_| {
            link.inject(Fault::lose_reply().on(Verb::Apply));
            runs.clone().work().await
        })
        .await;
    assert!(is_done(&outcome), "{outcome:?}");
    assert!(!is_done(&once(&other, "5", &runs).await));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_never_arrives_is_not_confirmed_and_the_work_runs_again() {
    let Fixture { server, link, lock } = Fixture::new();
    let runs = Runs::default();
    let began = Instant::now();
    let outcome = lock
        .once("5", async |_| {
            link.cut();
            runs.clone().work().await
        })
        .await;
    let Err(error @ OnceError::Unconfirmed { source: Some(ReleaseError::Unconfirmed { .. }), .. }) = outcome
    else {
        panic!("{outcome:?}");
    };
    assert!(error.to_string().contains("it may be run again"), "{error}");
    assert!(began.elapsed() <= RENEW_DEADLINE);
    assert!(is_done(&once(&connect(&server).1, "5", &runs).await));
    assert_eq!(runs.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn work_that_ends_after_a_takeover_is_not_confirmed() {
    let Fixture { server, lock, .. } = Fixture::new();
    let outcome = lock
        .once("5", async |_| {
            // Before the watch opens.
            set_holder(&server, "them");
            Ok::<_, &str>(())
        })
        .await;
    let lost = |source: &Option<ReleaseError>| {
        matches!(source, Some(ReleaseError::Lost { reason: LossReason::TakenOver { .. }, .. }))
    };
    assert!(matches!(&outcome, Err(OnceError::Unconfirmed { source, .. }) if lost(source)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn work_is_dropped_if_the_lock_is_lost() {
    let Fixture { server, lock, .. } = Fixture::new();
    let outcome = lock
        .once("5", async |_| {
            sleep(Duration::from_secs(2)).await;
            delete_lease(&server);
            std::future::pending::<Result<(), &str>>().await
        })
        .await;
    assert!(matches!(outcome, Err(OnceError::Lost(LossReason::Deleted))), "{outcome:?}");
    assert!(is_done(&once(&connect(&server).1, "5", &Runs::default()).await));
}

/// Another client garbles the annotation while the work runs. What it wrote is kept for a person to look at.
#[tokio::test(start_paused = true)]
async fn a_key_that_the_lease_does_not_show_after_its_release_is_not_confirmed() {
    let Fixture { server, lock, .. } = Fixture::new();
    let outcome = lock
        .once("5", async |_| {
            server.edit(NAMESPACE, NAME, |lease| {
                lease.metadata.annotations.get_or_insert_default().insert(DONE.into(), "garbage".into());
            });
            Ok::<_, &str>(())
        })
        .await;
    assert!(matches!(&outcome, Err(OnceError::Unconfirmed { source: None, .. })), "{outcome:?}");
    assert_eq!(holder(&server), None);
    let kept = server.lease(NAMESPACE, NAME).unwrap().metadata.annotations.unwrap();
    assert_eq!(kept[DONE], "garbage");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_the_work_runs_marks_nothing() {
    let Fixture { server, lock, .. } = Fixture::new();
    let runs = Runs::default();
    let work = lock.once("5", async |_| std::future::pending::<Result<(), &str>>().await);
    assert!(timeout(Duration::from_secs(1), work).await.is_err());
    assert!(is_done(&once(&connect(&server).1, "5", &runs).await));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_after_the_work_marks_the_key() {
    let Fixture { server, link, lock } = Fixture::new();
    let runs = Runs::default();
    link.inject(Fault::delay_before(Duration::from_millis(100)).on(Verb::Apply));
    let dropped = timeout(Duration::from_millis(80), lock.once("5", |_| runs.clone().work())).await;
    assert!(dropped.is_err());
    lock.shutdown().await.unwrap();
    assert!(!is_done(&once(&connect(&server).1, "5", &runs).await));
    assert_eq!(runs.count(), 1);
    let error = once(&lock, "5", &runs).await.unwrap_err();
    assert!(matches!(error, OnceError::Acquire(AcquireError::ShutDown(_))), "{error:?}");
}

#[tokio::test]
async fn calls_are_send() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let Fixture { lock, .. } = Fixture::new();
    drop(send(lock.once("5", async |_| Ok::<_, std::io::Error>(()))));
}

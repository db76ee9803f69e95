//! Coordinated leader election: a Lease with a strategy belongs to its coordinator.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube_lease_lock::testing::{Fault, LeaseServer, Verb};
use kube_lease_lock::{
    AcquireError, CheckError, EndReason, LeaseGuard, LeaseLock, LossReason, TryAcquireError,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::fixture::{
    Fixture, LEASE_DURATION, NAME, NAMESPACE, RENEW_INTERVAL, STEP_TIMEOUT, acquire, connect, holder,
    put_lease,
};

const STRATEGY: &str = "OldestEmulationVersion";
const AT_ONCE: Duration = Duration::from_millis(100);

#[track_caller]
fn assert_coordinated(error: &AcquireError) {
    let AcquireError::Coordinated { strategy, .. } = error else { panic!("{error:?}") };
    assert_eq!(strategy, STRATEGY);
    assert!(error.to_string().contains("spec.strategy") && error.to_string().contains(STRATEGY), "{error}");
}

/// The coordinator takes charge of the Lease, and prefers this holder.
fn coordinate(server: &LeaseServer, preferred: Option<&str>) {
    server.edit(NAMESPACE, NAME, |lease| {
        let spec = lease.spec.as_mut().unwrap();
        (spec.strategy, spec.preferred_holder) = (Some(STRATEGY.into()), preferred.map(Into::into));
    });
}

fn renew_time(server: &LeaseServer) -> Option<MicroTime> {
    server.lease(NAMESPACE, NAME)?.spec?.renew_time
}

fn strategy_and_holder(server: &LeaseServer) -> (Option<String>, Option<String>) {
    let strategy = server.lease(NAMESPACE, NAME).and_then(|lease| lease.spec).and_then(|spec| spec.strategy);
    (strategy, holder(server))
}

fn spawn_waiter(lock: &LeaseLock) -> JoinHandle<Result<LeaseGuard, AcquireError>> {
    let lock = lock.clone();
    tokio::spawn(async move { lock.acquire().await })
}

/// Leases that a lock without regard for the strategy would claim.
fn claimable() -> [Value; 4] {
    [
        json!({ "strategy": STRATEGY }),
        json!({ "strategy": STRATEGY, "holderIdentity": "" }),
        json!({ "strategy": STRATEGY, "holderIdentity": "", "leaseDurationSeconds": 1, "preferredHolder": "them" }),
        json!({ "strategy": STRATEGY, "holderIdentity": "them", "leaseDurationSeconds": 1 }),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_a_coordinator_is_never_claimed() {
    for spec in claimable() {
        let Fixture { server, link, lock } = Fixture::new();
        put_lease(&server, &spec);
        let before = server.revision();
        for _ in 0..3 {
            let TryAcquireError::Acquire(error) = lock.try_acquire().await.unwrap_err() else {
                panic!("{spec}")
            };
            assert_coordinated(&error);
            let acquired = timeout(AT_ONCE, lock.acquire()).await.expect("the error comes at once");
            assert_coordinated(&acquired.unwrap_err());
            assert_coordinated(&lock.acquire_timeout(STEP_TIMEOUT).await.unwrap_err());
            sleep(2 * LEASE_DURATION).await;
        }
        assert_eq!(server.revision(), before, "{spec}: {:?}", link.requests());
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_learns_that_a_coordinator_has_taken_charge() {
    let Fixture { server, lock, .. } = Fixture::new();
    put_lease(&server, &json!({ "holderIdentity": "them", "leaseDurationSeconds": 3600 }));
    let waiting = spawn_waiter(&lock);
    sleep(Duration::from_secs(10)).await;
    assert!(!waiting.is_finished());
    coordinate(&server, None);
    let error = timeout(AT_ONCE, waiting).await.expect("the watch tells it").unwrap().unwrap_err();
    assert_coordinated(&error);
}

#[tokio::test(start_paused = true)]
async fn a_strategy_that_comes_just_before_the_claim_is_respected() {
    let Fixture { server, link, lock } = Fixture::new();
    acquire(&lock).await.release().await.unwrap();
    sleep(Duration::from_secs(60)).await;
    link.inject(Fault::delay_before(Duration::from_secs(1)).on(Verb::Apply).times(1));
    let claiming = spawn_waiter(&lock);
    sleep(Duration::from_millis(500)).await;
    coordinate(&server, None);
    assert_coordinated(&claiming.await.unwrap().unwrap_err());
    assert_eq!(holder(&server), None);
}

#[tokio::test(start_paused = true)]
async fn a_plain_lock_keeps_its_hold_and_releases_it_to_the_coordinator() {
    let Fixture { server, lock, .. } = Fixture::new();
    let guard = acquire(&lock).await;
    let waiting = spawn_waiter(&lock);
    sleep(Duration::from_secs(2)).await;
    coordinate(&server, Some("them"));
    sleep(10 * LEASE_DURATION).await;
    assert!(guard.is_held());
    assert_eq!(strategy_and_holder(&server), (Some(STRATEGY.into()), Some(guard.holder_identity().into())));
    // It is not handed off to the next task of this process.
    guard.release().await.unwrap();
    assert_coordinated(&waiting.await.unwrap().unwrap_err());
    sleep(AT_ONCE).await;
    assert_eq!(strategy_and_holder(&server), (Some(STRATEGY.into()), None));
}

#[tokio::test(start_paused = true)]
async fn an_election_tells_the_error_and_stands_again_when_the_strategy_is_gone() {
    let server = LeaseServer::new();
    put_lease(&server, &json!({ "strategy": STRATEGY, "holderIdentity": "" }));
    let (link, lock) = connect(&server);
    let mut election = lock.elect().unwrap();
    sleep(Duration::from_secs(600)).await;
    assert_coordinated(&election.last_error().unwrap());
    assert!(link.count(Verb::Get) <= 60, "{} reads in ten minutes", link.count(Verb::Get));
    assert_eq!(holder(&server), None);
    server.edit(NAMESPACE, NAME, |lease| lease.spec.as_mut().unwrap().strategy = None);
    let leading = timeout(Duration::from_secs(31), election.changed()).await.unwrap().unwrap();
    assert!(leading.is_some() && election.last_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_election_steps_aside_for_another_preferred_holder_and_lets_the_lease_expire() {
    let server = LeaseServer::new();
    let (_link, lock) = connect(&server);
    let mut election = lock.elect().unwrap();
    let hold = election.changed().await.unwrap().unwrap();
    sleep(Duration::from_secs(60)).await;
    coordinate(&server, None);
    sleep(2 * LEASE_DURATION).await;
    assert!(hold.is_held(), "a strategy alone prefers nobody else");
    coordinate(&server, Some(hold.holder_identity()));
    coordinate(&server, Some("tester"));
    sleep(2 * LEASE_DURATION).await;
    assert!(hold.is_held(), "this process is the preferred one");

    coordinate(&server, Some("them"));
    let renewed = renew_time(&server);
    let ended = timeout(AT_ONCE, hold.ended()).await.expect("the watch tells it");
    let EndReason::Lost(LossReason::NotPreferred { preferred, .. }) = &ended else { panic!("{ended:?}") };
    assert_eq!(preferred, "them");
    assert!(hold.token().is_cancelled() && !election.is_leader());
    assert!(election.changed().await.unwrap().is_none());
    // The work of the leader has the rest of the lease to stop.
    sleep(2 * LEASE_DURATION).await;
    assert_eq!(holder(&server).as_deref(), Some(hold.holder_identity()), "it expires by itself");
    assert_eq!(renew_time(&server), renewed, "and is not renewed any more");
    assert_coordinated(&election.last_error().unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_election_without_a_watch_steps_aside_at_its_next_renewal() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    link.inject(Fault::status(403).on(Verb::Watch));
    let mut election = lock.elect().unwrap();
    let hold = election.changed().await.unwrap().unwrap();
    sleep(Duration::from_secs(60)).await;
    coordinate(&server, Some("them"));
    let ended = timeout(RENEW_INTERVAL + AT_ONCE, hold.ended()).await.unwrap();
    assert!(matches!(ended, EndReason::Lost(LossReason::NotPreferred { .. })), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hold_can_be_broken_under_a_strategy_too() {
    let Fixture { server, lock, .. } = Fixture::new();
    put_lease(
        &server,
        &json!({ "strategy": STRATEGY, "holderIdentity": "them", "preferredHolder": "others" }),
    );
    let held = lock.holder().await.unwrap().unwrap();
    lock.break_hold(&held).await.unwrap();
    let spec = server.lease(NAMESPACE, NAME).unwrap().spec.unwrap();
    assert_eq!(
        (spec.strategy.as_deref(), spec.preferred_holder.as_deref()),
        (Some(STRATEGY), Some("others"))
    );
    assert_eq!(holder(&server), None);
}

#[tokio::test(start_paused = true)]
async fn a_check_tells_that_the_lease_belongs_to_a_coordinator() {
    let server = LeaseServer::new();
    let (_link, lock) = connect(&server);
    lock.check().await.unwrap();
    put_lease(&server, &json!({ "strategy": STRATEGY }));
    let checked = lock.check().await;
    let Err(CheckError::Denied(error)) = checked else { panic!("{checked:?}") };
    assert_coordinated(&error);
}

//! Leases that no lock would write, and answers that no API server would give: never a panic, never a claim while
//! somebody holds the Lease, never a wait without end.
//!
//! `PROPTEST_CASES=10000 cargo test --test odd_leases` tries more of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

use std::time::Duration;

mod disguise;
mod odd;

use disguise::{Mask, World};
use kube_lease_lock::{AcquireError, TryAcquireError};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

const D: Duration = Duration::from_secs(15);
/// The longest back-off, a look and a claim.
const SOON: Duration = Duration::from_secs(20);

fn config() -> ProptestConfig {
    let given = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { given.cases } else { 64 };
    ProptestConfig { cases, failure_persistence: None, ..given }
}

/// Runs a case in virtual time.
fn run(case: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(case);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_lease_is_left_alone_for_as_long_as_it_says_and_then_taken(odd in odd::lease()) {
        run(left_alone_and_then_taken(odd));
    }

    #[test]
    fn nothing_is_written_on_the_grounds_of_garbage(garbage in odd::garbage(), known in any::<bool>()) {
        run(no_claim_on(garbage, known));
    }

    #[test]
    fn garbage_from_the_watch_costs_no_hold_and_no_wake_up(garbage in odd::garbage(), ends in any::<bool>()) {
        run(garbage_from_the_watch(garbage, ends));
    }

    #[test]
    fn garbage_ends_a_hold_in_time(garbage in odd::garbage()) {
        run(no_renewals_but(garbage));
    }
}

/// How long the Lease has to be left alone; `None`: longer than this test takes.
fn wait_for(spec: &Value) -> Option<Duration> {
    if spec["holderIdentity"].as_str().unwrap_or_default().is_empty() {
        return Some(Duration::ZERO);
    }
    let duration = spec["leaseDurationSeconds"].as_u64().map_or(D, Duration::from_secs);
    Some(duration).filter(|duration| *duration < Duration::from_secs(1_000))
}

async fn left_alone_and_then_taken(odd: Value) {
    let world = World::new(&json!({ "holderIdentity": "them" }));
    let wait = wait_for(&odd["spec"]);
    world.wear(Mask::Of(odd));
    let started = Instant::now();
    let acquired = timeout(wait.unwrap_or(4 * D) + SOON, world.lock.acquire()).await;
    let claims = world.writes();
    match wait {
        Some(wait) => {
            let guard = acquired.expect("it waits without end").unwrap();
            assert!(started.elapsed() >= wait, "taken after {:?}, not {wait:?}", started.elapsed());
            assert_eq!(claims, 1);
            guard.release().await.unwrap();
        }
        None => assert!(acquired.is_err() && claims == 0, "taken from somebody who holds it"),
    }
}

async fn no_claim_on(garbage: Vec<u8>, known: bool) {
    let world = World::new(&json!({}));
    if known {
        world.lock.holder().await.unwrap();
    }
    world.wear(Mask::Garbage(garbage));
    let error = world.lock.try_acquire().await.unwrap_err();
    assert!(matches!(error, TryAcquireError::Request(_)), "{error:?}");
    let error = world.lock.acquire_timeout(D / 2).await.unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut { last: Some(_), .. }), "{error:?}");
    assert!(error.to_string().contains("the last request failed: get Lease default/a-lock: "), "{error}");
    let waiting = tokio::spawn({
        let lock = world.lock.clone();
        async move { lock.acquire().await }
    });
    sleep(D / 2).await;
    assert_eq!(world.writes(), 0);
    world.wear(Mask::None);
    let guard = timeout(SOON, waiting).await.expect("it does not find out that all is well again");
    assert!(guard.unwrap().unwrap().is_held());
}

async fn garbage_from_the_watch(garbage: Vec<u8>, ends: bool) {
    let world = World::new(&json!({ "holderIdentity": "them", "leaseDurationSeconds": 100_000 }));
    world.wear(Mask::GarbageWatch { garbage, ends });
    let waiting = tokio::spawn({
        let lock = world.lock.clone();
        async move { lock.acquire().await }
    });
    sleep(Duration::from_secs(90)).await;
    assert!(!waiting.is_finished() && world.writes() == 0);
    assert!(world.link.requests().len() < 180, "{} requests", world.link.requests().len());
    world.edit(|spec| spec.holder_identity = None);
    // A watch that stays open and tells nothing is doubted after a while.
    let guard = timeout(2 * SOON, waiting).await.expect("a lost wake-up").unwrap().unwrap();
    sleep(Duration::from_secs(90)).await;
    assert!(guard.is_held() && !guard.token().is_cancelled());
    guard.release().await.unwrap();
}

async fn no_renewals_but(garbage: Vec<u8>) {
    let world = World::new(&json!({}));
    let guard = world.lock.acquire().await.unwrap();
    let token = guard.token();
    let started = Instant::now();
    world.wear(Mask::Garbage(garbage));
    timeout(D, token.cancelled()).await.expect("the token should have fired by now");
    assert!(started.elapsed() <= Duration::from_secs(10));
}

//! Leases that no lock would write, and replies that no API server would give. The lock never panics, never claims a
//! Lease that another process holds, and never waits without end.
//!
//! `PROPTEST_CASES=10000 cargo test --test behaviour -- odd_leases` tries more of them.

mod generators;
mod tampered_server;

use std::time::Duration;

use kube_lease_lock::{AcquireError, TryAcquireError};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{LEASE_DURATION, RENEW_DEADLINE, STEP_TIMEOUT};
use tampered_server::{TamperedServer, Tampering};

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
    fn an_odd_lease_is_left_alone_until_it_expires_and_then_claimed(odd in generators::lease()) {
        run(left_alone_and_then_claimed(odd));
    }

    #[test]
    fn garbage_replies_lead_to_no_write(garbage in generators::garbage(), known in any::<bool>()) {
        run(no_claim_on(garbage, known));
    }

    #[test]
    fn a_garbage_watch_ends_no_hold_and_hides_no_release(garbage in generators::garbage(), ends in any::<bool>()) {
        run(garbage_from_the_watch(garbage, ends));
    }

    #[test]
    fn garbage_replies_end_a_hold_by_its_deadline(garbage in generators::garbage()) {
        run(no_renewals_but(garbage));
    }
}

/// How long the Lease has to be left alone. `None` if that is longer than the test takes.
fn wait_for(spec: &Value) -> Option<Duration> {
    if spec["holderIdentity"].as_str().unwrap_or_default().is_empty() {
        return Some(Duration::ZERO);
    }
    let duration = spec["leaseDurationSeconds"].as_u64().map_or(LEASE_DURATION, Duration::from_secs);
    Some(duration).filter(|duration| *duration < Duration::from_secs(1_000))
}

async fn left_alone_and_then_claimed(odd: Value) {
    let tampered = TamperedServer::new(&json!({ "holderIdentity": "them" }));
    let (wait, strategy) = (wait_for(&odd["spec"]), odd["spec"]["strategy"].clone());
    tampered.tamper(Tampering::Reads(odd));
    if !strategy.is_null() {
        let acquired = timeout(STEP_TIMEOUT, tampered.lock.acquire()).await.expect("the error comes at once");
        assert!(matches!(acquired, Err(AcquireError::Coordinated { .. })), "{acquired:?}");
        assert_eq!(tampered.writes(), 0);
        return;
    }
    let started = Instant::now();
    let acquired = timeout(wait.unwrap_or(4 * LEASE_DURATION) + STEP_TIMEOUT, tampered.lock.acquire()).await;
    let claims = tampered.writes();
    match wait {
        Some(wait) => {
            let guard = acquired.expect("the lock should have been acquired by now").unwrap();
            assert!(started.elapsed() >= wait, "claimed after {:?}, not {wait:?}", started.elapsed());
            assert_eq!(claims, 1);
            guard.release().await.unwrap();
        }
        None => {
            assert!(acquired.is_err() && claims == 0, "claimed while another process held the Lease");
        }
    }
}

async fn no_claim_on(garbage: Vec<u8>, known: bool) {
    let tampered = TamperedServer::new(&json!({}));
    if known {
        tampered.lock.holder().await.unwrap();
    }
    tampered.tamper(Tampering::Garbage(garbage));
    let error = tampered.lock.try_acquire().await.unwrap_err();
    assert!(matches!(error, TryAcquireError::Request(_)), "{error:?}");
    let error = tampered.lock.acquire_timeout(LEASE_DURATION / 2).await.unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut { last: Some(_), .. }), "{error:?}");
    assert!(error.to_string().contains("the last request failed: get Lease default/a-lock: "), "{error}");
    let waiting = tokio::spawn({
        let lock = tampered.lock.clone();
        async move { lock.acquire().await }
    });
    sleep(LEASE_DURATION / 2).await;
    assert_eq!(tampered.writes(), 0);
    tampered.tamper(Tampering::None);
    let guard =
        timeout(STEP_TIMEOUT, waiting).await.expect("the lock should have noticed the valid replies by now");
    assert!(guard.unwrap().unwrap().is_held());
}

async fn garbage_from_the_watch(garbage: Vec<u8>, ends: bool) {
    let tampered = TamperedServer::new(&json!({ "holderIdentity": "them", "leaseDurationSeconds": 100_000 }));
    tampered.tamper(Tampering::Watch { garbage, ends });
    let waiting = tokio::spawn({
        let lock = tampered.lock.clone();
        async move { lock.acquire().await }
    });
    sleep(Duration::from_secs(90)).await;
    assert!(!waiting.is_finished() && tampered.writes() == 0);
    assert!(tampered.link.requests().len() < 180, "{} requests", tampered.link.requests().len());
    tampered.edit(|spec| spec.holder_identity = None);
    // The lock reads the Lease if an open watch sends nothing for a while.
    let guard = timeout(2 * STEP_TIMEOUT, waiting)
        .await
        .expect("the release should have been noticed by now")
        .unwrap()
        .unwrap();
    sleep(Duration::from_secs(90)).await;
    assert!(guard.is_held() && !guard.token().is_cancelled());
    guard.release().await.unwrap();
}

async fn no_renewals_but(garbage: Vec<u8>) {
    let tampered = TamperedServer::new(&json!({}));
    let guard = tampered.lock.acquire().await.unwrap();
    let token = guard.token();
    let started = Instant::now();
    tampered.tamper(Tampering::Garbage(garbage));
    timeout(LEASE_DURATION, token.cancelled()).await.expect("the token should have been cancelled by now");
    assert!(started.elapsed() <= RENEW_DEADLINE, "cancelled after {:?}", started.elapsed());
}

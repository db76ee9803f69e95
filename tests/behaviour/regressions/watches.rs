//! The watch of a holder.

use std::time::Duration;

use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{Fault, LeaseServer, Verb};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{connect, set_holder};

#[tokio::test(start_paused = true)]
async fn one_refused_watch_does_not_end_watching_for_good() {
    for code in [401, 403] {
        let server = LeaseServer::new();
        let (link, lock) = connect(&server);
        let guard = lock.acquire().await.unwrap();
        sleep(Duration::from_secs(1)).await;
        link.inject(Fault::status(code).on(Verb::Watch).times(1));
        link.end_watches();
        sleep(Duration::from_millis(601_500)).await; // half-way between two renewals
        let stolen = Instant::now();
        set_holder(&server, "them");
        guard.lost().await;
        assert!(
            stolen.elapsed() < Duration::from_millis(500),
            "{code}: noticed after {:?}",
            stolen.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_died_before_the_claim_is_replaced_soon_after_it() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let guard = lock.acquire().await.unwrap();
    sleep(Duration::from_secs(6)).await; // a renewal was told: the watch is alive
    link.mute_watches();
    guard.release().await.unwrap();
    let guard = lock.acquire().await.unwrap();
    sleep(Duration::from_secs(4)).await;
    set_holder(&server, "them");
    timeout(Duration::from_millis(100), guard.token().cancelled()).await.expect("a deaf holder");
}

/// How long an acquisition waits if another client takes the Lease at its start and releases it after 300 ms.
async fn wait_for_another_holder(server: &LeaseServer, lock: &LeaseLock) -> Duration {
    set_holder(server, "another");
    let (acquiring, started) = (lock.clone(), Instant::now());
    let acquired = tokio::spawn(async move { acquiring.acquire().await });
    sleep(Duration::from_millis(300)).await;
    set_holder(server, "");
    let guard = acquired.await.unwrap().unwrap();
    drop(guard);
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_just_before_a_release_does_not_delay_the_next_acquisition() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let guard = lock.acquire().await.unwrap();
    sleep(Duration::from_secs(2)).await;
    link.reset_watches();
    sleep(Duration::from_millis(5)).await;
    guard.release().await.unwrap();
    let waited = wait_for_another_holder(&server, &lock).await;
    assert!(waited < Duration::from_millis(500), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_during_a_release_does_not_delay_the_next_acquisition() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let guard = lock.acquire().await.unwrap();
    sleep(Duration::from_secs(2)).await;
    link.inject(Fault::delay_before(Duration::from_secs(1)).on(Verb::Apply).times(1));
    let release = tokio::spawn(guard.release());
    sleep(Duration::from_millis(500)).await;
    link.reset_watches();
    release.await.unwrap().unwrap();
    let waited = wait_for_another_holder(&server, &lock).await;
    assert!(waited < Duration::from_millis(500), "{waited:?}");
}

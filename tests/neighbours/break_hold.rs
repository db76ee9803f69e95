//! A hold of client-go that is broken by force. client-go looks at the Lease only when it renews: a free one it claims again, and
//! beside another holder it goes on leading for up to one renew deadline.

use std::time::Duration;

use kube_lease_lock::{BreakHoldError, ObservedHolder};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::fixture::{EVENT_TIMEOUT, Fixture, acquire, millis, seconds};
use crate::support::{Library, Neighbour, Pace, now};

const LEASE_DURATION: Duration = seconds(600);
const RENEW_DEADLINE: Duration = seconds(5);
const RETRY_PERIOD: Duration = millis(500);

async fn elector(fixture: &Fixture) -> Neighbour {
    let library = Library::ClientGo {
        renew_deadline: RENEW_DEADLINE,
        retry_period: RETRY_PERIOD,
        release_on_cancel: false,
    };
    let pace = Pace { lease_duration: LEASE_DURATION, hold: seconds(3600), rest: seconds(3600) };
    let mut elector = fixture.neighbour(library, "client-go", pace).await;
    elector.wait_for("leading client-go#1").await;
    elector
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn client_go_claims_a_broken_hold_again_if_nobody_else_does() {
    let fixture = Fixture::new().await;
    let mut elector = elector(&fixture).await;
    let lock = fixture.lock(LEASE_DURATION).await;
    let mut observer = lock.observe().unwrap();
    let held = lock.holder().await.unwrap().unwrap();
    // Its renewals are writes, which come between the read and the write of a break again and again.
    sleep(4 * RETRY_PERIOD).await;
    lock.break_hold(&held).await.unwrap();
    let again = async {
        loop {
            let answer = observer.changed().await.unwrap();
            if let Some(now) = answer.holder().filter(|now| now.transitions > held.transitions) {
                return now.clone();
            }
            assert!(matches!(answer, ObservedHolder::Held(_) | ObservedHolder::Free), "{answer:?}");
        }
    };
    let now = timeout(EVENT_TIMEOUT, again).await.expect("the next renewal");
    assert_eq!((&now.identity, &now.lease_uid), (&held.identity, &held.lease_uid));
    // It is another hold by now.
    let error = lock.break_hold(&held).await.unwrap_err();
    assert!(matches!(error, BreakHoldError::Changed { holder: Some(_), .. }), "{error:?}");
    elector.assert_runs();
    assert_eq!(fixture.count_holds("client-go"), 1, "it never noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn a_waiter_follows_a_broken_hold_of_client_go_which_leads_on_for_a_renew_deadline() {
    let fixture = Fixture::new().await;
    let mut elector = elector(&fixture).await;
    // No renewal of client-go can come before the claim of the waiter.
    elector.order("hold requests").await;
    let waiter = fixture.lock(LEASE_DURATION).await;
    let waiting = tokio::spawn(async move { acquire(&waiter).await });
    sleep(seconds(1)).await;
    let administrator = fixture.lock(LEASE_DURATION).await;
    let held = administrator.holder().await.unwrap().unwrap();
    administrator.break_hold(&held).await.unwrap();
    let guard = waiting.await.unwrap();
    let acquired = now();
    elector.order("pass").await;
    elector.wait_for("left client-go#1").await;
    let led_on = fixture.duration_after("client-go#1", acquired);
    println!("client-go led for {led_on:.1?} after our acquisition");
    assert!(!led_on.is_zero() && led_on <= RENEW_DEADLINE + seconds(3), "{led_on:?}");
    assert!(guard.is_held());
    assert_eq!(fixture.spec().await["holderIdentity"], json!(guard.holder_identity()));
    guard.release().await.unwrap();
}

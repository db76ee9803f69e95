//! The effect of each fault on a request.

use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::testing::{Fault, Verb};

const SECOND: Duration = Duration::from_secs(1);
const ONE_DAY: Duration = Duration::from_secs(24 * 3600);

async fn claim(fixture: &Fixture) -> Result<Lease, Error> {
    fixture.merge(&json!({ "spec": { "holderIdentity": "b" } })).await
}

/// A fixture with a fault in its link.
fn fixture(fault: Fault) -> Fixture {
    let fixture = Fixture::with_lease();
    fixture.link.inject(fault);
    fixture
}

fn is_committed(fixture: &Fixture) -> bool {
    fixture.holder().as_deref() == Some("b")
}

fn io_error(result: Result<Lease, Error>) -> std::io::ErrorKind {
    match result {
        Err(Error::Service(error)) => error.downcast_ref::<std::io::Error>().unwrap().kind(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_request_is_never_committed() {
    let fixture = fixture(Fault::hang());
    {
        let mut hung = Box::pin(claim(&fixture));
        assert!(timeout(ONE_DAY, &mut hung).await.is_err());
        fixture.link.heal();
        assert!(timeout(ONE_DAY, &mut hung).await.is_err());
    }
    assert!(!is_committed(&fixture));
    assert_eq!(fixture.last_status(), None);
    claim(&fixture).await.unwrap();
    assert_eq!(fixture.link.count(Verb::Patch), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_not_committed() {
    let fixture = fixture(Fault::refuse());
    assert_eq!(io_error(claim(&fixture).await), std::io::ErrorKind::ConnectionRefused);
    assert!(!is_committed(&fixture));
}

#[tokio::test(start_paused = true)]
async fn a_reset_request_is_committed() {
    let fixture = fixture(Fault::reset());
    assert_eq!(io_error(claim(&fixture).await), std::io::ErrorKind::ConnectionReset);
    assert!(is_committed(&fixture));
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_lost_response_is_committed() {
    let fixture = fixture(Fault::lose_reply());
    assert!(timeout(ONE_DAY, claim(&fixture)).await.is_err());
    assert!(is_committed(&fixture));
    assert_eq!(fixture.last_status(), None);
}

#[tokio::test(start_paused = true)]
async fn a_late_request_is_committed_late() {
    let fixture = fixture(Fault::delay_before(10 * SECOND));
    assert!(timeout(SECOND, claim(&fixture)).await.is_err());
    assert!(!is_committed(&fixture));
    sleep(10 * SECOND).await;
    assert!(is_committed(&fixture), "late, but committed");
    assert_eq!(fixture.last_status(), Some(200));
    let request = &fixture.link.requests()[0];
    assert_eq!(request.answered.unwrap() - request.received, 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_is_cancelled_with_its_client() {
    let fixture = fixture(Fault::slow(10 * SECOND));
    assert!(timeout(9 * SECOND, claim(&fixture)).await.is_err());
    sleep(ONE_DAY).await;
    assert!(!is_committed(&fixture));
    assert_eq!(fixture.last_status(), None);
    let start = Instant::now();
    claim(&fixture).await.unwrap();
    assert!(is_committed(&fixture) && start.elapsed() == 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_late_response_does_not_delay_the_commit() {
    let fixture = fixture(Fault::delay_after(10 * SECOND));
    let start = Instant::now();
    let claimed = tokio::join!(claim(&fixture), async {
        sleep(SECOND).await;
        is_committed(&fixture)
    });
    assert!(claimed.0.is_ok() && claimed.1);
    assert_eq!(start.elapsed(), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_status_is_that_of_kubernetes_and_commits_nothing() {
    for (code, reason) in [
        (400, "BadRequest"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "NotFound"),
        (409, "Conflict"),
        (410, "Expired"),
        (422, "Invalid"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (504, "Timeout"),
        (418, ""),
    ] {
        let fixture = fixture(Fault::status(code));
        let status = super::refusal(claim(&fixture).await);
        assert_eq!((status.code, &*status.reason), (code, reason));
        assert!(!is_committed(&fixture));
        assert_eq!(fixture.last_status(), Some(code));
    }
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_request_has_the_message_of_rbac() {
    let fixture = fixture(Fault::status(403));
    let status = super::refusal(claim(&fixture).await);
    assert_eq!(
        status.message,
        "leases.coordination.k8s.io \"x\" is forbidden: User \"system:serviceaccount:default:default\" cannot patch \
         resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"default\""
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_in_the_header_and_in_the_details() {
    let fixture = fixture(Fault::status(429).retry_after(3 * SECOND));
    let request = http::Request::get("/apis/coordination.k8s.io/v1/leases").body(Vec::new().into()).unwrap();
    let response = fixture.link.client().send(request).await.unwrap();
    assert_eq!(response.headers()["retry-after"], "3");
    let status = super::refusal(claim(&fixture).await);
    assert_eq!(status.details.unwrap().retry_after_seconds, 3);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_an_error_after_the_commit_is_committed() {
    let fixture = fixture(Fault::commit_then_status(504));
    assert_eq!(super::refusal(claim(&fixture).await).code, 504);
    assert!(is_committed(&fixture));
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_garbage_response_is_committed() {
    let fixture = fixture(Fault::garbage());
    assert!(matches!(claim(&fixture).await, Err(Error::SerdeError(_))));
    assert!(is_committed(&fixture));
}

#[tokio::test(start_paused = true)]
async fn a_replayed_creation_already_exists() {
    let fixture = Fixture::new();
    fixture.link.inject(Fault::replay());
    let status = super::refusal(fixture.post(&lease("x", json!({}))).await);
    assert_eq!(&*status.reason, "AlreadyExists");
    assert!(fixture.server.lease("default", "x").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_fault_can_hit_the_opening_of_a_watch() {
    let fixture = fixture(Fault::status(403).on(Verb::Watch));
    let opened = fixture.leases.watch(&kube::api::WatchParams::default(), "0").await;
    assert_eq!(super::refusal(opened.map(drop)).code, 403);
    claim(&fixture).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn links_do_not_affect_each_other() {
    let fixture = fixture(Fault::refuse());
    let other = fixture.server.connect();
    let leases: Api<Lease> = Api::default_namespaced(other.client());
    leases.get("x").await.unwrap();
    assert_eq!((fixture.link.count(Verb::Get), other.count(Verb::Get)), (0, 1));
    other.forget_requests();
    assert!(other.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_is_still_committed() {
    let fixture = Fixture::with_lease();
    let mut request = Box::pin(claim(&fixture));
    // The request is sent, and dropped before a response can arrive.
    assert!((&mut request).now_or_never().is_none());
    tokio::task::yield_now().await;
    drop(request);
    sleep(SECOND).await;
    assert!(is_committed(&fixture));
}

#[tokio::test(start_paused = true)]
async fn requests_and_responses_travel() {
    let distant = |fault: Option<Fault>| {
        let fixture = Fixture::with_lease();
        fixture.link.set_distance(10 * SECOND);
        if let Some(fault) = fault {
            fixture.link.inject(fault);
        }
        fixture
    };
    let fixture = distant(None);
    let start = Instant::now();
    let mut claimed = Box::pin(claim(&fixture));
    assert!(timeout(9 * SECOND, &mut claimed).await.is_err() && !is_committed(&fixture));
    sleep(2 * SECOND).await;
    assert!(is_committed(&fixture) && fixture.last_status().is_none());
    claimed.await.unwrap();
    assert_eq!(start.elapsed(), 20 * SECOND);
    let request = &fixture.link.requests()[0];
    assert_eq!((request.received, request.answered), (start, Some(start + 20 * SECOND)));

    for (fault, seconds) in [
        (Fault::refuse(), 20),
        (Fault::status(500), 20),
        (Fault::reset(), 20),
        (Fault::delay_before(5 * SECOND), 25),
        (Fault::delay_after(5 * SECOND), 25),
    ] {
        let fixture = distant(Some(fault));
        let start = Instant::now();
        let _ = claim(&fixture).await;
        assert_eq!(start.elapsed(), seconds * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_trip_can_vary() {
    let times = async |seed| {
        let fixture = Fixture::with_lease();
        fixture.link.set_distance(100 * SECOND);
        fixture.link.set_jitter(seed);
        let mut times = Vec::new();
        for _ in 0..100 {
            let start = Instant::now();
            fixture.leases.get("x").await.unwrap();
            times.push(start.elapsed().as_secs());
        }
        times
    };
    let drawn = times(1).await;
    assert!(drawn.iter().all(|seconds| (100..=300).contains(seconds)), "{drawn:?}");
    assert!(drawn.iter().any(|s| *s < 150) && drawn.iter().any(|s| *s > 250), "{drawn:?}");
    assert!(drawn == times(1).await && drawn != times(2).await);
}

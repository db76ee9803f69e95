//! What each fault does to a request.

use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::testing::{Fault, Verb};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(24 * 3600);

async fn claim(world: &World) -> Result<Lease, Error> {
    world.merge(&json!({ "spec": { "holderIdentity": "b" } })).await
}

/// A world with a fault in it.
fn world(fault: Fault) -> World {
    let world = World::with_lease();
    world.link.inject(fault);
    world
}

fn is_committed(world: &World) -> bool {
    world.holder().as_deref() == Some("b")
}

fn io_error(result: Result<Lease, Error>) -> std::io::ErrorKind {
    match result {
        Err(Error::Service(error)) => error.downcast_ref::<std::io::Error>().unwrap().kind(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn hang() {
    let world = world(Fault::hang());
    {
        let mut hung = Box::pin(claim(&world));
        assert!(timeout(LONG, &mut hung).await.is_err());
        world.link.heal();
        assert!(timeout(LONG, &mut hung).await.is_err());
    }
    assert!(!is_committed(&world));
    assert_eq!(world.last_status(), None);
    claim(&world).await.unwrap();
    assert_eq!(world.link.count(Verb::Patch), 2);
}

#[tokio::test(start_paused = true)]
async fn refuse() {
    let world = world(Fault::refuse());
    assert_eq!(io_error(claim(&world).await), std::io::ErrorKind::ConnectionRefused);
    assert!(!is_committed(&world));
}

#[tokio::test(start_paused = true)]
async fn reset() {
    let world = world(Fault::reset());
    assert_eq!(io_error(claim(&world).await), std::io::ErrorKind::ConnectionReset);
    assert!(is_committed(&world));
}

#[tokio::test(start_paused = true)]
async fn lose_reply() {
    let world = world(Fault::lose_reply());
    assert!(timeout(LONG, claim(&world)).await.is_err());
    assert!(is_committed(&world));
    assert_eq!(world.last_status(), None);
}

#[tokio::test(start_paused = true)]
async fn delay_before() {
    let world = world(Fault::delay_before(10 * SECOND));
    assert!(timeout(SECOND, claim(&world)).await.is_err());
    assert!(!is_committed(&world));
    sleep(10 * SECOND).await;
    assert!(is_committed(&world), "late, but committed");
    assert_eq!(world.last_status(), Some(200));
    let request = &world.link.requests()[0];
    assert_eq!(request.answered.unwrap() - request.received, 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn delay_after() {
    let world = world(Fault::delay_after(10 * SECOND));
    let start = Instant::now();
    let claimed = tokio::join!(claim(&world), async {
        sleep(SECOND).await;
        is_committed(&world)
    });
    assert!(claimed.0.is_ok() && claimed.1);
    assert_eq!(start.elapsed(), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn status() {
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
        let world = world(Fault::status(code));
        let status = super::refusal(claim(&world).await);
        assert_eq!((status.code, &*status.reason), (code, reason));
        assert!(!is_committed(&world));
        assert_eq!(world.last_status(), Some(code));
    }
}

#[tokio::test(start_paused = true)]
async fn forbidden_as_rbac_says_it() {
    let world = world(Fault::status(403));
    let status = super::refusal(claim(&world).await);
    assert_eq!(
        status.message,
        "leases.coordination.k8s.io \"x\" is forbidden: User \"system:serviceaccount:default:default\" cannot patch \
         resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"default\""
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after() {
    let world = world(Fault::status(429).retry_after(3 * SECOND));
    let request = http::Request::get("/apis/coordination.k8s.io/v1/leases").body(Vec::new().into()).unwrap();
    let response = world.link.client().send(request).await.unwrap();
    assert_eq!(response.headers()["retry-after"], "3");
    let status = super::refusal(claim(&world).await);
    assert_eq!(status.details.unwrap().retry_after_seconds, 3);
}

#[tokio::test(start_paused = true)]
async fn commit_then_status() {
    let world = world(Fault::commit_then_status(504));
    assert_eq!(super::refusal(claim(&world).await).code, 504);
    assert!(is_committed(&world));
}

#[tokio::test(start_paused = true)]
async fn garbage() {
    let world = world(Fault::garbage());
    assert!(matches!(claim(&world).await, Err(Error::SerdeError(_))));
    assert!(is_committed(&world));
}

#[tokio::test(start_paused = true)]
async fn replay() {
    let world = World::new();
    world.link.inject(Fault::replay());
    let status = super::refusal(world.post(&lease("x", json!({}))).await);
    assert_eq!(&*status.reason, "AlreadyExists");
    assert!(world.server.lease("default", "x").is_some());
}

#[tokio::test(start_paused = true)]
async fn faults_on_opening_a_watch() {
    let world = world(Fault::status(403).on(Verb::Watch));
    let opened = world.leases.watch(&kube::api::WatchParams::default(), "0").await;
    assert_eq!(super::refusal(opened.map(drop)).code, 403);
    claim(&world).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn links_do_not_concern_each_other() {
    let world = world(Fault::refuse());
    let other = world.server.connect();
    let leases: Api<Lease> = Api::default_namespaced(other.client());
    leases.get("x").await.unwrap();
    assert_eq!((world.link.count(Verb::Get), other.count(Verb::Get)), (0, 1));
    other.forget_requests();
    assert!(other.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_given_up_is_still_on_the_wire() {
    let world = World::with_lease();
    let mut request = Box::pin(claim(&world));
    // Sent, and dropped before anything could come back.
    assert!((&mut request).now_or_never().is_none());
    tokio::task::yield_now().await;
    drop(request);
    sleep(SECOND).await;
    assert!(is_committed(&world));
}

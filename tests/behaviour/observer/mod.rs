//! Observers: who holds the Lease, without contending for it.

mod answers;
mod cost;
mod failures;
mod life;
mod random;

use std::time::Duration;

use kube_lease_lock::testing::{LeaseServer, Link};
use kube_lease_lock::{LeaseObserver, ObservedHolder};
use tokio::time::timeout;

use crate::fixture::NAME;

/// Long enough for whatever happens at once.
const AT_ONCE: Duration = Duration::from_millis(100);

/// An observer with a link of its own.
fn observer(server: &LeaseServer) -> (Link, LeaseObserver) {
    let link = server.connect();
    let observer = LeaseObserver::new(link.client(), NAME).unwrap();
    (link, observer)
}

/// The next answer, which comes within this time.
async fn within(patience: Duration, observer: &mut LeaseObserver) -> ObservedHolder {
    let answer = timeout(patience, observer.changed()).await;
    let answer = answer.unwrap_or_else(|_| panic!("no change within {patience:?}, after {observer:?}"));
    answer.expect("the runtime has not ended")
}

async fn next(observer: &mut LeaseObserver) -> ObservedHolder {
    within(AT_ONCE, observer).await
}

#[track_caller]
fn assert_held_by(answer: &ObservedHolder, name: &str) {
    assert!(matches!(answer, ObservedHolder::Held(holder) if holder.name() == name), "{answer:?}");
}

#[track_caller]
fn assert_free(answer: &ObservedHolder) {
    assert!(matches!(answer, ObservedHolder::Free), "{answer:?}");
}

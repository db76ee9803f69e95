//! Errors that were panics.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use kube_lease_lock::LeaseLockBuilder;
use kube_lease_lock::testing::LeaseServer;

use crate::fixture::{acquire, builder, connect};

#[tokio::test(start_paused = true)]
async fn the_longest_duration_is_an_error_not_a_panic() {
    type Setter = fn(LeaseLockBuilder, Duration) -> LeaseLockBuilder;
    let setters: [(&str, Setter); 4] = [
        ("lease_duration", LeaseLockBuilder::lease_duration),
        ("renew_deadline", LeaseLockBuilder::renew_deadline),
        ("renew_interval", LeaseLockBuilder::renew_interval),
        ("request_timeout", LeaseLockBuilder::request_timeout),
    ];
    for (name, set) in setters {
        let builder = set(builder(&LeaseServer::new()).1, Duration::MAX);
        assert!(builder.build().is_err(), "{name} accepts Duration::MAX");
    }
}

#[test]
fn no_method_panics_outside_of_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_link, lock, _guard) = runtime.block_on(async {
        let (link, lock) = connect(&LeaseServer::new());
        let guard = acquire(&lock).await;
        (link, lock, guard)
    });
    poll_once(lock.holder());
    poll_once(lock.try_acquire());
    poll_once(lock.shutdown());
}

/// Polls the future without a runtime, and drops it.
fn poll_once(future: impl Future) {
    let _ = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
}

//! A holder whose times cannot be read, or that writes none, and that renews all the same.

use std::time::Duration;

use kube_lease_lock::testing::LeaseServer;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{NAME, NAMESPACE, builder, put_lease};

const SECOND: Duration = Duration::from_secs(1);

/// A holder without a `renewTime` is judged by the clock of the waiter, also if the waiter trusts wall clocks.
#[tokio::test(start_paused = true)]
async fn a_holder_without_a_renew_time_is_not_taken_for_expired() {
    for spec in [
        json!({ "holderIdentity": "them", "leaseDurationSeconds": 15 }),
        json!({ "holderIdentity": "them", "leaseDurationSeconds": 15, "acquireTime": "1970-01-01T00:00:00.000000Z" }),
    ] {
        let server = LeaseServer::new();
        put_lease(&server, &spec);
        let lock = builder(&server).1.max_clock_skew(SECOND).build().unwrap();
        lock.try_acquire().await.unwrap_err();
        let start = Instant::now();
        let guard = lock.acquire().await.unwrap();
        assert!(start.elapsed() >= 14 * SECOND, "{:?}", start.elapsed());
        guard.release().await.unwrap();
    }
}

/// It counts `leaseTransitions` or moves `acquireTime` instead.
#[tokio::test(start_paused = true)]
async fn a_holder_that_renews_in_a_way_of_its_own_is_not_taken_over() {
    for field in ["leaseTransitions", "acquireTime", "renewTime"] {
        let server = LeaseServer::new();
        put_lease(&server, &json!({ "holderIdentity": "them", "leaseDurationSeconds": 15 }));
        let lock = builder(&server).1.build().unwrap();
        let waiting = tokio::spawn(async move { lock.acquire().await });
        for renewal in 1..40 {
            sleep(10 * SECOND).await;
            server.edit(NAMESPACE, NAME, |lease| {
                let mut spec = serde_json::to_value(lease.spec.take()).unwrap();
                // The same second each time, except for its last digits.
                spec[field] = match field {
                    "leaseTransitions" => json!(renewal),
                    _ => json!(format!("9998-12-31T23:59:59.{renewal:06}Z")),
                };
                lease.spec = serde_json::from_value(spec).unwrap();
            });
            assert!(!waiting.is_finished(), "{field}, renewal {renewal}");
        }
        timeout(16 * SECOND, waiting).await.expect("expired").unwrap().unwrap().release().await.unwrap();
    }
}

//! What a process that waits tells about the holder.

use std::time::Duration;

use kube_lease_lock::AcquireError;
use kube_lease_lock::testing::{Fault, LeaseServer, Verb};
use tokio::time::sleep;

use crate::fixture::{NAME, NAMESPACE, connect};

const SECOND: Duration = Duration::from_secs(1);

/// Also if the watch is dead, forbidden or late.
#[tokio::test(start_paused = true)]
async fn a_waiter_names_the_present_holder_and_not_an_earlier_one() {
    for fault in [None, Some(Fault::drop_events()), Some(Fault::status(403).on(Verb::Watch))] {
        let server = LeaseServer::new();
        server.take(NAMESPACE, NAME, "holder-0");
        let (link, lock) = connect(&server);
        link.inject(fault.clone().unwrap_or(Fault::drop_events().times(0)));
        let waiting = tokio::spawn(async move { lock.acquire_timeout(300 * SECOND).await });
        // Each holder renews, and is succeeded by the next one.
        for number in 0..30 {
            for _ in 0..2 {
                server.take(NAMESPACE, NAME, &format!("holder-{number}"));
                sleep(5 * SECOND).await;
            }
        }
        let error = waiting.await.unwrap().unwrap_err();
        let AcquireError::TimedOut { holder: Some(holder), .. } = &error else { panic!("{error:?}") };
        let number: u32 = holder.identity.strip_prefix("holder-").unwrap().parse().unwrap();
        // Without events, the waiter reads when the record should have expired.
        let oldest = if fault.is_none() { 29 } else { 27 };
        assert!(number >= oldest, "{fault:?}: {error}");
    }
}

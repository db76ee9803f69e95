//! Fields of the spec that belong to others, as those of coordinated leader election.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::fixture::{Fixture, NAME, NAMESPACE, acquire, put_lease};

#[tokio::test(start_paused = true)]
async fn the_preferred_holder_and_the_strategy_of_a_lease_are_kept_and_not_heeded() {
    let Fixture { server, lock, .. } = Fixture::new();
    put_lease(&server, &json!({ "preferredHolder": "somebody", "strategy": "OldestEmulationVersion" }));
    let others = || {
        let spec = server.lease(NAMESPACE, NAME).unwrap().spec.unwrap();
        (spec.preferred_holder.unwrap(), spec.strategy.unwrap())
    };
    let before = others();
    let guard = acquire(&lock).await;
    sleep(Duration::from_secs(60)).await;
    server.edit(NAMESPACE, NAME, |lease| {
        lease.spec.as_mut().unwrap().preferred_holder = Some("another".to_owned());
    });
    sleep(Duration::from_secs(60)).await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
    assert_eq!(others(), ("another".to_owned(), before.1));
}

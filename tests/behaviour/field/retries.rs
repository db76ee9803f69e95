//! A release that is tried again must not end the next hold of the same lock.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, Verb};
use tokio::time::sleep;

use crate::fixture::{Fixture, acquire};

#[tokio::test(start_paused = true)]
async fn a_release_whose_answer_was_lost_does_not_end_the_next_hold() {
    for fault in [
        Fault::lose_reply(),
        Fault::commit_then_status(504),
        Fault::reset(),
        Fault::delay_after(Duration::from_secs(4)),
        Fault::delay_before(Duration::from_secs(4)),
        Fault::replay(),
    ] {
        let Fixture { link, lock, .. } = Fixture::new();
        let guard = acquire(&lock).await;
        sleep(Duration::from_secs(1)).await;
        link.inject(fault.clone().on(Verb::Apply).times(1));
        drop(guard);
        let next = acquire(&lock).await;
        sleep(Duration::from_secs(60)).await;
        assert!(next.is_held(), "{fault:?}: {:?}", next.lost().await);
        next.release().await.unwrap();
        assert!(lock.holder().await.unwrap().is_none());
    }
}

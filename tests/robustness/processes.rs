//! Contender processes that are killed or stopped.

use std::time::Duration;

use tokio::time::sleep;

use crate::behaviour::Behaviour;
use crate::fixture::{Fixture, shared_control_plane};
use crate::support::now;

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn processes_are_killed_and_stopped() {
    tokio::join!(
        a_killed_holder_is_succeeded(),
        a_stale_write_after_a_long_stop_is_refused(),
        a_holder_stopped_for_a_moment_keeps_the_lock(),
    );
}

async fn a_killed_holder_is_succeeded() {
    let fixture = Fixture::new("killed", shared_control_plane().await).await;
    let (mut one, mut other) = fixture.holder_and_waiter(Behaviour::HOLD_FOREVER).await;
    let killed = now();
    one.kill().await;
    let taken = other.wait_for("acquired", killed).await;
    one.restart();
    one.wait_for("asks", killed).await;
    other.kill().await;
    one.wait_for("acquired", taken.at).await;
    let verdict = fixture.clean_verdict();
    assert!(verdict.handoffs >= 2, "{verdict}");
}

async fn a_stale_write_after_a_long_stop_is_refused() {
    let fixture = Fixture::new("stopped-for-long", shared_control_plane().await).await;
    // It spends most of its time preparing a write, so that it is probably stopped between check and write.
    let behaviour = Behaviour { prepare: 200..=300, ..Behaviour::HOLD_FOREVER };
    let (one, other) = fixture.holder_and_waiter(behaviour).await;
    let (mut holder, mut waiter) = (&one, &other);
    // Several attempts, because it may be stopped in a moment in which it does not prepare a write.
    for _ in 0..3 {
        if fixture.register.verdict().stale > 0 {
            break;
        }
        let start = now();
        let stopped = holder.stop();
        let taken = waiter.wait_for("acquired", start).await;
        // The successor writes first.
        sleep(Duration::from_secs(1)).await;
        drop(stopped);
        let lost = holder.wait_for("lost", start).await;
        assert!(lost.at > taken.at, "it cannot have noticed before it was continued");
        (holder, waiter) = (waiter, holder);
        waiter.wait_for("asks", start).await;
    }
    let verdict = fixture.clean_verdict();
    assert!(verdict.stale > 0, "{verdict}");
}

async fn a_holder_stopped_for_a_moment_keeps_the_lock() {
    let fixture = Fixture::new("stopped-for-a-moment", shared_control_plane().await).await;
    let (holder, waiter) = fixture.holder_and_waiter(Behaviour::HOLD_FOREVER.lease_seconds(9)).await;
    let start = now();
    let stopped = holder.stop();
    sleep(Duration::from_secs(1)).await;
    drop(stopped);
    // Longer than it can hold the lock without a renewal.
    sleep(Duration::from_secs(7)).await;
    assert!(!holder.has_reported("lost", start) && !waiter.has_reported("acquired", start));
    assert_eq!(fixture.clean_verdict().stale, 0);
}

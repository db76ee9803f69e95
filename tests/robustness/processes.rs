//! Contenders that are killed or stopped in their tracks.

use std::time::Duration;

use tokio::time::sleep;

use crate::manner::Manner;
use crate::support::now;
use crate::world::{World, undisturbed};

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn processes_are_killed_and_stopped() {
    tokio::join!(
        a_killed_holder_is_succeeded(),
        a_holder_stopped_for_long_writes_too_late(),
        a_holder_stopped_for_a_moment_keeps_the_lock(),
    );
}

async fn a_killed_holder_is_succeeded() {
    let world = World::new("killed", undisturbed().await).await;
    let (mut one, mut other) = world.keepers(Manner::KEEPER).await;
    let killed = now();
    one.kill().await;
    let taken = other.said("acquired", killed).await;
    one.start_again();
    one.said("asks", killed).await;
    other.kill().await;
    one.said("acquired", taken.at).await;
    let verdict = world.clean_verdict();
    assert!(verdict.handoffs >= 2, "{verdict}");
}

async fn a_holder_stopped_for_long_writes_too_late() {
    let world = World::new("stopped-for-long", undisturbed().await).await;
    // So much of its time it prepares that it is stopped while it does.
    let manner = Manner { prepare: 200..=300, ..Manner::KEEPER };
    let (one, other) = world.keepers(manner).await;
    let (mut holder, mut waiter) = (&one, &other);
    // More than once, lest it is stopped in one of the moments when it does not.
    for _ in 0..3 {
        if world.register.verdict().stale > 0 {
            break;
        }
        let start = now();
        let stopped = holder.stop();
        let taken = waiter.said("acquired", start).await;
        // The successor writes first.
        sleep(Duration::from_secs(1)).await;
        drop(stopped);
        let lost = holder.said("lost", start).await;
        assert!(lost.at > taken.at, "it cannot have noticed before it was continued");
        (holder, waiter) = (waiter, holder);
        waiter.said("asks", start).await;
    }
    let verdict = world.clean_verdict();
    assert!(verdict.stale > 0, "{verdict}");
}

async fn a_holder_stopped_for_a_moment_keeps_the_lock() {
    let world = World::new("stopped-for-a-moment", undisturbed().await).await;
    let (holder, waiter) = world.keepers(Manner::KEEPER.lease(9)).await;
    let start = now();
    let stopped = holder.stop();
    sleep(Duration::from_secs(1)).await;
    drop(stopped);
    // Longer than it can hold on without a renewal.
    sleep(Duration::from_secs(7)).await;
    assert!(!holder.has_said("lost", start) && !waiter.has_said("acquired", start));
    assert_eq!(world.clean_verdict().stale, 0);
}

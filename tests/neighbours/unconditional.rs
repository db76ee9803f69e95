//! Faults of kube-lease-manager and kube-leader-election. Both read the Lease, and if it has expired they write, whatever
//! has become of it since: the one empties it, to claim it later; the other takes it at once. That may be a hold of
//! ours. Our holder is told at once.

use std::time::Instant;

use kube_lease_lock::LossReason;
use tokio::time::timeout;

use crate::support::{Make, Pace};
use crate::world::{World, acquire, s};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn kube_lease_manager_clears_our_hold_and_we_are_told_at_once() {
    assert_eq!(lost_to(Make::KubeLeaseManager { grace: s(1) }).await, LossReason::Cleared);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn kube_leader_election_takes_our_hold_and_we_are_told_at_once() {
    let reason = lost_to(Make::KubeLeaderElection).await;
    assert!(matches!(&reason, LossReason::TakenOver { by, .. } if by == "neighbour"), "{reason:?}");
}

async fn lost_to(make: Make) -> LossReason {
    let world = World::new().await;
    let before = acquire(&world.lock(s(3)).await).await;
    let pace = Pace { lease_duration: s(3), term: s(1), rest: s(1) };
    let mut neighbour = world.neighbour(make, "neighbour", pace).await;
    neighbour.order("hold requests PATCH").await;
    before.release().await.unwrap();
    // It has found the Lease expired, a second after the release, and is about to write.
    neighbour.says("holding requests PATCH").await;

    // With a lease this long, no renewal of ours is near.
    let guard = acquire(&world.lock(s(600)).await).await;
    let passed = Instant::now();
    neighbour.order("pass").await;
    let reason = timeout(s(5), guard.lost()).await.expect("news of the write");
    println!("{make:?}: told {:.0?} after it could write: {reason}", passed.elapsed());
    assert!(!guard.is_held());
    neighbour.says("leading neighbour#1").await;
    reason
}

//! Faults of kube-lease-manager and kube-leader-election. Both read the Lease and, if it has expired, write to it, even
//! if it has changed since the read: kube-lease-manager clears it to claim it later, kube-leader-election claims it. In
//! this way they may end a hold of ours. Our holder learns of that immediately.

use std::time::Instant;

use kube_lease_lock::LossReason;
use tokio::time::timeout;

use crate::fixture::{Fixture, acquire, seconds};
use crate::support::{Library, Pace};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn our_holder_notices_that_kube_lease_manager_cleared_the_lease() {
    assert_eq!(lost_to(Library::KubeLeaseManager { grace: seconds(1) }).await, LossReason::Cleared);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn our_holder_notices_that_kube_leader_election_claimed_the_lease() {
    let reason = lost_to(Library::KubeLeaderElection).await;
    assert!(matches!(&reason, LossReason::TakenOver { by, .. } if by == "neighbour"), "{reason:?}");
}

async fn lost_to(library: Library) -> LossReason {
    let fixture = Fixture::new().await;
    let earlier = acquire(&fixture.lock(seconds(3)).await).await;
    let pace = Pace { lease_duration: seconds(3), hold: seconds(1), rest: seconds(1) };
    let mut neighbour = fixture.neighbour(library, "neighbour", pace).await;
    neighbour.order("hold requests PATCH").await;
    earlier.release().await.unwrap();
    // One second after the release it has found the Lease expired, and is about to write.
    neighbour.wait_for("holding requests PATCH").await;

    // The lease is so long that our holder does not renew during the test.
    let guard = acquire(&fixture.lock(seconds(600)).await).await;
    let let_through = Instant::now();
    neighbour.order("pass").await;
    let reason = timeout(seconds(5), guard.lost()).await.expect("the loss noticed");
    println!("{library:?}: noticed {:.0?} after the write was let through: {reason}", let_through.elapsed());
    assert!(!guard.is_held());
    neighbour.wait_for("leading neighbour#1").await;
    reason
}

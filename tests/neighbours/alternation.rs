//! Contenders with different libraries take turns on one Lease: no two hold it at the same time, and none of them
//! starves.
//!
//! There is no order between them. Our contender learns of a release immediately. The others must find the Lease free
//! when they read it: client-go every 2.2 retry periods at the latest; kubert when the record that it last saw expires,
//! and one second longer; kube-lease-manager two seconds longer. So every contender pauses between two holds. Some
//! holds are longer than the lease, so that the others have renewals to respect.

use std::time::{Duration, Instant};

use kube_lease_lock::{LossReason, ReleaseError};
use tokio::time::sleep;

use crate::fixture::{Fixture, millis, seconds};
use crate::our_contender::{End, OurContender};
use crate::support::{Library, Neighbour, Pace};

/// How often each contender has to hold the Lease, and the time for that.
const MIN_HOLDS: usize = 3;
const HOLDS_TIMEOUT: Duration = Duration::from_secs(150);

const CLIENT_GO: Library =
    Library::ClientGo { renew_deadline: seconds(3), retry_period: millis(500), release_on_cancel: true };
const KUBERT: Library = Library::Kubert { grace: seconds(2) };

/// The groups run at the same time, each on a Lease of its own, because most of the time is spent waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn contenders_with_different_libraries_take_turns() {
    tokio::join!(with_client_go(), with_kubert(), with_client_go_and_kubert(), with_kube_lease_manager());
}

async fn with_client_go() {
    let fixture = Fixture::new().await;
    let short = Pace { lease_duration: seconds(4), hold: millis(300), rest: seconds(2) };
    let long = Pace { hold: millis(4_500), rest: seconds(8), ..short };
    let ours = [
        OurContender::start(&fixture, "ours-short", short).await,
        OurContender::start(&fixture, "ours-long", long).await,
    ];
    let mut neighbours = [
        fixture.neighbour(CLIENT_GO, "client-go-short", short).await,
        fixture.neighbour(CLIENT_GO, "client-go-long", long).await,
    ];
    let all = ["ours-short", "ours-long", "client-go-short", "client-go-long"];
    wait_until_each_has_held(&fixture, &all, &mut neighbours).await;
    assert_exclusive(&fixture, &ours);
}

async fn with_kubert() {
    let fixture = Fixture::new().await;
    let short = Pace { lease_duration: seconds(3), hold: millis(300), rest: seconds(4) };
    let long = Pace { hold: seconds(4), ..short };
    let ours = [
        OurContender::start(&fixture, "ours-short", short).await,
        OurContender::start(&fixture, "ours-long", long).await,
    ];
    let kubert = fixture.neighbour(KUBERT, "kubert", Pace { rest: seconds(2), ..long }).await;
    wait_until_each_has_held(&fixture, &["ours-short", "ours-long", "kubert"], &mut [kubert]).await;
    assert_exclusive(&fixture, &ours);
}

async fn with_client_go_and_kubert() {
    let fixture = Fixture::new().await;
    let pace = Pace { lease_duration: seconds(4), hold: millis(300), rest: seconds(8) };
    let ours = [
        OurContender::start(&fixture, "ours-1", pace).await,
        OurContender::start(&fixture, "ours-2", pace).await,
    ];
    let mut neighbours = [
        fixture.neighbour(CLIENT_GO, "client-go-1", pace).await,
        fixture.neighbour(CLIENT_GO, "client-go-2", pace).await,
        fixture
            .neighbour(KUBERT, "kubert", Pace { lease_duration: seconds(3), rest: seconds(2), ..pace })
            .await,
    ];
    let all = ["ours-1", "ours-2", "client-go-1", "client-go-2", "kubert"];
    wait_until_each_has_held(&fixture, &all, &mut neighbours).await;
    assert_exclusive(&fixture, &ours);
}

/// kube-lease-manager clears a Lease that it believes to be expired, even if the Lease has changed since it was read.
/// So it may clear a hold of ours. But it waits for a tenth of a second before it claims, and by then our holder knows.
async fn with_kube_lease_manager() {
    let fixture = Fixture::new().await;
    let short = Pace { lease_duration: seconds(4), hold: millis(300), rest: seconds(5) };
    let long = Pace { hold: seconds(5), ..short };
    let ours = [
        OurContender::start(&fixture, "ours-short", short).await,
        OurContender::start(&fixture, "ours-long", long).await,
    ];
    let library = Library::KubeLeaseManager { grace: seconds(2) };
    let manager = fixture.neighbour(library, "kube-lease-manager", Pace { rest: seconds(2), ..long }).await;
    let all = ["ours-short", "ours-long", "kube-lease-manager"];
    wait_until_each_has_held(&fixture, &all, &mut [manager]).await;

    let verdict = fixture.verdict();
    println!("{verdict}");
    assert!(verdict.unfenced.is_empty() && verdict.violations.is_empty() && verdict.stale == 0, "{verdict}");
    let ended_by_others: Vec<_> =
        ours.iter().flat_map(OurContender::ends).filter(was_ended_by_others).collect();
    println!("cleared by kube-lease-manager: {ended_by_others:?}");
    for (earlier, later) in &verdict.overlaps {
        let accepted = ended_by_others.iter().any(|end| end.name == earlier.name);
        assert!(accepted && earlier.last - later.first < 1_000_000_000, "{verdict}\n{ended_by_others:?}");
    }
}

async fn wait_until_each_has_held(fixture: &Fixture, contenders: &[&str], neighbours: &mut [Neighbour]) {
    let start = Instant::now();
    loop {
        let holds: Vec<_> = contenders.iter().map(|it| (*it, fixture.count_holds(it))).collect();
        if holds.iter().all(|(_, count)| *count >= MIN_HOLDS) {
            println!("after {:.0?}: {holds:?}", start.elapsed());
            return;
        }
        neighbours.iter_mut().for_each(Neighbour::assert_runs);
        assert!(start.elapsed() < HOLDS_TIMEOUT, "a contender starves: {holds:?}\n{}", fixture.verdict());
        sleep(millis(100)).await;
    }
}

/// No two contenders held the Lease at the same time, and no other contender ended a hold of ours.
fn assert_exclusive(fixture: &Fixture, ours: &[OurContender]) {
    let verdict = fixture.verdict();
    println!("{verdict}");
    assert!(verdict.is_clean() && verdict.stale == 0, "{verdict}");
    for end in ours.iter().flat_map(OurContender::ends) {
        assert!(!was_ended_by_others(&end), "{end:?}\n{verdict}");
    }
}

fn was_ended_by_others(end: &End) -> bool {
    use LossReason::{Cleared, Deleted, TakenOver};
    let Err(ReleaseError::Lost { reason, .. }) = &end.outcome else { return false };
    matches!(reason, TakenOver { .. } | Cleared | Deleted)
}

//! Who shares a Lease with us takes turns with us: no two at a time, and everybody comes to lead.
//!
//! Between processes there is no order. We learn of a release at once; others have to find the Lease free when they
//! look: client-go every 2.2 retry periods at the latest, kubert when the record that it last saw expires, and then for
//! a second more, kube-lease-manager for two. So everybody rests between turns. Some terms are longer than the lease, so
//! that the others have renewals to respect.

use std::time::{Duration, Instant};

use kube_lease_lock::{LossReason, ReleaseError};
use tokio::time::sleep;

use crate::support::{Make, Neighbour, Pace};
use crate::turns::{End, Ours};
use crate::world::{World, ms, s};

const TURNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(150);

const CLIENT_GO: Make =
    Make::ClientGo { renew_deadline: s(3), retry_period: ms(500), release_on_cancel: true };
const KUBERT: Make = Make::Kubert { grace: s(2) };

/// Each with a Lease of its own, all at one time: it is waiting that takes time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server"]
async fn everybody_comes_to_lead_and_no_two_at_a_time() {
    tokio::join!(with_client_go(), with_kubert(), with_client_go_and_kubert(), with_kube_lease_manager());
}

async fn with_client_go() {
    let world = World::new().await;
    let short = Pace { lease_duration: s(4), term: ms(300), rest: s(2) };
    let long = Pace { term: ms(4_500), rest: s(8), ..short };
    let ours = [Ours::start(&world, "ours-short", short).await, Ours::start(&world, "ours-long", long).await];
    let mut theirs = [
        world.neighbour(CLIENT_GO, "client-go-short", short).await,
        world.neighbour(CLIENT_GO, "client-go-long", long).await,
    ];
    let all = ["ours-short", "ours-long", "client-go-short", "client-go-long"];
    until_each_has_led(&world, &all, &mut theirs).await;
    assert_shared(&world, &ours);
}

async fn with_kubert() {
    let world = World::new().await;
    let short = Pace { lease_duration: s(3), term: ms(300), rest: s(4) };
    let long = Pace { term: s(4), ..short };
    let ours = [Ours::start(&world, "ours-short", short).await, Ours::start(&world, "ours-long", long).await];
    let kubert = world.neighbour(KUBERT, "kubert", Pace { rest: s(2), ..long }).await;
    until_each_has_led(&world, &["ours-short", "ours-long", "kubert"], &mut [kubert]).await;
    assert_shared(&world, &ours);
}

async fn with_client_go_and_kubert() {
    let world = World::new().await;
    let pace = Pace { lease_duration: s(4), term: ms(300), rest: s(8) };
    let ours = [Ours::start(&world, "ours-1", pace).await, Ours::start(&world, "ours-2", pace).await];
    let mut theirs = [
        world.neighbour(CLIENT_GO, "client-go-1", pace).await,
        world.neighbour(CLIENT_GO, "client-go-2", pace).await,
        world.neighbour(KUBERT, "kubert", Pace { lease_duration: s(3), rest: s(2), ..pace }).await,
    ];
    let all = ["ours-1", "ours-2", "client-go-1", "client-go-2", "kubert"];
    until_each_has_led(&world, &all, &mut theirs).await;
    assert_shared(&world, &ours);
}

/// kube-lease-manager clears what it takes for expired, whatever has become of it since. It may so clear a hold of
/// ours, but it waits for a tenth of a second before it claims, and by then we know.
async fn with_kube_lease_manager() {
    let world = World::new().await;
    let short = Pace { lease_duration: s(4), term: ms(300), rest: s(5) };
    let long = Pace { term: s(5), ..short };
    let ours = [Ours::start(&world, "ours-short", short).await, Ours::start(&world, "ours-long", long).await];
    let make = Make::KubeLeaseManager { grace: s(2) };
    let manager = world.neighbour(make, "kube-lease-manager", Pace { rest: s(2), ..long }).await;
    let all = ["ours-short", "ours-long", "kube-lease-manager"];
    until_each_has_led(&world, &all, &mut [manager]).await;

    let verdict = world.verdict();
    println!("{verdict}");
    assert!(verdict.unfenced.is_empty() && verdict.wrong.is_empty() && verdict.stale == 0, "{verdict}");
    let taken: Vec<_> = ours.iter().flat_map(Ours::ends).filter(was_taken).collect();
    println!("cleared by kube-lease-manager: {taken:?}");
    for (earlier, later) in &verdict.overlaps {
        let excused = taken.iter().any(|end| end.name == earlier.name);
        assert!(excused && earlier.last - later.first < 1_000_000_000, "{verdict}\n{taken:?}");
    }
}

async fn until_each_has_led(world: &World, contenders: &[&str], theirs: &mut [Neighbour]) {
    let start = Instant::now();
    loop {
        let turns: Vec<_> = contenders.iter().map(|it| (*it, world.turns_of(it))).collect();
        if turns.iter().all(|(_, turns)| *turns >= TURNS) {
            println!("after {:.0?}: {turns:?}", start.elapsed());
            return;
        }
        theirs.iter_mut().for_each(Neighbour::assert_runs);
        assert!(start.elapsed() < PATIENCE, "somebody starves: {turns:?}\n{}", world.verdict());
        sleep(ms(100)).await;
    }
}

/// No two at a time, and nobody took or touched a hold of ours.
fn assert_shared(world: &World, ours: &[Ours]) {
    let verdict = world.verdict();
    println!("{verdict}");
    assert!(verdict.is_clean() && verdict.stale == 0, "{verdict}");
    for end in ours.iter().flat_map(Ours::ends) {
        assert!(!was_taken(&end), "{end:?}\n{verdict}");
    }
}

fn was_taken(end: &End) -> bool {
    use LossReason::{Cleared, Deleted, TakenOver};
    let Err(ReleaseError::Lost { reason, .. }) = &end.outcome else { return false };
    matches!(reason, TakenOver { .. } | Cleared | Deleted)
}

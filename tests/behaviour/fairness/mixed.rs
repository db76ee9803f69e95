//! Processes with short leases that hold, rest and give up by chance, some of them far from the server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{Fault, LeaseServer};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::contest::connect_with;

const SPAN: Duration = Duration::from_secs(120);

async fn use_lock(lock: LeaseLock, number: u64, lease: u64, turns: Arc<Mutex<[usize; 5]>>, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed * 10 + number);
    loop {
        let acquired = if rng.u8(..5) == 0 {
            timeout(Duration::from_millis(rng.u64(0..=lease * 1_000)), lock.acquire()).await.ok()
        } else {
            Some(lock.acquire().await)
        };
        if let Some(guard) = acquired {
            let guard = guard.unwrap();
            turns.lock().unwrap()[usize::try_from(number).unwrap()] += 1;
            let rounds = if number == 0 { rng.u64(40..=120) } else { rng.u64(1..=20) };
            for _ in 0..rounds {
                sleep(Duration::from_millis(rng.u64(5..=50))).await;
            }
            if rng.bool() {
                drop(guard.release().await);
            } else {
                drop(guard);
            }
        }
        sleep(Duration::from_millis(rng.u64(50..=500))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_with_a_short_lease_gets_turns_far_from_the_server() {
    for seed in 1..=6 {
        let server = LeaseServer::new();
        let turns = Arc::<Mutex<[usize; 5]>>::default();
        let mut tasks = JoinSet::new();
        for (number, distance) in (0..).zip([1, 1, 92, 135, 1]) {
            let lease = if number < 3 { 3 } else { 4 };
            let distance = Duration::from_millis(distance);
            let (link, lock) = connect_with(&server, distance, seed * 100 + number, |builder| {
                builder.lease_duration(Duration::from_secs(lease))
            });
            if distance > Duration::from_millis(1) {
                // Its first measurements are of a network in trouble.
                link.inject(Fault::delay_after(Duration::from_millis(800)).times(6));
            }
            tasks.spawn(use_lock(lock, number, lease, turns.clone(), seed));
        }
        sleep(SPAN).await;
        tasks.shutdown().await;
        let turns = *turns.lock().unwrap();
        let equal = turns.iter().sum::<usize>() / turns.len();
        assert!(turns.iter().all(|turns| 10 * turns >= 6 * equal), "seed {seed}: {turns:?}");
    }
}

//! Elections that leave a task behind each time, and locks that do so with each acquisition.

use std::time::Duration;

use kube_lease_lock::testing::LeaseServer;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::fixture::{Fixture, acquire, connect, delete_lease, set_holder};

/// More than all that a lock leaves open for a while: the watch, and the pause after a loss.
const QUIET: Duration = Duration::from_secs(60);

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn no_cycle_of_an_election_leaves_a_task_behind() {
    let Fixture { server, link, lock } = Fixture::new();
    let election = lock.elect().unwrap();
    sleep(QUIET).await;
    let before = tasks();
    for cycle in 0..40 {
        match cycle % 4 {
            0 => delete_lease(&server),
            1 => set_holder(&server, ""),
            2 => link.cut(),
            _ => election.step_down().await.unwrap(),
        }
        sleep(QUIET).await;
        link.mend();
        sleep(QUIET).await;
        assert!(election.is_leader(), "cycle {cycle}");
    }
    assert_eq!(tasks(), before);
    election.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_acquisition_leaves_a_task_behind_however_it_ends() {
    let server = LeaseServer::new();
    let (other, lock) = (connect(&server).1, connect(&server).1);
    acquire(&lock).await.release().await.unwrap();
    sleep(QUIET).await;
    let before = tasks();
    for _ in 0..20 {
        drop(acquire(&lock).await);
        acquire(&lock).await.release().await.unwrap();
        let guard = acquire(&other).await;
        assert!(timeout(Duration::from_secs(1), lock.acquire()).await.is_err());
        lock.try_acquire().await.unwrap_err();
        guard.release().await.unwrap();
        let guard = acquire(&lock).await;
        delete_lease(&server);
        guard.lost().await;
    }
    sleep(QUIET).await;
    assert_eq!(tasks(), before);
}

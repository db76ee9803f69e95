//! One leader at a time, when the leader stops, steps down or loses its connection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube_lease_lock::{Leadership, LeaseLock};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::leads;
use crate::cluster::{Cluster, LEASE_DURATION};
use crate::fixture::STEP_TIMEOUT;

on_both_servers!(
    another_candidate_leads_after_a_leader_has_stopped,
    a_leader_that_steps_down_becomes_a_follower,
    a_disconnected_leader_stops_leading_before_the_next_starts,
    a_dropped_election_leaves_the_lease_free,
    a_leader_that_shuts_down_ends_its_work_before_the_next_one_begins,
    a_disconnected_leader_stops_its_work_before_the_next_one_begins,
);

async fn another_candidate_leads_after_a_leader_has_stopped(cluster: Cluster) {
    let mut first = cluster.lock().elect().unwrap();
    let held = leads(&mut first).await;
    assert_eq!(cluster.holder().await.as_deref(), Some(held.holder_identity()));
    let mut second = cluster.lock().elect().unwrap();
    tokio::time::sleep(2 * LEASE_DURATION).await;
    assert!(first.is_leader() && !second.is_leader());
    first.stop().await.unwrap();
    assert!(!held.is_held());
    let next = leads(&mut second).await;
    assert!(next.fencing_token() > held.fencing_token());
}

async fn a_leader_that_steps_down_becomes_a_follower(cluster: Cluster) {
    let mut first = cluster.lock().elect().unwrap();
    leads(&mut first).await;
    let mut second = cluster.lock().elect().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    first.step_down().await.unwrap();
    leads(&mut second).await;
    assert!(!first.is_leader());
    second.stop().await.unwrap();
    // The channel may show the end of the first leadership and then the second one, or only the second one.
    while !first.is_leader() {
        tokio::time::timeout(STEP_TIMEOUT, first.changed()).await.unwrap().unwrap();
    }
}

async fn a_disconnected_leader_stops_leading_before_the_next_starts(cluster: Cluster) {
    let (lock, tap) = cluster.tapped_lock();
    let mut first = lock.elect().unwrap();
    let held = leads(&mut first).await;
    let mut second = cluster.lock().elect().unwrap();
    tokio::time::sleep(LEASE_DURATION).await;
    tap.cut();
    leads(&mut second).await;
    assert!(held.token().is_cancelled() && !first.is_leader());
    let mut leadership = first.subscribe_bool();
    tokio::time::timeout(STEP_TIMEOUT, leadership.wait_for(|leads| !leads)).await.unwrap().unwrap();
}

async fn a_dropped_election_leaves_the_lease_free(cluster: Cluster) {
    let lock = cluster.lock();
    let mut election = lock.elect().unwrap();
    let held = leads(&mut election).await;
    drop(election);
    assert!(!held.is_held());
    lock.shutdown().await.unwrap();
    assert_eq!(cluster.holder().await, None);
}

/// What happens to the work of two leaders, in this order.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    /// Leads, and tidies up for a while when the work has to stop.
    fn leader(&self, name: &'static str, lock: LeaseLock, shutdown: &CancellationToken) -> JoinHandle<()> {
        let (journal, shutdown) = (self.clone(), shutdown.clone());
        tokio::spawn(async move {
            let work = async |leadership: Leadership| {
                journal.note(format!("{name} begins"));
                leadership.cancelled().await;
                tokio::time::sleep(Duration::from_millis(200)).await;
                journal.note(format!("{name} ends"));
            };
            lock.lead(shutdown, work).await.unwrap();
        })
    }

    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    async fn has(&self, what: &str) {
        let noted = async {
            while !self.lines().iter().any(|line| line == what) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(STEP_TIMEOUT, noted)
            .await
            .unwrap_or_else(|_| panic!("{what}: {:?}", self.lines()));
    }
}

async fn a_leader_that_shuts_down_ends_its_work_before_the_next_one_begins(cluster: Cluster) {
    let (journal, first, second) = (Journal::default(), CancellationToken::new(), CancellationToken::new());
    let leading = journal.leader("first", cluster.lock(), &first);
    journal.has("first begins").await;
    let following = journal.leader("second", cluster.lock(), &second);
    tokio::time::sleep(LEASE_DURATION).await;
    first.cancel();
    leading.await.unwrap();
    journal.has("second begins").await;
    second.cancel();
    following.await.unwrap();
    assert_eq!(journal.lines(), ["first begins", "first ends", "second begins", "second ends"]);
    assert_eq!(cluster.holder().await, None);
}

async fn a_disconnected_leader_stops_its_work_before_the_next_one_begins(cluster: Cluster) {
    let (journal, shutdown) = (Journal::default(), CancellationToken::new());
    let (lock, tap) = cluster.tapped_lock();
    journal.leader("first", lock, &shutdown);
    journal.has("first begins").await;
    journal.leader("second", cluster.lock(), &shutdown);
    tokio::time::sleep(LEASE_DURATION).await;
    tap.cut();
    journal.has("second begins").await;
    let lines = journal.lines();
    // With so short a lease, the time to tidy up is not always enough. Then the work is dropped.
    assert!(
        lines == ["first begins", "first ends", "second begins"]
            || lines == ["first begins", "second begins"],
        "{lines:?}"
    );
    shutdown.cancel();
}

//! A Lease whose annotations leave little room, or none, for the queue.

use std::time::Duration;

use kube_lease_lock::testing::{LeaseServer, Verb};
use tokio::time::{sleep, timeout};

use crate::fixture::{LEASE_DURATION, NAME, NAMESPACE, acquire, connect, create_free_lease, spawn_acquire};

/// The limit of the API server on the names and values of all annotations together.
const LIMIT: usize = 256 * 1024;

#[tokio::test(start_paused = true)]
async fn a_lease_without_room_for_the_queue_is_held_waited_for_and_released() {
    // No ticket has room, or one, or two and no byte more, and so on. A ticket has 11 bytes.
    for room in [0, 11, 12, 22, 23, 24, 34, 35, 36, 46, 100] {
        let server = LeaseServer::new();
        create_free_lease(&server).await;
        server.edit(NAMESPACE, NAME, |lease| {
            let annotations = lease.metadata.annotations.get_or_insert_default();
            let used: usize = annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
            annotations.insert("x".to_owned(), "-".repeat(LIMIT - used - 1 - room));
        });
        let guard = acquire(&connect(&server).1).await;
        let waiters: Vec<_> = (0..4).map(|_| connect(&server)).collect();
        let mut waiting: Vec<_> = waiters.iter().map(|(_, lock)| spawn_acquire(lock)).collect();
        sleep(Duration::from_secs(60)).await;
        assert!(guard.is_held(), "{room} bytes");
        let joins: Vec<_> = waiters.iter().map(|(link, _)| link.count(Verb::Patch)).collect();
        assert!(joins.iter().all(|joins| *joins < 60), "{joins:?} joins in a minute");
        let requests = waiters.iter().flat_map(|(link, _)| link.requests());
        let refused = requests.filter(|request| request.status == Some(422)).count();
        assert!(refused > 0 || room == 100, "{room} bytes");
        timeout(LEASE_DURATION, guard.release()).await.unwrap().unwrap();
        while !waiting.is_empty() {
            let next = futures::future::select_all(&mut waiting);
            let (guard, index, _) = timeout(LEASE_DURATION, next).await.expect("the next one acquires");
            drop(waiting.remove(index));
            timeout(LEASE_DURATION, guard.unwrap().release()).await.unwrap().unwrap();
        }
    }
}

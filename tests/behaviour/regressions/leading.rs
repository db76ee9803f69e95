//! Work that runs while this process leads or holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kube_lease_lock::testing::{Fault, LeaseServer, Machine, Verb};
use kube_lease_lock::{Hold, Leadership};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::fixture::{LEASE_DURATION, RENEW_DEADLINE, acquire, builder, connect, delete_lease, holder};

const SECOND: Duration = Duration::from_secs(1);
const AT_ONCE: Duration = Duration::from_millis(100);

/// "If this process does not lead, nothing happens": also if nobody has seen the end of the leadership yet. The process should
/// stand at once, and not after the pause of 5 seconds.
#[tokio::test(start_paused = true)]
async fn stepping_down_from_a_lost_leadership_does_nothing() {
    let server = LeaseServer::new();
    let machine = Machine::new();
    let election = builder(&server).1.machine(&machine).build().unwrap().elect().unwrap();
    let mut receiver = election.subscribe();
    receiver.leading().await.unwrap();
    machine.freeze();
    sleep(2 * LEASE_DURATION).await;
    assert!(!election.is_leader());
    let _ = timeout(AT_ONCE, election.step_down()).await;
    machine.thaw();
    timeout(SECOND, receiver.leading()).await.expect("it should stand at once").unwrap();
}

/// "Dropping it drops the future that runs under the lock, and then releases the lock": also before the first poll, as when an
/// earlier branch of `select!` is ready. The future may have done something under the lock already, or own its files.
#[tokio::test(start_paused = true)]
async fn work_that_was_never_polled_is_dropped_before_the_lock_is_released() {
    struct Work(Hold, Arc<AtomicBool>);
    impl Drop for Work {
        fn drop(&mut self) {
            self.1.store(self.0.is_held(), Ordering::SeqCst);
        }
    }
    let server = LeaseServer::new();
    let held = Arc::new(AtomicBool::new(false));
    let guard = acquire(&connect(&server).1).await;
    let work = Work(guard.hold().clone(), held.clone());
    drop(guard.run(async move {
        std::future::pending::<()>().await;
        drop(work);
    }));
    assert!(held.load(Ordering::SeqCst), "the lock was released before the work was dropped");
}

/// "Then it stops the work, releases the Lease, and returns." A claim may be on its way then. The process may end when `lead`
/// returns, and would leave a Lease that nobody can have until it expires.
#[tokio::test(start_paused = true)]
async fn it_returns_after_a_claim_in_flight_was_withdrawn() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    link.inject(Fault::delay_after(2 * SECOND).on(Verb::Update).times(1));
    let shutdown = CancellationToken::new();
    let leading = lock.lead(shutdown.clone(), async |_: Leadership| std::future::pending().await);
    let stopping = async {
        sleep(SECOND).await;
        assert!(holder(&server).is_some());
        shutdown.cancel();
    };
    let (ended, ()) = tokio::join!(leading, stopping);
    ended.unwrap();
    assert_eq!(holder(&server), None);
}

/// The deadline passes because writes fail. While the work tidies up, somebody deletes the Lease, and another process leads at
/// once. The process is connected, and its watch could tell. Instead its work should be dropped as soon as that is known.
#[tokio::test(start_paused = true)]
async fn work_that_tidies_up_is_dropped_if_the_lease_is_deleted() {
    let server = LeaseServer::new();
    let (link, lock) = connect(&server);
    let polled = Arc::new(AtomicUsize::new(0));
    let polls = polled.clone();
    tokio::spawn(async move {
        let work = async |_: Leadership| loop {
            polls.fetch_add(1, Ordering::SeqCst);
            sleep(AT_ONCE).await;
        };
        lock.lead(CancellationToken::new(), work).await
    });
    sleep(SECOND).await;
    link.inject(Fault::status(500).on_any(&[Verb::Apply, Verb::Patch, Verb::Update]));
    sleep(RENEW_DEADLINE.mul_f64(0.95)).await;
    let other = connect(&server).1.elect().unwrap();
    delete_lease(&server);
    timeout(SECOND, other.subscribe().leading()).await.unwrap().unwrap();
    sleep(AT_ONCE).await;
    let before = polled.load(Ordering::SeqCst);
    sleep(SECOND).await;
    assert_eq!(polled.load(Ordering::SeqCst), before, "it runs while another process leads");
}

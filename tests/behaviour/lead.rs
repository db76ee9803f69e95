//! `lead`: the work of a leader stops before another process leads, and the Lease is released after the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kube_lease_lock::testing::{LeaseServer, Machine};
use kube_lease_lock::{AcquireError, Leadership, LeaseLock};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::fixture::{LEASE_DURATION, NAME, NAMESPACE, RENEW_DEADLINE, builder, connect, holder};

const SECOND: Duration = Duration::from_secs(1);
/// More virtual time than a few requests and their answers take.
const AT_ONCE: Duration = Duration::from_millis(100);

/// A worker that leads: a counter that is in use while it works.
struct Worker {
    shutdown: CancellationToken,
    leads: mpsc::UnboundedReceiver<Leadership>,
    ended: Arc<AtomicUsize>,
    task: JoinHandle<Result<(), AcquireError>>,
}

/// The work goes on for `tidy` after its token was cancelled.
fn worker(lock: LeaseLock, tidy: Duration) -> Worker {
    let (shutdown, (told, leads)) = (CancellationToken::new(), mpsc::unbounded_channel());
    let ended = Arc::new(AtomicUsize::new(0));
    let task = tokio::spawn({
        let (shutdown, ended) = (shutdown.clone(), ended.clone());
        async move {
            let work = async |leadership: Leadership| {
                told.send(leadership.clone()).unwrap();
                leadership.cancelled().await;
                sleep(tidy).await;
                ended.fetch_add(1, Ordering::SeqCst);
            };
            lock.lead(shutdown, work).await
        }
    });
    Worker { shutdown, leads, ended, task }
}

impl Worker {
    async fn leads(&mut self) -> Leadership {
        timeout(4 * LEASE_DURATION, self.leads.recv()).await.expect("it should lead").unwrap()
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_keeps_the_lease_until_the_work_has_ended() {
    let server = LeaseServer::new();
    let tidy = 3 * LEASE_DURATION;
    let mut first = worker(connect(&server).1, tidy);
    let leadership = first.leads().await;
    let mut second = worker(connect(&server).1, Duration::ZERO);
    sleep(SECOND).await;
    let asked = Instant::now();
    first.shutdown.cancel();
    leadership.cancelled().await;
    sleep(tidy.mul_f64(0.9)).await;
    assert!(leadership.hold().is_held() && first.ended() == 0, "it still tidies up");
    second.leads().await;
    assert_eq!(first.ended(), 1);
    assert!(asked.elapsed() < tidy + AT_ONCE, "{:?}", asked.elapsed());
    assert!(first.task.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_the_work_is_over_a_second_before_another_process_leads() {
    for (tidy, in_time) in [(SECOND, true), (LEASE_DURATION, false)] {
        let server = LeaseServer::new();
        let (link, lock) = connect(&server);
        let mut first = worker(lock, tidy);
        let leadership = first.leads().await;
        let mut second = worker(connect(&server).1, Duration::ZERO);
        sleep(SECOND).await;
        link.cut();
        leadership.cancelled().await;
        let (lost, stop_by) = (Instant::now(), leadership.hold().stop_by());
        assert!(stop_by > lost + SECOND, "{:?}", stop_by - lost);
        second.leads().await;
        assert!(Instant::now() > stop_by + SECOND / 2, "{:?}", Instant::now() - stop_by);
        assert_eq!(first.ended(), usize::from(in_time));
        link.mend();
        second.shutdown.cancel();
        first.leads().await;
    }
}

/// Nobody waits for the work then: another client may have given the Lease to another process.
#[tokio::test(start_paused = true)]
async fn after_a_takeover_the_work_is_dropped_at_once() {
    let server = LeaseServer::new();
    let mut first = worker(connect(&server).1, SECOND);
    first.leads().await;
    sleep(2 * SECOND).await;
    server.take(NAMESPACE, NAME, "them");
    sleep(10 * SECOND).await;
    assert_eq!(first.ended(), 0, "the work was dropped");
    assert!(!first.task.is_finished(), "it waits for the next leadership");
}

#[tokio::test(start_paused = true)]
async fn work_that_ends_by_itself_leaves_the_lead_to_others() {
    let server = LeaseServer::new();
    let lock = connect(&server).1;
    let rounds = AtomicUsize::new(0);
    let shutdown = CancellationToken::new();
    let started = Instant::now();
    // The closure borrows what the caller owns.
    let work = |_| {
        let round = rounds.fetch_add(1, Ordering::SeqCst);
        if round == 3 {
            shutdown.cancel();
        }
        std::future::ready(())
    };
    lock.lead(shutdown.clone(), work).await.unwrap();
    assert_eq!(rounds.load(Ordering::SeqCst), 4);
    assert!(started.elapsed() >= 15 * SECOND, "it steps down for 5 s each time: {:?}", started.elapsed());
    assert_eq!(holder(&server), None, "released");
}

/// While nothing of the process runs, no timer can stop the work.
#[tokio::test(start_paused = true)]
async fn the_work_makes_no_step_after_a_suspend_that_was_too_long() {
    let server = LeaseServer::new();
    let machine = Machine::new();
    let lock = builder(&server).1.machine(&machine).build().unwrap();
    let (steps, suspended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let shutdown = CancellationToken::new();
    let work = async |_: Leadership| {
        loop {
            sleep(SECOND).await;
            let late = suspended.load(Ordering::SeqCst);
            steps.fetch_add(usize::from(late), Ordering::SeqCst);
        }
    };
    let leading = lock.lead(shutdown, work);
    let suspending = async {
        sleep(RENEW_DEADLINE / 2).await;
        machine.suspended_for(LEASE_DURATION);
        suspended.store(true, Ordering::SeqCst);
        sleep(2 * SECOND).await;
    };
    tokio::select! {
        biased;
        () = suspending => {}
        result = leading => panic!("{result:?}"),
    }
    // It leads again after that, with new work: its first step comes a second later.
    assert!(steps.load(Ordering::SeqCst) <= 1, "{steps:?}");
}

#[tokio::test(start_paused = true)]
async fn dropping_it_releases_the_lease_after_the_work() {
    let server = LeaseServer::new();
    let mut first = worker(connect(&server).1, SECOND);
    first.leads().await;
    first.task.abort();
    sleep(AT_ONCE).await;
    assert_eq!((holder(&server), first.ended()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_an_error_if_the_lock_is_shut_down() {
    let server = LeaseServer::new();
    let lock = connect(&server).1;
    let mut first = worker(lock.clone(), Duration::ZERO);
    first.leads().await;
    lock.shutdown().await.unwrap();
    let ended = timeout(AT_ONCE, first.task).await.unwrap().unwrap();
    assert!(matches!(ended, Err(AcquireError::ShutDown(_))), "{ended:?}");
    assert_eq!(holder(&server), None);
}

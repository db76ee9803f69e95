//! In which order the lock is handed on, and that nobody is left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{Fault, LeaseServer, Link, Verb};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::world::{D, NAME, SOON, World, acquire};

on_both_servers!(
    locks_are_served_in_the_order_in_which_they_came,
    who_asks_again_at_once_does_not_beat_those_who_wait,
    who_has_gone_holds_nobody_up,
    tasks_of_one_process_hand_the_lock_on_with_one_write_each,
    many_tasks_of_one_process_let_others_go,
    what_was_handed_on_to_nobody_is_given_back,
);

/// Waits until so many processes are in the queue.
async fn queued(world: &World, count: usize) {
    let queued = async {
        while world.tickets().await != count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, queued).await.expect("the queue should have filled by now");
}

/// Notes when it has its turn.
fn wait_for_turn(lock: LeaseLock, turns: &Arc<AtomicUsize>) -> JoinHandle<usize> {
    let turns = turns.clone();
    tokio::spawn(async move {
        let guard = acquire(&lock).await;
        let turn = turns.fetch_add(1, Ordering::SeqCst);
        guard.release().await.unwrap();
        turn
    })
}

/// Two locks on one Lease of a server in this process, and the link of each.
fn two_locks() -> ([Link; 2], [LeaseLock; 2]) {
    let server = LeaseServer::new();
    let links = [server.connect(), server.connect()];
    let locks = links.each_ref().map(|link| LeaseLock::new(link.client(), NAME).unwrap());
    (links, locks)
}

async fn locks_are_served_in_the_order_in_which_they_came(world: World) {
    let guard = acquire(&world.lock()).await;
    let (turns, mut waiting) = (Arc::default(), Vec::new());
    for place in 0..5 {
        waiting.push(wait_for_turn(world.lock(), &turns));
        queued(&world, place + 1).await;
    }
    guard.release().await.unwrap();
    for (place, waiting) in waiting.into_iter().enumerate() {
        assert_eq!(timeout(SOON, waiting).await.unwrap().unwrap(), place);
    }
}

async fn who_asks_again_at_once_does_not_beat_those_who_wait(world: World) {
    let (eager, patient) = (world.lock(), world.lock());
    let guard = acquire(&eager).await;
    let turns = Arc::default();
    let waiting = wait_for_turn(patient, &turns);
    queued(&world, 1).await;
    guard.release().await.unwrap();
    let again = wait_for_turn(eager, &turns);
    assert_eq!(timeout(SOON, waiting).await.unwrap().unwrap(), 0);
    assert_eq!(timeout(SOON, again).await.unwrap().unwrap(), 1);
}

async fn who_has_gone_holds_nobody_up(world: World) {
    let guard = acquire(&world.lock()).await;
    let turns = Arc::default();
    let gone = wait_for_turn(world.lock(), &turns);
    queued(&world, 1).await;
    let waiting = wait_for_turn(world.lock(), &turns);
    queued(&world, 2).await;
    gone.abort();
    guard.release().await.unwrap();
    let released = Instant::now();
    assert_eq!(timeout(D, waiting).await.unwrap().unwrap(), 0);
    assert!(released.elapsed() < D / 2, "{:?}", released.elapsed());
}

/// The watch may tell of the next holds before the answer to the release comes.
#[tokio::test(start_paused = true)]
async fn what_came_before_the_answer_to_a_release_counts() {
    let ([slow, _], [slow_lock, quick_lock]) = two_locks();
    let guard = acquire(&slow_lock).await;
    let waiting = wait_for_turn(quick_lock, &Arc::default());
    sleep(Duration::from_secs(2)).await;
    slow.inject(Fault::delay_after(Duration::from_millis(20)).on(Verb::Apply).times(1));
    guard.release().await.unwrap();
    assert!(waiting.is_finished(), "in its turn meanwhile");
    slow.forget_requests();

    let asked = Instant::now();
    let _guard = acquire(&slow_lock).await;
    assert_eq!(asked.elapsed(), Duration::ZERO, "there is nobody to give way to");
    let statuses: Vec<_> = slow.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(200)], "claims what is there");
}

/// It goes by what is there, not by what the watch has told so far.
#[tokio::test(start_paused = true)]
async fn a_single_try_is_not_put_off_by_a_hold_that_is_over() {
    let ([late, _], [late_lock, quick_lock]) = two_locks();
    let guard = acquire(&late_lock).await;
    sleep(Duration::from_secs(1)).await;
    guard.release().await.unwrap();

    let guard = acquire(&quick_lock).await;
    sleep(Duration::from_millis(10)).await;
    late.mute_watches();
    guard.release().await.unwrap();
    drop(late_lock.try_acquire().await.unwrap());
}

async fn tasks_of_one_process_hand_the_lock_on_with_one_write_each(world: World) {
    let (lock, tap) = world.tapped_lock();
    let guard = acquire(&lock).await;
    let turns = Arc::default();
    let mut tasks = Vec::new();
    for _ in 0..20 {
        tasks.push(wait_for_turn(lock.clone(), &turns));
        tokio::task::yield_now().await;
    }
    tap.requests();
    guard.release().await.unwrap();
    for (place, task) in tasks.into_iter().enumerate() {
        assert_eq!(timeout(SOON, task).await.unwrap().unwrap(), place);
    }
    let writes = tap.requests().iter().filter(|request| *request != "WATCH").count();
    assert_eq!(writes, 21, "a claim each, and the release of the last");
}

async fn many_tasks_of_one_process_let_others_go(world: World) {
    let (crowd, single) = (world.lock(), world.lock());
    let guard = acquire(&crowd).await;
    let turns = Arc::default();
    let tasks: Vec<_> = (0..60).map(|_| wait_for_turn(crowd.clone(), &turns)).collect();
    let waiting = wait_for_turn(single, &turns);
    queued(&world, 1).await;
    guard.release().await.unwrap();
    let turn = timeout(SOON, waiting).await.unwrap().unwrap();
    assert!(turn <= 20, "only the {turn}th after all these");
    for task in tasks {
        timeout(SOON, task).await.unwrap().unwrap();
    }
}

async fn what_was_handed_on_to_nobody_is_given_back(world: World) {
    for yields in 0..12 {
        let lock = world.lock();
        let guard = acquire(&lock).await;
        let waiting: Vec<_> = (0..3).map(|_| wait_for_turn(lock.clone(), &Arc::default())).collect();
        tokio::task::yield_now().await;
        drop(guard);
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        waiting.iter().for_each(JoinHandle::abort);
        let next = timeout(D / 2, acquire(&world.lock())).await;
        next.unwrap_or_else(|_| panic!("left behind after {yields} turns")).release().await.unwrap();
    }
}

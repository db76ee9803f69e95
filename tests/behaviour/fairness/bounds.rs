//! What contention, crashes, edits and broken watches cost: a bounded time, and a bounded number of requests.

use std::collections::BTreeMap;
use std::time::Duration;

use kube_lease_lock::LeaseLock;
use kube_lease_lock::testing::{Fault, LeaseServer, Link, Machine, Request, Verb};
use serde_json::{from_value, json};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval, sleep, timeout};

use super::contest::{Contender, Limits, Share, connect_at, connect_with, contest, is_claim, print};
use crate::fixture::{
    LEASE_DURATION, NAME, NAMESPACE, acquire, create_free_lease, delete_lease, holder, set_holder,
    spawn_acquire,
};

const QUEUE: &str = "kube-lease-lock/queue";
const JOINING: &str = "kube-lease-lock/joining";

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// The longest that a process believes a broken watch, and reacts.
const MAX_SILENCE: Duration = Duration::from_secs(35);

/// A process of two tasks keeps the lock busy, `near` away. How often do its tasks hand the lock off to each other while
/// another process waits in the queue?
async fn wait_beside_a_busy_process(hold: Duration, distances: &[u64]) {
    const MAX_HAND_OFFS: usize = 16 + 2;
    let mut failures = Vec::new();
    for far in distances {
        let distance = Duration::from_millis(*far);
        let busy = Contender { distance: MS, hold, rest: Duration::ZERO, tasks: 2 };
        let other = Contender { distance, tasks: 1, ..busy };
        let limits = Limits { span: 120 * SECOND, turns: 600, min_span: 4 * SECOND };
        let outcome = contest(&[busy, other], limits).await;
        print(&format!("a process {distance:?} away beside a busy one"), &outcome);
        let [busy, other] = &outcome.shares[..] else { unreachable!() };
        // Until the busy process can know of it: one trip, at most half as long again, and a read before it at first. The first
        // join of all may come too late besides, because it is made only under the holder that was read.
        let unknown = distance * 3 + 10 * MS;
        let mut worst = 0;
        for (number, turn) in other.turns.iter().enumerate() {
            let unknown = if number == 0 { unknown + distance * 3 } else { unknown };
            let between = |at: Instant| turn.asked + unknown < at && at < turn.granted;
            worst = worst.max(busy.turns.iter().filter(|busy| between(busy.granted)).count());
        }
        let rounds = busy.turns.len() / (MAX_HAND_OFFS + hand_offs_within(unknown + 2 * distance, hold));
        println!("  at most {worst} hand-offs while the other process waited");
        if worst > MAX_HAND_OFFS || other.turns.len() < rounds {
            failures.push(format!("{far} ms: {} turns, {worst} hand-offs", other.turns.len()));
        }
    }
    assert!(failures.is_empty(), "hold {hold:?}: {failures:?}");
}

fn hand_offs_within(span: Duration, hold: Duration) -> usize {
    usize::try_from(span.as_millis() / (hold + 2 * MS).as_millis()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_busy_process_gives_way_if_holds_last_0_ms() {
    wait_beside_a_busy_process(Duration::ZERO, &[3, 6, 10, 100]).await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_process_gives_way_if_holds_last_1_ms() {
    wait_beside_a_busy_process(MS, &[3, 6, 10, 100]).await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_process_gives_way_if_holds_last_5_ms() {
    wait_beside_a_busy_process(5 * MS, &[3, 6, 10, 100]).await;
}

#[tokio::test(start_paused = true)]
async fn a_crowd_on_a_slow_server_claims_at_most_three_times_per_turn() {
    let waiter = Contender { distance: 450 * MS, hold: 100 * MS, rest: Duration::ZERO, tasks: 1 };
    let limits = Limits { span: 120 * SECOND, turns: 20, min_span: 10 * SECOND };
    // The process of the first turn holds the Lease when the others come. Otherwise they would all try to create it.
    let first = Contender { distance: Duration::ZERO, hold: 5 * SECOND, rest: HOUR, tasks: 1 };
    let outcome = contest(&[[first].as_slice(), &[waiter; 200]].concat(), limits).await;
    let turns: usize = outcome.shares.iter().map(|share| share.turns.len()).sum();
    let claims: usize = outcome.shares.iter().map(Share::claims).sum();
    let span = outcome.span;
    print("the first ten of 200", &outcome.first(10));
    println!("  {claims} claims for {turns} turns");
    assert!(turns >= 20, "{turns} turns in {span:?}");
    assert!(claims <= 3 * turns, "{claims} claims for {turns} turns");
}

#[tokio::test(start_paused = true)]
async fn a_crowd_replaces_a_crashed_holder_promptly_and_with_few_reads() {
    let server = LeaseServer::new();
    let machine = Machine::new();
    let (link, lock) = connect_with(&server, MS, 1, |builder| builder.machine(&machine));
    let guard = acquire(&lock).await;
    let crowd: Vec<_> = (2..302)
        .map(|seed| connect_at(&server, (1 + u32::try_from(seed % 20).unwrap()) * MS, seed))
        .collect();
    let mut waiters = JoinSet::new();
    for (_, lock) in crowd.clone() {
        waiters.spawn(async move { lock.acquire().await.unwrap() });
        sleep(7 * MS).await;
    }
    sleep(9 * SECOND).await;
    // It crashes between two renewals.
    link.inject(Fault::hang());
    machine.freeze();
    let crashed = holder(&server);
    let renewed = link.requests().iter().filter(|request| is_claim(request)).map(|r| r.received).max();
    let free = renewed.unwrap() + MS + LEASE_DURATION;
    for (link, _) in &crowd {
        link.forget_requests();
    }
    while holder(&server) == crashed && Instant::now() < free + MINUTE {
        sleep(MS).await;
    }
    let late = Instant::now() - free;
    tokio::time::sleep_until(free + SECOND).await;
    let requests: Vec<Request> = crowd.iter().flat_map(|(link, _)| link.requests()).collect();
    let reads = |request: &&Request| request.verb == Verb::Get && request.received >= free - 100 * MS;
    let (reads, claims) =
        (requests.iter().filter(reads).count(), requests.iter().filter(|r| is_claim(r)).count());
    println!("taken over after {late:?}, with {reads} reads and {claims} claims");
    drop(guard);
    assert!(late <= SECOND, "taken over after {late:?}");
    assert!(reads <= 20, "{reads} reads");
}

/// The edits of an administrator who does not know the annotations of the lock.
async fn edit_annotations(server: LeaseServer, edit: fn(&mut BTreeMap<String, String>, &Old)) {
    let old = annotations(&server);
    let mut ticks = interval(2 * SECOND);
    loop {
        ticks.tick().await;
        server.edit(NAMESPACE, NAME, |lease| {
            edit(lease.metadata.annotations.get_or_insert_default(), &old);
        });
    }
}

type Old = BTreeMap<String, String>;

fn annotations(server: &LeaseServer) -> Old {
    server.lease(NAMESPACE, NAME).and_then(|lease| lease.metadata.annotations).unwrap_or_default()
}

/// A waiter beside a holder that keeps the lock for ten minutes.
async fn wait_while_an_administrator(edit: fn(&mut BTreeMap<String, String>, &Old)) {
    const MAX_REQUESTS: usize = 12;
    for distance in [2 * MS, 100 * MS] {
        let server = LeaseServer::new();
        let guard = acquire(&connect_at(&server, 2 * MS, 1).1).await;
        // Its ticket is what an old value consists of.
        let earlier = connect_at(&server, 5 * MS, 2);
        let earlier_waits = spawn_acquire(&earlier.1);
        sleep(10 * SECOND).await;
        let administrator = tokio::spawn(edit_annotations(server.clone(), edit));
        let (link, lock) = connect_at(&server, distance, 3);
        let waiting = spawn_acquire(&lock);
        sleep(10 * MINUTE).await;
        let most = most_within(&link.requests(), MINUTE);
        let released = Instant::now();
        administrator.abort();
        earlier_waits.abort();
        guard.release().await.unwrap();
        let next = timeout(MINUTE, waiting).await.expect("the waiter should be next").unwrap();
        println!("{distance:?}: {most} requests within a minute, acquired after {:?}", released.elapsed());
        drop(next);
        assert!(most <= MAX_REQUESTS, "{distance:?}: {most} requests within a minute");
        assert!(released.elapsed() < 3 * SECOND, "{distance:?}: acquired after {:?}", released.elapsed());
    }
}

/// The most requests in any span of that length.
fn most_within(requests: &[Request], span: Duration) -> usize {
    let within = |first: &Request| {
        requests.iter().filter(|r| r.received >= first.received && r.received < first.received + span).count()
    };
    requests.iter().map(within).max().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_quiet_while_an_administrator_strips_the_queue() {
    wait_while_an_administrator(|annotations, _| annotations.clear()).await;
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_quiet_while_an_administrator_strips_the_queue_alone() {
    wait_while_an_administrator(|annotations, _| drop(annotations.remove(QUEUE))).await;
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_quiet_while_an_administrator_strips_the_joins_alone() {
    wait_while_an_administrator(|annotations, _| drop(annotations.remove(JOINING))).await;
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_quiet_while_an_administrator_garbles_the_queue() {
    wait_while_an_administrator(|annotations, _| {
        for name in [QUEUE, JOINING] {
            annotations.insert(name.to_owned(), "<garbage>".to_owned());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_quiet_while_an_administrator_restores_an_old_queue() {
    wait_while_an_administrator(BTreeMap::clone_from).await;
}

/// A lock with a lease of an hour.
fn connect_for_an_hour(server: &LeaseServer, distance: Duration, seed: u64) -> (Link, LeaseLock) {
    connect_with(server, distance, seed, |builder| builder.lease_duration(HOUR))
}

/// Writes another Lease, and lets the server forget everything older.
fn forget_history(server: &LeaseServer) {
    let other = json!({ "metadata": { "name": "another", "namespace": NAMESPACE }, "spec": {
        "leaseTransitions": i32::try_from(server.revision()).unwrap(),
    } });
    server.put(from_value(other).unwrap());
    server.compact();
}

#[tokio::test(start_paused = true)]
async fn forgotten_history_costs_few_watches() {
    const MAX_WATCHES: usize = 10;
    let server = LeaseServer::new();
    let (held_link, held_lock) = connect_for_an_hour(&server, 2 * MS, 1);
    let guard = acquire(&held_lock).await;
    let (link, lock) = connect_for_an_hour(&server, 2 * MS, 2);
    let waiting = spawn_acquire(&lock);
    sleep(10 * SECOND).await;
    for link in [&link, &held_link] {
        link.forget_requests();
    }
    for _ in 0..2 {
        forget_history(&server);
        for link in [&link, &held_link] {
            link.end_watches();
        }
        sleep(5 * MINUTE).await;
    }
    let counts = |link: &Link| (link.count(Verb::Watch), link.count(Verb::Get));
    let ((waiter, waiter_reads), (held, held_reads)) = (counts(&link), counts(&held_link));
    println!(
        "watches and reads in ten minutes: waiter {waiter}, {waiter_reads}, holder {held}, {held_reads}"
    );
    guard.release().await.unwrap();
    let released = Instant::now();
    let next = timeout(MINUTE, waiting).await.expect("the waiter should be next").unwrap();
    assert!(
        waiter <= MAX_WATCHES && held <= MAX_WATCHES,
        "{waiter} watches of the waiter, {held} of the holder"
    );
    assert!(released.elapsed() < SECOND, "acquired after {:?}", released.elapsed());
    let deleted = Instant::now();
    delete_lease(&server);
    next.token().cancelled().await;
    assert!(deleted.elapsed() < SECOND, "noticed after {:?}", deleted.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_watch_restarts_from_the_beginning_notices_a_deletion() {
    let server = LeaseServer::new();
    let (link, lock) = connect_for_an_hour(&server, 2 * MS, 1);
    let guard = acquire(&lock).await;
    sleep(10 * SECOND).await;
    forget_history(&server);
    link.end_watches();
    sleep(MINUTE).await;
    let deleted = Instant::now();
    delete_lease(&server);
    guard.token().cancelled().await;
    assert!(deleted.elapsed() < SECOND, "noticed after {:?}", deleted.elapsed());
}

/// What is wrong with the watches of a process.
#[derive(Clone, Copy, Debug)]
enum Defect {
    HalfOpen,
    LagsBy60Seconds,
    LagGrows,
}

impl Defect {
    fn inject(self, link: &Link) {
        match self {
            Self::HalfOpen => link.mute_watches(),
            Self::LagsBy60Seconds => link.inject(Fault::delay_events(MINUTE)),
            Self::LagGrows => {
                for lag in 1..1_000 {
                    link.inject(Fault::delay_events(lag * SECOND).times(1));
                }
            }
        }
    }
}

/// An administrator labels the Lease every second: that is an event for each watch.
fn label(server: &LeaseServer) -> JoinHandle<()> {
    let server = server.clone();
    tokio::spawn(async move {
        for number in 0.. {
            sleep(SECOND).await;
            server.edit(NAMESPACE, NAME, |lease| {
                lease
                    .metadata
                    .labels
                    .get_or_insert_default()
                    .insert("number".to_owned(), format!("{number}"));
            });
        }
    })
}

/// How long the watch is broken before something happens. A process may read from time to time.
const BROKEN_FOR: [Duration; 3] =
    [Duration::from_secs(121), Duration::from_secs(131), Duration::from_secs(141)];

async fn hold_with_a_broken_watch(defect: Defect, is_labelled: bool) {
    let ends = [delete_lease, |server: &LeaseServer| set_holder(server, "another")];
    for (end, broken_for) in ends.into_iter().flat_map(|end| BROKEN_FOR.map(|span| (end, span))) {
        let server = LeaseServer::new();
        let (link, lock) = connect_for_an_hour(&server, 2 * MS, 1);
        let guard = acquire(&lock).await;
        break_watch(&server, &link, defect, is_labelled, broken_for).await;
        let ended = Instant::now();
        end(&server);
        let noticed = timeout(HOUR, guard.token().cancelled()).await.map(|()| ended.elapsed());
        println!("{defect:?}: noticed after {noticed:?}, {} reads", link.count(Verb::Get));
        assert!(noticed.as_ref().is_ok_and(|after| *after <= MAX_SILENCE), "noticed after {noticed:?}");
    }
}

async fn wait_with_a_broken_watch(defect: Defect, is_labelled: bool) {
    for broken_for in BROKEN_FOR {
        let server = LeaseServer::new();
        create_free_lease(&server).await;
        let guard = acquire(&connect_for_an_hour(&server, 2 * MS, 1).1).await;
        let (link, lock) = connect_for_an_hour(&server, 2 * MS, 2);
        let waiting = spawn_acquire(&lock);
        break_watch(&server, &link, defect, is_labelled, broken_for).await;
        guard.release().await.unwrap();
        let released = Instant::now();
        let acquired = timeout(HOUR, waiting).await.map(|_| released.elapsed());
        println!("{defect:?}: acquired after {acquired:?}, {} reads", link.count(Verb::Get));
        assert!(acquired.as_ref().is_ok_and(|after| *after <= MAX_SILENCE), "acquired after {acquired:?}");
    }
}

/// Breaks the watch of a process that has settled.
async fn break_watch(server: &LeaseServer, link: &Link, defect: Defect, is_labelled: bool, span: Duration) {
    sleep(10 * SECOND).await;
    defect.inject(link);
    let labels = is_labelled.then(|| label(server));
    sleep(span).await;
    if matches!(defect, Defect::HalfOpen) {
        // The watch that replaced the first one.
        link.mute_watches();
    }
    labels.inspect(JoinHandle::abort);
}

macro_rules! broken_watches {
    ($($holds:ident, $waits:ident: $defect:ident, $is_labelled:expr;)+) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $holds() {
                hold_with_a_broken_watch(Defect::$defect, $is_labelled).await;
            }

            #[tokio::test(start_paused = true)]
            async fn $waits() {
                wait_with_a_broken_watch(Defect::$defect, $is_labelled).await;
            }
        )+
    };
}

broken_watches! {
    a_holder_does_not_believe_a_half_open_watch, a_waiter_does_not_believe_a_half_open_watch: HalfOpen, false;
    a_holder_does_not_believe_a_watch_that_lags, a_waiter_does_not_believe_a_watch_that_lags:
        LagsBy60Seconds, false;
    a_holder_does_not_believe_a_busy_watch_that_lags, a_waiter_does_not_believe_a_busy_watch_that_lags:
        LagsBy60Seconds, true;
    a_holder_does_not_believe_a_watch_that_lags_more_and_more,
    a_waiter_does_not_believe_a_watch_that_lags_more_and_more: LagGrows, true;
}

/// All of them join the queue. Each join makes a renewal fail that is on its way then.
#[tokio::test(start_paused = true)]
async fn a_hold_is_kept_while_a_crowd_joins_the_queue_at_any_distance() {
    for far in [1, 50, 150, 250, 400] {
        let server = LeaseServer::new();
        let distance = far * MS;
        let (link, lock) = connect_at(&server, distance, 1);
        let guard = acquire(&lock).await;
        let mut waiters = JoinSet::new();
        for seed in 2..130 {
            let (_, lock) = connect_at(&server, distance, seed);
            waiters.spawn(async move { lock.acquire().await.map(drop) });
        }
        let kept = timeout(2 * MINUTE, guard.lost()).await;
        let renewals = link.requests().iter().filter(|request| is_claim(request)).count();
        let asked = Instant::now();
        let released = guard.release().await;
        println!("{far} ms: {renewals} claims and renewals, released after {:?}", asked.elapsed());
        assert!(kept.is_err(), "{far} ms: {kept:?}");
        assert!(released.is_ok(), "{far} ms: {released:?}");
    }
}

//! Processes at different distances from the server that contend for one Lease.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube_lease_lock::testing::{LeaseServer, Link, Request, Verb};
use kube_lease_lock::{LeaseLock, LeaseLockBuilder};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::fixture::on_link;

/// A contest lasts a whole number of these.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// One process, and how it uses the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contender {
    /// One way to the server, on average.
    pub(super) distance: Duration,
    pub(super) hold: Duration,
    /// From the release to the next acquisition of the same task.
    pub(super) rest: Duration,
    pub(super) tasks: usize,
}

/// When a contest ends.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// The longest that it takes.
    pub(super) span: Duration,
    /// It ends before that if there were so many turns, but not before `min_span`.
    pub(super) turns: usize,
    pub(super) min_span: Duration,
}

/// The result of a contest.
pub(super) struct Outcome {
    pub(super) span: Duration,
    pub(super) shares: Vec<Share>,
}

/// One acquisition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) asked: Instant,
    pub(super) granted: Instant,
}

/// What one process got.
pub(super) struct Share {
    pub(super) contender: Contender,
    /// In the order of the grants.
    pub(super) turns: Vec<Turn>,
    /// Also of a wait that the end of the contest cut off.
    pub(super) longest_wait: Duration,
    pub(super) unconfirmed_releases: usize,
    pub(super) requests: Vec<Request>,
}

/// Lets all processes contend.
pub(super) async fn contest(contenders: &[Contender], limits: Limits) -> Outcome {
    contest_with(contenders, limits, |_| {}).await
}

/// The same with faults, which are injected into the links of the processes.
pub(super) async fn contest_with(
    contenders: &[Contender],
    limits: Limits,
    inject: impl FnOnce(&[Link]),
) -> Outcome {
    let server = LeaseServer::new();
    let start = Instant::now();
    let turns = Arc::<AtomicUsize>::default();
    let mut tasks = JoinSet::new();
    let mut processes = Vec::new();
    for (number, contender) in (1..).zip(contenders) {
        let (link, lock) = connect_at(&server, contender.distance, number);
        let asks = Arc::<Mutex<Vec<Ask>>>::default();
        for _ in 0..contender.tasks {
            tasks.spawn(take_turns(lock.clone(), *contender, asks.clone(), turns.clone()));
        }
        processes.push((*contender, link, asks));
    }
    inject(&processes.iter().map(|(_, link, _)| link.clone()).collect::<Vec<_>>());
    while start.elapsed() < limits.span
        && (start.elapsed() < limits.min_span || turns.load(Ordering::Relaxed) < limits.turns)
    {
        sleep(CHECK_INTERVAL).await;
    }
    let end = Instant::now();
    tasks.shutdown().await;
    let share = |(contender, link, asks): (Contender, Link, Arc<Mutex<Vec<Ask>>>)| {
        let asks = std::mem::take(&mut *asks.lock().unwrap());
        let wait = |ask: &Ask| ask.granted.unwrap_or(end) - ask.asked;
        let granted = |ask: &Ask| Some(Turn { asked: ask.asked, granted: ask.granted? });
        let mut turns: Vec<_> = asks.iter().filter_map(granted).collect();
        turns.sort_by_key(|turn| turn.granted);
        let longest_wait = asks.iter().map(wait).max().unwrap_or_default();
        let unconfirmed_releases = asks.iter().filter(|ask| ask.is_unconfirmed).count();
        Share { contender, turns, longest_wait, unconfirmed_releases, requests: link.requests() }
    };
    Outcome { span: end - start, shares: processes.into_iter().map(share).collect() }
}

/// A lock at this distance from the server. The times of its trips vary.
pub(super) fn connect_at(server: &LeaseServer, distance: Duration, seed: u64) -> (Link, LeaseLock) {
    connect_with(server, distance, seed, |builder| builder)
}

pub(super) fn connect_with(
    server: &LeaseServer,
    distance: Duration,
    seed: u64,
    settings: impl FnOnce(LeaseLockBuilder) -> LeaseLockBuilder,
) -> (Link, LeaseLock) {
    let link = server.connect();
    link.set_distance(distance);
    link.set_jitter(seed);
    let lock = settings(on_link(&link).rng_seed(seed)).build().unwrap();
    (link, lock)
}

struct Ask {
    asked: Instant,
    granted: Option<Instant>,
    /// Whether the release was not confirmed.
    is_unconfirmed: bool,
}

async fn take_turns(
    lock: LeaseLock,
    contender: Contender,
    asks: Arc<Mutex<Vec<Ask>>>,
    turns: Arc<AtomicUsize>,
) {
    loop {
        let number = {
            let mut asks = asks.lock().unwrap();
            asks.push(Ask { asked: Instant::now(), granted: None, is_unconfirmed: false });
            asks.len() - 1
        };
        let guard = lock.acquire().await.unwrap();
        asks.lock().unwrap()[number].granted = Some(Instant::now());
        turns.fetch_add(1, Ordering::Relaxed);
        pause(contender.hold).await;
        if guard.release().await.is_err() {
            asks.lock().unwrap()[number].is_unconfirmed = true;
        }
        pause(contender.rest).await;
    }
}

async fn pause(span: Duration) {
    if span.is_zero() {
        tokio::task::yield_now().await;
    } else {
        sleep(span).await;
    }
}

impl Outcome {
    /// The first shares alone.
    pub(super) fn first(mut self, count: usize) -> Self {
        self.shares.truncate(count);
        self
    }
}

impl Share {
    pub(super) fn count(&self, verb: Verb) -> usize {
        self.requests.iter().filter(|request| request.verb == verb).count()
    }

    /// The claims and renewals.
    pub(super) fn claims(&self) -> usize {
        self.requests.iter().filter(|request| is_claim(request)).count()
    }
}

pub(super) fn is_claim(request: &Request) -> bool {
    let holder = request.body["spec"]["holderIdentity"].as_str();
    matches!(request.verb, Verb::Apply | Verb::Update) && holder.is_some_and(|holder| !holder.is_empty())
}

/// Prints what each process got. The test harness shows it only with `--nocapture`, and for a failed test.
pub(super) fn print(title: &str, outcome: &Outcome) {
    println!("\n{title}: {:?}", outcome.span);
    println!(
        "  distance      hold      rest  tasks   turns  longest wait    GET  WATCH  APPLY  PATCH  claims"
    );
    for share in &outcome.shares {
        let Contender { distance, hold, rest, tasks } = share.contender;
        println!(
            "{:>10} {:>9} {:>9} {tasks:>6} {:>7} {:>13} {:>6} {:>6} {:>6} {:>6} {:>7}",
            format!("{distance:?}"),
            format!("{hold:?}"),
            format!("{rest:?}"),
            share.turns.len(),
            format!("{:.3?}", share.longest_wait),
            share.count(Verb::Get),
            share.count(Verb::Watch),
            share.count(Verb::Apply) + share.count(Verb::Update),
            share.count(Verb::Patch),
            share.claims(),
        );
    }
}

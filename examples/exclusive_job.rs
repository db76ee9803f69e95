//! Four workers write one ledger, one at a time, even if they fail. One worker crashes while it holds the lock. Another
//! one is disconnected from the API server, and stops before its successor starts. The ledger refuses a write that
//! arrives too late, because of its fencing token.
//!
//! ```text
//! cargo run --example exclusive_job
//! ```
//!
//! This needs no cluster: the API server is part of the program. With `-- --cluster` the workers use the Lease
//! `exclusive-job-ledger` in the cluster and the namespace of the current kubeconfig. Watch it with
//! `kubectl get lease exclusive-job-ledger -o yaml --watch`.

use std::fmt::Display;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kube::{Client, Config};
use kube_lease_lock::testing::LeaseServer;
use kube_lease_lock::{FencingToken, LeaseGuard, LeaseLock, lock_client};
use tokio::runtime;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

const LEASE: &str = "exclusive-job-ledger";
const WORKERS: [&str; 4] = ["ada", "bob", "cleo", "dan"];

/// The minimum, so that the successor of the crashed worker need not wait for long.
const LEASE_DURATION: Duration = Duration::from_secs(3);

/// The ledger is full when it has `LINES` lines. A worker writes a few of them in each turn, and then rests.
const LINES: usize = 24;
const LINES_PER_TURN: usize = 3;
const TIME_PER_LINE: Duration = Duration::from_millis(250);
const REST: Duration = Duration::from_millis(500);

/// The worker with the second turn crashes in the middle of it. The worker with the fourth turn is disconnected.
const CRASH_TURN: usize = 2;
const DISCONNECT_TURN: usize = 4;

fn main() -> Result<()> {
    // Without RUST_LOG nothing is logged. RUST_LOG=lease_lock=debug shows what the locks do.
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into());
    tracing_subscriber::fmt().with_env_filter(filter.from_env_lossy()).with_writer(std::io::stderr).init();
    let api = match std::env::args().nth(1).as_deref() {
        None => Api::InProcess(LeaseServer::new()),
        Some("--cluster") => Api::Cluster,
        Some(other) => return Err(format!("unknown argument {other:?}").into()),
    };
    let ledger = Ledger::default();
    let timeline = Timeline::start();

    thread::scope(|scope| {
        let processes = WORKERS.map(|name| {
            let worker = Worker { name, api: &api, ledger: &ledger, timeline: &timeline };
            scope.spawn(move || worker.process())
        });
        for process in processes {
            process.join().map_err(|_| "a worker panicked")??;
        }
        Ok::<_, Error>(())
    })?;

    audit(&ledger.pages.into_inner(), &timeline)
}

struct Worker<'a> {
    name: &'static str,
    api: &'a Api,
    ledger: &'a Ledger,
    timeline: &'a Timeline,
}

impl Worker<'_> {
    /// Each worker represents a process: it shares no runtime, no client and no lock with the others.
    fn process(&self) -> Result<()> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let unreleased = runtime.block_on(self.work())?;
        // When a process ends, all its tasks end: none of them can renew or release the Lease any more.
        drop(runtime);
        drop(unreleased);
        Ok(())
    }

    /// Takes turns with the others until the ledger is full. Returns the guard if the worker crashes while it holds the
    /// lock.
    async fn work(&self) -> Result<Option<LeaseGuard>> {
        let disconnected = Arc::new(AtomicBool::new(false));
        let client = disconnectable(self.api.connect().await?, disconnected.clone());
        let lock =
            LeaseLock::builder(client, LEASE).identity(self.name).lease_duration(LEASE_DURATION).build()?;

        loop {
            self.says("waits", "");
            let guard = lock.acquire().await?;
            let token = guard.fencing_token();
            let turn = self.timeline.begin_turn(self.name, token).await;
            let lines = match turn {
                CRASH_TURN => 1,
                DISCONNECT_TURN => {
                    self.says("is cut off", "from the API server, but does not know it");
                    disconnected.store(true, Ordering::Relaxed);
                    LINES
                }
                _ => LINES_PER_TURN,
            };

            let lost = guard.token();
            tokio::select! {
                biased;
                () = lost.cancelled() => {
                    // The writing has stopped: `select!` does not poll it any more.
                    self.timeline.end_turn(turn, "stops", guard.lost().await).await;
                    self.late_write(token).await?;
                    disconnected.store(false, Ordering::Relaxed);
                    self.says("is back", "");
                }
                written = self.write(lines, token) => {
                    written?;
                    if turn == CRASH_TURN {
                        self.timeline.end_turn(turn, "crashes", "and releases nothing").await;
                        return Ok(Some(guard));
                    }
                    // Stop first, release second: the next turn may begin before `release` has returned.
                    self.timeline.end_turn(turn, "releases", "").await;
                    guard.release().await?;
                }
            }

            sleep(REST).await;
            if self.ledger.is_full().await {
                break;
            }
        }
        lock.shutdown().await?;
        Ok(None)
    }

    /// The job that needs the lock: two workers that read the same last line would write the same next line.
    async fn write(&self, lines: usize, token: FencingToken) -> Result<(), Refused> {
        for _ in 0..lines {
            let number = self.ledger.next_line(token).await?;
            if number > LINES {
                break;
            }
            sleep(TIME_PER_LINE).await;
            self.ledger.append(number, token).await?;
            self.says("writes", format_args!("line {number}"));
        }
        Ok(())
    }

    /// Simulates a write that was sent before the lock was lost. No lock can stop it, but the ledger can refuse it.
    async fn late_write(&self, token: FencingToken) -> Result<()> {
        let number = self.ledger.next_line(token).await?;
        timeout(2 * LEASE_DURATION, async {
            while self.ledger.newest().await == Some(token) {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await?;
        if let Err(refused) = self.ledger.append(number, token).await {
            self.says("is refused", refused);
        }
        Ok(())
    }

    fn says(&self, event: &str, detail: impl Display) {
        self.timeline.say(self.name, event, detail);
    }
}

/// The shared resource. It accepts any line number, but no write from an earlier holder.
#[derive(Default)]
struct Ledger {
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    lines: Vec<(usize, FencingToken)>,
    newest: Option<FencingToken>,
    refused: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("line {number} has token {token}, but the ledger has seen token {newest}")]
struct Refused {
    number: usize,
    token: FencingToken,
    newest: FencingToken,
}

impl Ledger {
    /// A read before a write needs the token too, so that an earlier holder cannot write between the two.
    async fn next_line(&self, token: FencingToken) -> Result<usize, Refused> {
        let mut pages = self.pages.lock().await;
        let number = pages.lines.last().map_or(1, |(number, _)| number + 1);
        pages.check(number, token)?;
        Ok(number)
    }

    async fn append(&self, number: usize, token: FencingToken) -> Result<(), Refused> {
        let mut pages = self.pages.lock().await;
        pages.check(number, token)?;
        pages.lines.push((number, token));
        Ok(())
    }

    async fn newest(&self) -> Option<FencingToken> {
        self.pages.lock().await.newest
    }

    async fn is_full(&self) -> bool {
        self.pages.lock().await.lines.len() >= LINES
    }
}

impl Pages {
    fn check(&mut self, number: usize, token: FencingToken) -> Result<(), Refused> {
        match self.newest {
            Some(newest) if newest > token => {
                self.refused += 1;
                Err(Refused { number, token, newest })
            }
            _ => {
                self.newest = Some(token);
                Ok(())
            }
        }
    }
}

/// The API server with the Lease.
enum Api {
    InProcess(LeaseServer),
    Cluster,
}

impl Api {
    async fn connect(&self) -> Result<Client> {
        match self {
            Self::InProcess(server) => Ok(server.connect().client()),
            Self::Cluster => {
                let config = Config::infer().await?;
                Ok(lock_client(&config)?)
            }
        }
    }
}

/// A client whose requests hang while `disconnected` is set.
fn disconnectable(client: Client, disconnected: Arc<AtomicBool>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request| {
        let (client, disconnected) = (client.clone(), disconnected.clone());
        async move {
            if disconnected.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}

/// Prints each event when it happens, and keeps the turns for the audit.
struct Timeline {
    start: Instant,
    turns: Mutex<Vec<Turn>>,
}

struct Turn {
    worker: &'static str,
    token: FencingToken,
    begins: Instant,
    ends: Option<Instant>,
    how: &'static str,
}

impl Timeline {
    fn start() -> Self {
        println!("seconds  worker  event");
        Self { start: Instant::now(), turns: Mutex::default() }
    }

    fn say(&self, worker: &str, event: &str, detail: impl Display) {
        let seconds = self.start.elapsed().as_secs_f64();
        let line = format!("{seconds:7.3}  {worker:<6}  {event:<10}  {detail}");
        println!("{}", line.trim_end());
    }

    /// Returns the number of the turn, from 1.
    async fn begin_turn(&self, worker: &'static str, token: FencingToken) -> usize {
        let begins = Instant::now();
        let mut turns = self.turns.lock().await;
        let after = turns.last().map(|last| match last.ends {
            Some(ends) => format!(", {:.1?} after {} {}", begins - ends, last.worker, last.how),
            None => format!(", while {} holds the lock too!", last.worker),
        });
        let after = after.unwrap_or_default();
        self.say(worker, "HOLDS", format_args!("token {token}{after}"));
        turns.push(Turn { worker, token, begins, ends: None, how: "" });
        turns.len()
    }

    async fn end_turn(&self, turn: usize, how: &'static str, detail: impl Display) {
        let ends = Instant::now();
        if let Some(turn) = self.turns.lock().await.get_mut(turn - 1) {
            (turn.ends, turn.how) = (Some(ends), how);
            self.say(turn.worker, how, detail);
        }
    }
}

/// Checks whether the lock and the ledger kept their promises.
fn audit(pages: &Pages, timeline: &Timeline) -> Result<()> {
    let turns = timeline.turns.blocking_lock();
    let mut passed = true;
    let mut check = |claim: String, is_true: bool| {
        println!("{:<6}   {claim}", if is_true { "ok" } else { "FAILED" });
        passed &= is_true;
    };

    println!();
    check(
        format!("the ledger has the lines 1 to {LINES}, without a gap or a duplicate"),
        pages.lines.iter().map(|(number, _)| *number).eq(1..=LINES),
    );
    check(
        "fencing tokens never fall".to_owned(),
        pages.lines.is_sorted_by_key(|(_, token)| token) && turns.is_sorted_by_key(|turn| turn.token),
    );
    check(
        format!("no two of the {} turns overlap", turns.len()),
        turns
            .iter()
            .zip(turns.iter().skip(1))
            .all(|(turn, next)| turn.ends.is_some_and(|ends| ends <= next.begins)),
    );
    for (number, how) in [(CRASH_TURN, "crashes"), (DISCONNECT_TURN, "stops")] {
        let Some([turn, next]) = turns.get(number - 1..=number) else {
            return Err(format!("no turn follows turn {number}").into());
        };
        let since_start = |instant: Instant| instant.duration_since(timeline.start).as_secs_f64();
        let ends = turn.ends.map_or(f64::INFINITY, since_start);
        let begins = since_start(next.begins);
        check(
            format!(
                "{} {how} at {ends:.3} s, {} begins at {begins:.3} s: {:.3} s later",
                turn.worker,
                next.worker,
                begins - ends
            ),
            turn.how == how && ends < begins,
        );
    }

    check(format!("writes refused because of an old token: {}", pages.refused), pages.refused > 0);

    if passed { Ok(()) } else { Err("a promise was broken".into()) }
}

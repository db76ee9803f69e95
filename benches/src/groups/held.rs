//! Many locks of one process, on as many Leases, that share a client. The process holds them or waits for them. What they
//! cost this process, and what they cost the API server.

use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use kube_lease_lock::LeaseGuard;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bench::Bench;
use crate::footprint::{Footprint, Observed, PerLock, observe};
use crate::options::Options;
use crate::processes::Server;
use crate::recorder::{Recorder, Verb};
use crate::stats::{Short, ratio};
use crate::support::ControlPlane;
use crate::table::{Table, Target};

/// The default renew interval.
const RENEW_INTERVAL: Duration = Duration::from_secs(5);
const BUCKET: Duration = Duration::from_millis(100);
/// Only so many locks are acquired or released at the same time. Otherwise the memory for that would count as memory of
/// the locks.
const MAX_CONCURRENT: usize = 20;
/// In KiB.
const TARGET_MEMORY: f64 = 16.0;

pub(crate) async fn measure(options: &Options) -> Result<Table> {
    // A server of its own, so that no other group has used its memory, and with separate processes.
    let plane = ControlPlane::start_with_separate_etcd().await;
    let (bench, server) = (Bench::new(&plane, options).await, Server::of(&plane));
    let count = options.count(100, 1_000);
    let time = RENEW_INTERVAL * u32::try_from(options.count(2, 6))?;
    let mut table = Table::new(
        &format!("held: {count} locks on as many Leases, with one client"),
        [
            "",
            "resident each",
            "heap each",
            "files each",
            "requests each in 5 s",
            "processor each in 1 s",
            "renewals in 100 ms: max/mean",
            "kube-apiserver: resident each",
            "its processor each in 1 s",
            "etcd: resident each",
            "its processor each in 1 s",
        ],
    );
    let locks = u32::try_from(count)?;
    let (plain, written) = observe(&Recorder::default(), &server, plain_writes(&bench, locks)).await;
    written?;
    let (idle, ()) = observe(&Recorder::default(), &server, sleep(time)).await;
    row(&mut table, "plain writes at the same rate", None, &Cost::new(&plain, &idle, locks), "");

    let (recorder, before) = (Recorder::default(), Footprint::start());
    let guards = hold(&bench, &recorder, count).await?;
    sleep(RENEW_INTERVAL).await;
    let (memory, (holding, ())) = (before.per_lock(count), observe(&recorder, &server, sleep(time)).await);
    let spread = format!("{:.1}", spread(&holding));
    row(&mut table, "held", Some(&memory), &Cost::new(&holding, &idle, locks), &spread);

    let (recorder, before) = (Recorder::default(), Footprint::start());
    let mut waiting = wait(&bench, &recorder, count).await?;
    sleep(RENEW_INTERVAL).await;
    recorder.until_quiet(Duration::from_secs(2)).await;
    let (memory, (both, ())) = (before.per_lock(count), observe(&recorder, &server, sleep(time)).await);
    let what = "waited for, by another client";
    row(&mut table, what, Some(&memory), &Cost::new(&both, &holding, locks), "");
    if let Some(outcome) = waiting.try_join_next() {
        anyhow::bail!("a waiter did not wait: {:?}", outcome?.map(drop));
    }

    drop(waiting);
    release(guards).await?;
    table.remark(format!(
        "The locks begin a few at a time, and are observed for {} s. Files are the connections of the one client. The \
         server is compared with the time before the locks began. Its garbage collector lets the memory grow to twice \
         what is in use, so that figure is not exact.",
        time.as_secs()
    ));
    Ok(table)
}

/// What each lock costs beyond what was used before.
struct Cost {
    /// In a renew interval.
    requests: f64,
    /// The processor time of this process in a second.
    processor: Duration,
    server: [ServerCost; 2],
}

/// What each lock costs a process of the server.
struct ServerCost {
    /// In KiB.
    resident: f64,
    /// The processor time in a second.
    processor: Duration,
}

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn new(now: &Observed, before: &Observed, locks: u32) -> Self {
        let more = |of: &dyn Fn(&Observed) -> Duration| {
            let [now, before] = [now, before].map(|seen| of(seen).div_f64(seen.time.as_secs_f64()));
            now.saturating_sub(before) / locks
        };
        let server = [0, 1].map(|process: usize| ServerCost {
            resident: (now.server[process].resident as f64 - before.server[process].resident as f64)
                / f64::from(locks),
            processor: more(&|seen| seen.server[process].processor),
        });
        let requests = now.requests.len() as f64 / f64::from(locks) * ratio(RENEW_INTERVAL, now.time);
        Self { requests, processor: more(&|seen| seen.processor), server }
    }
}

/// `memory` is that of this process. A row without it is not about locks.
fn row(table: &mut Table, what: &str, memory: Option<&PerLock>, cost: &Cost, spread: &str) {
    let of_locks = |text: &dyn Fn(&PerLock) -> String| memory.map_or(String::new(), text);
    let resident = |server: &ServerCost| of_locks(&|_| format!("{:.0} KiB", server.resident));
    let [apiserver, etcd] = &cost.server;
    table.row([
        &what,
        &of_locks(&|memory| Target::at_most(memory.resident, TARGET_MEMORY, " KiB").to_string()),
        &of_locks(&|memory| format!("{:.1} KiB", memory.heap)),
        &of_locks(&|memory| format!("{:.1}", memory.files)),
        &of_locks(&|_| format!("{:.2}", cost.requests)),
        &Short(cost.processor),
        &spread,
        &resident(apiserver),
        &Short(apiserver.processor),
        &resident(etcd),
        &Short(etcd.processor),
    ]);
}

/// Plain writes at the rate at which so many locks are renewed, for one renew interval.
async fn plain_writes(bench: &Bench<'_>, count: u32) -> Result<()> {
    let raw = bench.raw(bench.client()?, "plain");
    let mut last = raw.create("somebody").await?;
    let start = Instant::now();
    for write in 1..=count {
        last = raw.apply(&last, "somebody").await?;
        sleep_until(start + RENEW_INTERVAL * write / count).await;
    }
    Ok(())
}

async fn hold(bench: &Bench<'_>, recorder: &Recorder, count: usize) -> Result<Vec<LeaseGuard>> {
    let client = bench.recorded_client(recorder)?;
    let guards = stream::iter(0..count).map(|index| {
        let lock = bench.lock(client.clone(), &format!("held-{index}"));
        async move { anyhow::Ok(lock?.acquire().await?) }
    });
    guards.buffer_unordered(MAX_CONCURRENT).try_collect().await
}

async fn wait(bench: &Bench<'_>, recorder: &Recorder, count: usize) -> Result<JoinSet<Result<LeaseGuard>>> {
    let (client, mut waiting) = (bench.recorded_client(recorder)?, JoinSet::new());
    for index in 0..count {
        let lock = bench.lock(client.clone(), &format!("held-{index}"))?;
        waiting.spawn(async move { Ok(lock.acquire().await?) });
        sleep(Duration::from_millis(10)).await;
    }
    Ok(waiting)
}

async fn release(guards: Vec<LeaseGuard>) -> Result<()> {
    let releases = stream::iter(guards).map(LeaseGuard::release).buffer_unordered(MAX_CONCURRENT);
    Ok(releases.try_collect().await?)
}

/// The largest number of renewals within one bucket, divided by the mean.
fn spread(seen: &Observed) -> f64 {
    let writes: Vec<_> =
        seen.requests.iter().filter(|sent| sent.verb == Verb::Write).map(|sent| sent.at).collect();
    let Some(first) = writes.iter().min() else { return 0.0 };
    let bucket = |at: &std::time::Instant| at.duration_since(*first).as_nanos() / BUCKET.as_nanos();
    let mut buckets = std::collections::HashMap::<_, u32>::new();
    for at in &writes {
        *buckets.entry(bucket(at)).or_default() += 1;
    }
    let most = f64::from(buckets.into_values().max().unwrap_or_default());
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let mean = writes.len() as f64 * ratio(BUCKET, seen.time);
    most / mean
}

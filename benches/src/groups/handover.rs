//! From a release to the next holder, with one waiter.

use std::time::{Duration, Instant};

use anyhow::Result;
use kube_lease_lock::{LeaseGuard, LeaseLock};

use crate::bench::Bench;
use crate::floor_handover::FloorHandover;
use crate::options::ClientKind;
use crate::recorder::Recorder;
use crate::stats::{Samples, Short};
use crate::system::Row;
use crate::table::{Table, Target};

pub(crate) async fn measure(bench: &Bench<'_>, rows: &mut Vec<Row>) -> Result<Table> {
    let mut table = Table::new(
        "handover: from just before the release to the guard of the waiter",
        ["clients", "n", "p50", "p99", "max", "floor p50", "floor p99", "p50 to floor", "p99 to floor"],
    );
    for (kind, name) in [(ClientKind::Lock, "lock_client"), (ClientKind::Ordinary, "ordinary")] {
        let (lock, floor) = series(&bench.with(kind), name).await?;
        let targets =
            [Target::times(lock.p50(), floor.p50(), 1.3), Target::times(lock.p99(), floor.p99(), 2.0)];
        let [p50, p99, max] = [lock.p50(), lock.p99(), lock.max()].map(Short);
        let [floor_p50, floor_p99] = [floor.p50(), floor.p99()].map(Short);
        let [to_p50, to_p99] = &targets;
        table.row([&name, &lock.len(), &p50, &p99, &max, &floor_p50, &floor_p99, to_p50, to_p99]);
        if kind == bench.kind() {
            rows.push(row("plain requests", "", floor));
            rows.push(row("kube-lease-lock", "defaults", lock));
        }
    }
    table.remark(
        "The floor is a release write, its watch event at another client, and the claim write of that client.",
    );
    Ok(table)
}

fn row(system: &str, settings: &str, handover: Samples) -> Row {
    Row {
        system: system.to_owned(),
        settings: settings.to_owned(),
        handover: Some(handover),
        ..Row::default()
    }
}

/// Handovers of the lock and of plain requests by turns, so that both meet the same load of the machine.
async fn series(bench: &Bench<'_>, name: &str) -> Result<(Samples, Samples)> {
    let mut floor_handover = FloorHandover::new(bench, &format!("{}-floor", name.len())).await?;
    let mut pair = Pair::new(bench, &format!("{}-lock", name.len())).await?;
    let (mut lock, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.count(50, 1_000) {
        lock.push(pair.handover().await?);
        // The same pause as before the other handover, because a process that has slept is slower.
        tokio::time::sleep(QUIET).await;
        floor.push(floor_handover.handover().await?);
    }
    Ok((lock.into_iter().collect(), floor.into_iter().collect()))
}

/// Two locks, with clients of their own, that hand one Lease over to each other.
struct Pair {
    guard: Option<LeaseGuard>,
    holder: Contender,
    successor: Contender,
}

struct Contender {
    lock: LeaseLock,
    recorder: Recorder,
}

impl Contender {
    fn new(bench: &Bench<'_>, name: &str) -> Result<Self> {
        let recorder = Recorder::default();
        Ok(Self { lock: bench.lock(bench.recorded_client(&recorder)?, name)?, recorder })
    }
}

impl Pair {
    async fn new(bench: &Bench<'_>, name: &str) -> Result<Self> {
        let (holder, successor) = (Contender::new(bench, name)?, Contender::new(bench, name)?);
        let guard = Some(holder.lock.acquire().await?);
        let mut pair = Self { guard, holder, successor };
        for _ in 0..WARM_UP {
            pair.handover().await?;
        }
        Ok(pair)
    }

    async fn handover(&mut self) -> Result<Duration> {
        let lock = self.successor.lock.clone();
        let waiting = tokio::spawn(async move {
            let guard = lock.acquire().await?;
            anyhow::Ok((guard, Instant::now()))
        });
        self.successor.recorder.until_quiet(QUIET).await;

        let start = Instant::now();
        let release = self.guard.take().map(LeaseGuard::release).map(tokio::spawn);
        let (guard, at) = waiting.await??;
        if let Some(release) = release {
            release.await??;
        }
        self.guard = Some(guard);
        std::mem::swap(&mut self.holder, &mut self.successor);
        Ok(at.duration_since(start))
    }
}

/// Handovers that are not measured: they open the connections, and run all code once.
const WARM_UP: usize = 10;

/// A contender that sends no request for this time is waiting.
const QUIET: Duration = Duration::from_millis(20);

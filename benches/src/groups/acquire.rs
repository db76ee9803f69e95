//! A free Lease: the time and the requests that an acquisition needs.

use std::time::{Duration, Instant};

use anyhow::Result;
use kube_lease_lock::LeaseLock;
use tokio::time::sleep;

use crate::audited::{Audited, Count};
use crate::bench::Bench;
use crate::groups::floor::timed;
use crate::stats::{Samples, Short};
use crate::table::{Table, Target};

/// The times of the lock, and those of plain requests.
type Pair = (Vec<Duration>, Vec<Duration>);

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Table> {
    let count = bench.options.count(50, 1_000);
    let (free, missing, warm) =
        (free(bench, count).await?, missing(bench, count).await?, warm(bench, count).await?);
    let counts = counts(bench).await?;

    let mut table = Table::new(
        "acquire: without other contenders",
        ["", "n", "p50", "p99", "floor p50", "floor p99", "p50 to floor", "requests"],
    );
    let rows = [
        ("free Lease, new lock: acquire", free, 1.2, "1 get, 2 patch"),
        ("no Lease, new lock: acquire", missing, 1.2, "1 get, 1 patch, 1 update"),
        ("same lock again: acquire and release", warm, 1.15, "2 patch"),
    ];
    for ((what, (lock, floor), limit, requests), count) in rows.into_iter().zip(counts) {
        let (lock, floor): (Samples, Samples) = (lock.into_iter().collect(), floor.into_iter().collect());
        let target = Target::times(lock.p50(), floor.p50(), limit);
        let [p50, p99, floor_p50, floor_p99] = [lock.p50(), lock.p99(), floor.p50(), floor.p99()].map(Short);
        let requests = Target::is_exactly(&count, &requests);
        table.row([&what, &lock.len(), &p50, &p99, &floor_p50, &floor_p99, &target, &requests]);
    }
    table.remark(
        "The floor is one GET and one SSA; one GET and one creating PUT; two SSA. Requests are counted by the audit \
         log of another API server, for a critical section of half a second; the first two rows include the release.",
    );
    Ok(table)
}

async fn free(bench: &Bench<'_>, count: usize) -> Result<Pair> {
    let raw = bench.raw(bench.client()?, "free-floor");
    raw.create("").await?;
    let client = bench.client()?;
    bench.lock(client.clone(), "free")?.acquire().await?.release().await?;
    let mut pair = Pair::default();
    for _ in 0..count {
        let start = Instant::now();
        let free = raw.get().await?;
        let held = raw.apply(&free, "holder").await?;
        pair.1.push(start.elapsed());
        raw.apply(&held, "").await?;

        let lock = bench.lock(client.clone(), "free")?;
        let (taken, guard) = timed(lock.acquire()).await?;
        pair.0.push(taken);
        guard.release().await?;
    }
    Ok(pair)
}

async fn missing(bench: &Bench<'_>, count: usize) -> Result<Pair> {
    let (raw_client, client) = (bench.client()?, bench.client()?);
    // Open the connections.
    bench.raw(raw_client.clone(), "none").get_none().await?;
    bench.lock(client.clone(), "none")?.holder().await?;
    let mut pair = Pair::default();
    for turn in 0..count {
        let raw = bench.raw(raw_client.clone(), &format!("missing-floor-{turn}"));
        let start = Instant::now();
        raw.get_none().await?;
        raw.create("holder").await?;
        pair.1.push(start.elapsed());

        let lock = bench.lock(client.clone(), &format!("missing-{turn}"))?;
        let (taken, guard) = timed(lock.acquire()).await?;
        pair.0.push(taken);
        guard.release().await?;
    }
    Ok(pair)
}

async fn warm(bench: &Bench<'_>, count: usize) -> Result<Pair> {
    let raw = bench.raw(bench.client()?, "warm-floor");
    let mut last = raw.create("").await?;
    let lock = bench.lock(bench.client()?, "warm")?;
    acquire_and_release(&lock).await?;
    let mut pair = Pair::default();
    for _ in 0..count {
        let start = Instant::now();
        last = raw.apply(&last, "holder").await?;
        last = raw.apply(&last, "").await?;
        pair.1.push(start.elapsed());
        pair.0.push(timed(acquire_and_release(&lock)).await?.0);
    }
    Ok(pair)
}

async fn acquire_and_release(lock: &LeaseLock) -> Result<()> {
    Ok(lock.acquire().await?.release().await?)
}

/// A critical section that is so short that the holder opens no watch.
async fn short_section(lock: &LeaseLock) -> Result<()> {
    let guard = lock.acquire().await?;
    sleep(Duration::from_millis(500)).await;
    Ok(guard.release().await?)
}

/// The number of requests in each case.
async fn counts(bench: &Bench<'_>) -> Result<[Count; 3]> {
    let audited = Audited::start().await;
    let bench = Bench::new(audited.plane(), bench.options).await;
    let (creator, new) = (bench.client_as("creator")?, bench.client_as("new")?);
    let (missing, warm) = (bench.client_as("missing")?, bench.lock(bench.client_as("warm")?, "warm")?);
    acquire_and_release(&bench.lock(creator, "free")?).await?;
    short_section(&bench.lock(new, "free")?).await?;
    short_section(&bench.lock(missing, "missing")?).await?;
    acquire_and_release(&warm).await?;
    wait_for_audit_log().await;
    let before = audited.count("warm");
    short_section(&warm).await?;
    wait_for_audit_log().await;
    Ok([audited.count("new"), audited.count("missing"), audited.count("warm").since(&before)])
}

/// A watch may be logged a moment after its client has opened it.
async fn wait_for_audit_log() {
    sleep(Duration::from_millis(500)).await;
}

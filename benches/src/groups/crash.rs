//! From the last renewal of a holder that crashes to the next holder.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tokio::time::sleep;

use crate::bench::Bench;
use crate::recorder::{Recorder, Verb};
use crate::stats::{Samples, Short};
use crate::table::{Table, Target};

const LEASES: [(&str, Duration); 2] =
    [("3 s", Duration::from_secs(3)), ("15 s, the default", Duration::from_secs(15))];

const TARGET_DELAY: Duration = Duration::from_millis(100);

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Table> {
    let count = bench.options.count(8, 48);
    let taken = try_join_all(LEASES.map(|(_, lease)| crashes(bench, lease, count))).await?;

    let mut table = Table::new(
        "crash: from the last renewal of a holder that crashes to the guard of a waiter",
        ["`lease_duration`", "n", "p50", "p99", "max", "p99 beyond the lease"],
    );
    for ((duration, lease), taken) in LEASES.into_iter().zip(taken) {
        let target = Target::within(taken.p99().saturating_sub(lease), TARGET_DELAY);
        let [p50, p99, max] = [taken.p50(), taken.p99(), taken.max()].map(Short);
        table.row([&duration, &taken.len(), &p50, &p99, &max, &target]);
    }
    table.remark("The holder's requests are blocked at different phases of its renewals. The time counts from its last \
         write that was answered.");
    Ok(table)
}

/// `count` crashes at the same time, each on a Lease of its own.
async fn crashes(bench: &Bench<'_>, duration: Duration, count: usize) -> Result<Samples> {
    let crashes = (0..count).map(|index| crash(bench, duration, index, count));
    Ok(try_join_all(crashes).await?.into_iter().collect())
}

async fn crash(bench: &Bench<'_>, duration: Duration, index: usize, count: usize) -> Result<Duration> {
    let name = format!("crash-{}-{index}", duration.as_secs());
    let (holders, waiters) = (Recorder::default(), Recorder::default());
    let holder = bench.builder(bench.recorded_client(&holders)?, &name).lease_duration(duration).build()?;
    let waiter = bench.builder(bench.recorded_client(&waiters)?, &name).lease_duration(duration).build()?;
    let guard = holder.acquire().await?;
    let waiting = tokio::spawn(async move {
        let guard = waiter.acquire().await?;
        anyhow::Ok((guard, Instant::now()))
    });

    // The holder renews after every third of the lease duration. The crashes are spread over the second such interval.
    let interval = duration / 3;
    let part = f64::from(u32::try_from(index)?) / f64::from(u32::try_from(count)?);
    sleep(interval + interval.mul_f64(part)).await;
    holders.block();
    let (successor, at) = waiting.await??;
    let writes = holders.take().into_iter().filter(|sent| sent.verb == Verb::Write);
    let last = writes.map(|sent| sent.at).max().context("the holder wrote nothing")?;
    drop(guard);
    successor.release().await?;
    Ok(at.duration_since(last))
}

//! Many locks of one process, on as many Leases, that share a client. The process holds them or waits for them.

use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use kube_lease_lock::LeaseGuard;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bench::Bench;
use crate::footprint::{Footprint, PerLock, observe, processor_time};
use crate::recorder::{Recorder, Sent, Verb};
use crate::stats::Short;
use crate::table::{Table, Target};

/// The default renew interval.
const RENEW_INTERVAL: Duration = Duration::from_secs(5);
const BUCKET: Duration = Duration::from_millis(100);
/// Only so many locks are acquired or released at the same time. Otherwise the memory for that would count as memory of
/// the locks.
const MAX_CONCURRENT: usize = 20;
/// In KiB.
const TARGET_MEMORY: f64 = 16.0;

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Table> {
    let count = bench.options.count(100, 1_000);
    let time = RENEW_INTERVAL * u32::try_from(bench.options.count(2, 6))?;
    let locks = u32::try_from(count)?;
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
        ],
    );
    let plain = plain_write(bench, count).await? / 5;
    table.row([&"plain writes at the same rate", &"", &"", &"", &"1.00", &Short(plain), &""]);

    let (recorder, before) = (Recorder::default(), Footprint::start());
    let guards = hold(bench, &recorder, count).await?;
    sleep(RENEW_INTERVAL).await;
    let (memory, (requests, holding)) = (before.per_lock(count), observe(&recorder, time).await);
    let spread = format!("{:.1}", spread(&requests, time));
    row(&mut table, "held", &memory, requests.len(), (holding / locks, time, count), &spread);

    let (recorder, before) = (Recorder::default(), Footprint::start());
    let mut waiting = wait(bench, &recorder, count).await?;
    sleep(RENEW_INTERVAL).await;
    recorder.until_quiet(Duration::from_secs(2)).await;
    let (memory, (requests, both)) = (before.per_lock(count), observe(&recorder, time).await);
    let processor = (both.saturating_sub(holding) / locks, time, count);
    row(&mut table, "waited for, by another client", &memory, requests.len(), processor, "");
    if let Some(outcome) = waiting.try_join_next() {
        anyhow::bail!("a waiter did not wait: {:?}", outcome?.map(drop));
    }

    drop(waiting);
    release(guards).await?;
    table.remark(format!(
        "The locks begin a few at a time, and are observed for {} s. Files are the connections of the one client.",
        time.as_secs()
    ));
    Ok(table)
}

/// `used` is the processor time of each lock, over a time, and the number of locks.
fn row(
    table: &mut Table,
    what: &str,
    memory: &PerLock,
    requests: usize,
    used: (Duration, Duration, usize),
    spread: &str,
) {
    let (processor, time, count) = used;
    let seconds = time.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let requests = requests as f64 / count as f64 * RENEW_INTERVAL.as_secs_f64() / seconds;
    table.row([
        &what,
        &Target::at_most(memory.resident, TARGET_MEMORY, " KiB"),
        &format!("{:.1} KiB", memory.heap),
        &format!("{:.1}", memory.files),
        &format!("{requests:.2}"),
        &Short(processor.div_f64(seconds)),
        &spread,
    ]);
}

/// The processor time of a plain write, at the rate at which so many locks are renewed.
async fn plain_write(bench: &Bench<'_>, count: usize) -> Result<Duration> {
    let (raw, writes) = (bench.raw(bench.client()?, "plain"), u32::try_from(count)?);
    let mut last = raw.create("somebody").await?;
    let (start, before) = (Instant::now(), processor_time());
    for write in 0..writes {
        last = raw.apply(&last, "somebody").await?;
        sleep_until(start + RENEW_INTERVAL * write / writes).await;
    }
    Ok(processor_time().saturating_sub(before) / writes)
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
fn spread(requests: &[Sent], time: Duration) -> f64 {
    let writes: Vec<_> =
        requests.iter().filter(|sent| sent.verb == Verb::Write).map(|sent| sent.at).collect();
    let Some(first) = writes.iter().min() else { return 0.0 };
    let bucket = |at: &std::time::Instant| at.duration_since(*first).as_nanos() / BUCKET.as_nanos();
    let mut buckets = std::collections::HashMap::<_, u32>::new();
    for at in &writes {
        *buckets.entry(bucket(at)).or_default() += 1;
    }
    let most = f64::from(buckets.into_values().max().unwrap_or_default());
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let mean = writes.len() as f64 * BUCKET.as_secs_f64() / time.as_secs_f64();
    most / mean
}

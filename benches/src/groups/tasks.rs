//! Many tasks of one process wait for one lock, with and without another process that contends for it.

use std::time::{Duration, Instant};

use anyhow::Result;
use kube_lease_lock::LeaseLock;
use tokio::task::{JoinSet, unconstrained};

use crate::bench::Bench;
use crate::contenders::{Contenders, Pace, Turn, Turns, handovers, longest_wait};
use crate::recorder::{Recorder, Verb};
use crate::stats::{Samples, Short, ratio};
use crate::table::{Table, Target};

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Table> {
    let count = bench.options.count(500, 10_000);
    let mut table = Table::new(
        "tasks: many tasks of one process wait for one lock, and release it immediately",
        [
            "",
            "tasks",
            "first come, first served",
            "all in",
            "handover p50",
            "handover p99",
            "writes but the last release, per turn",
            "turns of the other process",
            "its longest wait",
        ],
    );
    for (what, has_rival) in [("alone", false), ("with another process", true)] {
        let seen = queue(bench, what.len(), count, has_rival).await?;
        let fifo = Target::is(seen.in_order);
        let [all, p50, p99] = [seen.all, seen.taken.p50(), seen.taken.p99()].map(Short);
        let (writes, turns, wait) = if has_rival {
            // A longer wait would need an explanation.
            let wait = Target::within(seen.rival_wait, Duration::from_secs(1)).to_string();
            // A handover to the other process and back is not one within the process.
            (format!("{:.2}", seen.writes), seen.rival.to_string(), wait)
        } else {
            (Target::at_most(seen.writes, 1.0, "").to_string(), String::new(), String::new())
        };
        table.row([&what, &count, &fifo, &all, &p50, &p99, &writes, &turns, &wait]);
    }
    Ok(table)
}

struct Seen {
    in_order: bool,
    all: Duration,
    taken: Samples,
    writes: f64,
    /// The turns of the other process.
    rival: usize,
    rival_wait: Duration,
}

async fn queue(bench: &Bench<'_>, name: usize, count: usize, with_rival: bool) -> Result<Seen> {
    let (name, recorder, turns) = (format!("tasks-{name}"), Recorder::default(), Turns::default());
    let lock = bench.lock(bench.recorded_client(&recorder)?, &name)?;
    let first = lock.acquire().await?;
    let mut tasks = JoinSet::new();
    for place in 0..count {
        let (lock, turns) = (lock.clone(), turns.clone());
        let mut turn = Box::pin(async move { wait(&lock, place).await.map(|turn| turns.push(turn)) });
        // The first poll joins the FIFO. It happens here, so that the order is known. It is unconstrained, because all
        // these polls belong to one task, whose poll budget they would use up.
        let _ = futures::poll!(unconstrained(&mut turn));
        tasks.spawn(turn);
    }
    let mut rival = Contenders::new();
    if with_rival {
        rival.add(bench.lock(bench.client()?, &name)?, Pace::default());
        rival.run_for(Duration::from_millis(500)).await?;
    }
    recorder.take();
    let start = Instant::now();
    first.release().await?;
    while let Some(turn) = tasks.join_next().await {
        turn??;
    }
    let (end, rival) = (Instant::now(), rival.turns.take());
    let writes = recorder.take().iter().filter(|sent| sent.verb == Verb::Write).count() - 1;
    let turns = turns.take();
    Ok(Seen {
        in_order: turns.iter().map(|turn| turn.contender).eq(0..count),
        all: end - start,
        taken: handovers(&turns),
        writes: ratio(Duration::from_secs(writes.try_into()?), Duration::from_secs(count.try_into()?)),
        rival: rival.len(),
        rival_wait: longest_wait(&rival, 1, start..end),
    })
}

async fn wait(lock: &LeaseLock, contender: usize) -> Result<Turn> {
    let called = Instant::now();
    let guard = lock.acquire().await?;
    let acquired = Instant::now();
    guard.release().await?;
    Ok(Turn { contender, called, acquired, released: acquired })
}

//! Many tasks of one process wait for one lock, alone and with a rival process.

use std::time::{Duration, Instant};

use anyhow::Result;
use kube_lease_lock::LeaseLock;
use tokio::task::{JoinSet, unconstrained};

use crate::bench::Bench;
use crate::stats::{Samples, Short, ratio};
use crate::table::{Table, Target};
use crate::tap::{Tap, Verb};
use crate::turns::{Crowd, Manner, Turn, Turns, handovers, longest_wait};

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Table> {
    let count = bench.options.count(500, 10_000);
    let mut table = Table::new(
        "tasks: many of one process wait for one lock, with nothing to do inside",
        [
            "",
            "tasks",
            "first come, first served",
            "all in",
            "handover p50",
            "handover p99",
            "writes but the last release, per turn",
            "turns of the rival",
            "its longest wait",
        ],
    );
    for (what, rival) in [("alone", false), ("a rival process asks as well", true)] {
        let seen = queue(bench, what.len(), count, rival).await?;
        let fifo = Target::is(seen.in_order);
        let [all, p50, p99] = [seen.all, seen.taken.p50(), seen.taken.p99()].map(Short);
        let (writes, turns, wait) = if rival {
            // Longer than that, and somebody looks for the reason.
            let wait = Target::within(seen.rival_wait, Duration::from_secs(1)).to_string();
            // What goes to the rival and back is no handover within the process.
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
    /// The turns of the rival.
    rival: usize,
    rival_wait: Duration,
}

async fn queue(bench: &Bench<'_>, name: usize, count: usize, with_rival: bool) -> Result<Seen> {
    let (name, tap, turns) = (format!("tasks-{name}"), Tap::default(), Turns::default());
    let lock = bench.lock(bench.tapped(&tap)?, &name)?;
    let first = lock.acquire().await?;
    let mut tasks = JoinSet::new();
    for place in 0..count {
        let (lock, turns) = (lock.clone(), turns.clone());
        let mut turn = Box::pin(async move { wait(&lock, place).await.map(|turn| turns.push(turn)) });
        // The first poll queues: here, in order, and not whenever the task comes to run. Without a budget for
        // polls, for all of them are part of this one task.
        let _ = futures::poll!(unconstrained(&mut turn));
        tasks.spawn(turn);
    }
    let mut rival = Crowd::new();
    if with_rival {
        rival.join(bench.lock(bench.client()?, &name)?, Manner::default());
        rival.go_on(Duration::from_millis(500)).await?;
    }
    tap.take();
    let start = Instant::now();
    first.release().await?;
    while let Some(turn) = tasks.join_next().await {
        turn??;
    }
    let (end, rival) = (Instant::now(), rival.turns.take());
    let writes = tap.take().iter().filter(|sent| sent.verb == Verb::Write).count() - 1;
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
    let asked = Instant::now();
    let guard = lock.acquire().await?;
    let held = Instant::now();
    guard.release().await?;
    Ok(Turn { contender, asked, held, released: held })
}

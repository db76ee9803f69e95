//! Many processes wait for one Lease.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::bench::Bench;
use crate::contenders::{Contenders, Pace, handovers};
use crate::floor_handover;
use crate::recorder::{Recorder, Sent, Verb};
use crate::stats::{Samples, Short, ratio};
use crate::table::{Table, Target};

struct Case {
    waiters: usize,
    /// How long each contender holds the lock, and how long it pauses before it acquires again.
    hold: Duration,
    /// The number of handovers in a quick run, and in a full run.
    handovers: (usize, usize),
    /// The target for the duration of a handover, divided by that of the floor.
    limit: f64,
}

const CASES: [Case; 3] = [
    Case { waiters: 10, hold: Duration::from_millis(50), handovers: (20, 400), limit: 3.0 },
    Case { waiters: 100, hold: Duration::from_millis(100), handovers: (10, 200), limit: 10.0 },
    Case { waiters: 1_000, hold: Duration::from_millis(200), handovers: (5, 100), limit: 10.0 },
];

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Table> {
    let mut table = Table::new(
        "waiters: each with a client of its own, one handover after the other",
        [
            "waiters",
            "n",
            "p50",
            "p99",
            "floor p50",
            "p50 to floor",
            "floor with as many watching",
            "p50 to that",
            "claims",
            "joins of the queue",
            "conflicts",
            "started in",
        ],
    );
    for case in &CASES {
        let floor = floor_handover::handovers(
            bench,
            &format!("floor-{}", case.waiters),
            bench.options.count(50, 300),
        )
        .await?;
        let watched = format!("watched-{}", case.waiters);
        let watched =
            floor_handover::watched(bench, &watched, bench.options.count(5, 50), case.waiters).await?;
        let seen = contend(bench, case).await?;
        let target = Target::times(seen.taken.p50(), floor.p50(), case.limit);
        let [p50, p99, floor_p50] = [seen.taken.p50(), seen.taken.p99(), floor.p50()].map(Short);
        let to_watched = format!("{:.2}x", ratio(seen.taken.p50(), watched.p50()));
        let claims = Target::at_most(seen.claims, 3.0, "");
        let [joins, conflicts] = [seen.joins, seen.conflicts].map(|count| format!("{count:.2}"));
        let started = Short(seen.started);
        table.row([
            &case.waiters,
            &seen.taken.len(),
            &p50,
            &p99,
            &floor_p50,
            &target,
            &Short(watched.p50()),
            &to_watched,
            &claims,
            &joins,
            &conflicts,
            &started,
        ]);
    }
    table.remark(
        "Claims, joins of the queue, and conflicts of both are per handover, counted at the clients. After a release \
         a contender pauses for as long as it held, and acquires again. All clients share the machine with the API \
         server, which sends each change to each of them.",
    );
    Ok(table)
}

struct Seen {
    taken: Samples,
    claims: f64,
    joins: f64,
    conflicts: f64,
    started: Duration,
}

async fn contend(bench: &Bench<'_>, case: &Case) -> Result<Seen> {
    let name = format!("waiters-{}", case.waiters);
    let (mut contenders, recorder) = (Contenders::new(), Recorder::default());
    let first = bench.lock(bench.client()?, &name)?.acquire().await?;
    let start = Instant::now();
    for waiter in 0..case.waiters {
        let pace = Pace { hold: case.hold, pause: case.hold };
        contenders.add(bench.lock(bench.recorded_client(&recorder)?, &name)?, pace);
        if waiter % 10 == 9 {
            // More contenders at the same time would wait for each other, not for the API server.
            sleep(Duration::from_millis(5)).await;
        }
    }
    recorder.until_quiet(Duration::from_millis(500)).await;
    let started = start.elapsed();
    first.release().await?;
    until(&mut contenders, 2).await?;

    recorder.take();
    contenders.turns.take();
    until(&mut contenders, bench.options.count(case.handovers.0, case.handovers.1)).await?;
    let (turns, requests) = (contenders.turns.take(), recorder.take());
    let count = |what: &dyn Fn(&Sent) -> bool| requests.iter().filter(|sent| what(sent)).count();
    let [writes, joins] = [Verb::Write, Verb::JoinQueue].map(|verb| count(&|sent| sent.verb == verb));
    let conflicts = count(&|sent| sent.status == 409);
    let per_turn = |count: usize| {
        Ok::<_, anyhow::Error>(f64::from(u32::try_from(count)?) / f64::from(u32::try_from(turns.len())?))
    };
    Ok(Seen {
        taken: handovers(&turns),
        claims: per_turn(writes.saturating_sub(turns.len()))?,
        joins: per_turn(joins)?,
        conflicts: per_turn(conflicts)?,
        started,
    })
}

/// Waits for this number of turns.
async fn until(contenders: &mut Contenders, turns: usize) -> Result<()> {
    let start = Instant::now();
    while contenders.turns.count() < turns {
        ensure!(
            start.elapsed() < TURNS_TIMEOUT,
            "{} of {turns} turns in {TURNS_TIMEOUT:?}",
            contenders.turns.count()
        );
        contenders.run_for(Duration::from_millis(20)).await?;
    }
    Ok(())
}

const TURNS_TIMEOUT: Duration = Duration::from_secs(120);

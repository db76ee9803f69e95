//! Many processes wait for one Lease.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::bench::Bench;
use crate::relay;
use crate::stats::{Samples, Short, ratio};
use crate::table::{Table, Target};
use crate::tap::{Sent, Tap, Verb};
use crate::turns::{Crowd, Manner, handovers};

struct Case {
    waiters: usize,
    /// How long each holds the lock, and how long it rests before it asks again.
    hold: Duration,
    /// How often the lock changes hands, in a quick run and else.
    handovers: (usize, usize),
    /// How many times as long as the floor a handover may take.
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
            "places taken",
            "conflicts",
            "started in",
        ],
    );
    for case in &CASES {
        let floor =
            relay::handovers(bench, &format!("floor-{}", case.waiters), bench.options.count(50, 300)).await?;
        let watched = format!("watched-{}", case.waiters);
        let watched = relay::watched(bench, &watched, bench.options.count(5, 50), case.waiters).await?;
        let seen = crowd(bench, case).await?;
        let target = Target::times(seen.taken.p50(), floor.p50(), case.limit);
        let [p50, p99, floor_p50] = [seen.taken.p50(), seen.taken.p99(), floor.p50()].map(Short);
        let to_watched = format!("{:.2}x", ratio(seen.taken.p50(), watched.p50()));
        let claims = Target::at_most(seen.claims, 3.0, "");
        let [places, conflicts] = [seen.places, seen.conflicts].map(|count| format!("{count:.2}"));
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
            &places,
            &conflicts,
            &started,
        ]);
    }
    table.remark(
        "Claims, places taken in the queue, and conflicts of either are per handover, counted at the clients. One that released rests as long as it held, \
         and asks again. All clients share the machine with the API server, which tells each of them of each change.",
    );
    Ok(table)
}

struct Seen {
    taken: Samples,
    claims: f64,
    places: f64,
    conflicts: f64,
    started: Duration,
}

async fn crowd(bench: &Bench<'_>, case: &Case) -> Result<Seen> {
    let name = format!("waiters-{}", case.waiters);
    let (mut crowd, tap) = (Crowd::new(), Tap::default());
    let first = bench.lock(bench.client()?, &name)?.acquire().await?;
    let start = Instant::now();
    for waiter in 0..case.waiters {
        let manner = Manner { work: case.hold, rest: case.hold };
        crowd.join(bench.lock(bench.tapped(&tap)?, &name)?, manner);
        if waiter % 10 == 9 {
            // More at a time wait for one another, not for the API server.
            sleep(Duration::from_millis(5)).await;
        }
    }
    tap.until_quiet(Duration::from_millis(500)).await;
    let started = start.elapsed();
    first.release().await?;
    until(&mut crowd, 2).await?;

    tap.take();
    crowd.turns.take();
    until(&mut crowd, bench.options.count(case.handovers.0, case.handovers.1)).await?;
    let (turns, requests) = (crowd.turns.take(), tap.take());
    let count = |what: &dyn Fn(&Sent) -> bool| requests.iter().filter(|sent| what(sent)).count();
    let [writes, places] = [Verb::Write, Verb::Place].map(|verb| count(&|sent| sent.verb == verb));
    let conflicts = count(&|sent| sent.status == 409);
    let per_turn = |count: usize| {
        Ok::<_, anyhow::Error>(f64::from(u32::try_from(count)?) / f64::from(u32::try_from(turns.len())?))
    };
    Ok(Seen {
        taken: handovers(&turns),
        claims: per_turn(writes.saturating_sub(turns.len()))?,
        places: per_turn(places)?,
        conflicts: per_turn(conflicts)?,
        started,
    })
}

/// Waits for so many turns.
async fn until(crowd: &mut Crowd, turns: usize) -> Result<()> {
    let start = Instant::now();
    while crowd.turns.count() < turns {
        ensure!(start.elapsed() < PATIENCE, "{} of {turns} turns in {PATIENCE:?}", crowd.turns.count());
        crowd.go_on(Duration::from_millis(20)).await?;
    }
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(120);

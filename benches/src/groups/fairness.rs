//! Contenders that release the lock immediately and acquire it again immediately.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::bench::Bench;
use crate::contenders::{Contenders, Pace, Turn, handovers, longest_wait};
use crate::floor_handover;
use crate::recorder::{Recorder, Sent};
use crate::stats::{Samples, Short, ratio};
use crate::table::{Table, Target};

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Table> {
    let time = bench.options.fairness();
    let mut table = Table::new(
        &format!("fairness: processes that acquire again immediately, for {} s", time.as_secs()),
        [
            "contenders",
            "turns of each",
            "least to fair share",
            "most to fair share",
            "longest wait",
            "to mean wait",
            "handovers/s",
            "floor/s",
            "to floor",
        ],
    );
    for contenders in [2, 8] {
        let floor =
            floor_handover::handovers(bench, &format!("floor-{contenders}"), bench.options.count(50, 300))
                .await?;
        let (turns, requests, time) = contend(bench, contenders, time).await?;
        ensure!(!turns.is_empty(), "no turn at all");
        add(&mut table, contenders, &turns, &floor, time);
        if let Some(longest) = turns.iter().max_by_key(|turn| turn.acquired - turn.called) {
            table.remark(trace(longest, &turns, &requests[longest.contender]));
        }
    }
    table.remark(
        "A handover is a turn after the turn of another contender. \
         The floor is one handover of plain requests in each p50.",
    );
    Ok(table)
}

/// The turns, the requests of each contender, and the time of all that.
async fn contend(
    bench: &Bench<'_>,
    count: usize,
    time: Duration,
) -> Result<(Vec<Turn>, Vec<Vec<Sent>>, Range<Instant>)> {
    let mut contenders = Contenders::new();
    let recorders = (0..count).map(|_| Recorder::default()).collect::<Vec<_>>();
    for recorder in &recorders {
        let client = bench.recorded_client(recorder)?;
        contenders.add(bench.lock(client, &format!("fairness-{count}"))?, Pace::default());
    }
    // Until all clients have opened their connections.
    contenders.run_for(Duration::from_secs(1)).await?;
    contenders.turns.take();
    let start = Instant::now();
    contenders.run_for(time).await?;
    let requests = recorders.iter().map(Recorder::take).collect();
    Ok((contenders.turns.take(), requests, start..Instant::now()))
}

/// What a contender did while it waited.
fn trace(wait: &Turn, turns: &[Turn], requests: &[Sent]) -> String {
    let during = wait.called..wait.acquired;
    let others = turns.iter().filter(|turn| during.contains(&turn.acquired)).count();
    let mut sent: Vec<_> = requests.iter().filter(|sent| during.contains(&sent.at)).collect();
    sent.sort_by_key(|sent| sent.at);
    let sent = sent.into_iter().map(|sent| {
        let at = Short(sent.at.duration_since(wait.called));
        format!("{:?} at {at} ({} after {})", sent.verb, sent.status, Short(sent.took))
    });
    format!(
        "The longest wait that ended took {}. Meanwhile there were {others} turns of other contenders, and the requests \
         {}.",
        Short(wait.acquired - wait.called),
        sent.collect::<Vec<_>>().join(", "),
    )
}

fn add(table: &mut Table, contenders: usize, turns: &[Turn], floor: &Samples, time: Range<Instant>) {
    let mut shares = vec![0_u32; contenders];
    for turn in turns {
        shares[turn.contender] += 1;
    }
    let mean =
        f64::from(shares.iter().sum::<u32>()) / f64::from(u32::try_from(contenders).unwrap_or(u32::MAX));
    let least = f64::from(shares.iter().copied().min().unwrap_or_default()) / mean;
    let most = f64::from(shares.iter().copied().max().unwrap_or_default()) / mean;
    let waits: Samples = turns.iter().map(|turn| turn.acquired - turn.called).collect();
    let changes = f64::from(u32::try_from(handovers(turns).len()).unwrap_or(u32::MAX))
        / (time.end - time.start).as_secs_f64();
    let longest = longest_wait(turns, contenders, time);
    let possible = 1.0 / floor.p50().as_secs_f64();
    let shares: Vec<_> = shares.iter().map(ToString::to_string).collect();
    table.row([
        &contenders,
        &shares.join(", "),
        &Target::at_least(least, 0.5, ""),
        &Target::at_most(most, 2.0, ""),
        &Short(longest),
        &Target::at_most(ratio(longest, waits.mean()), 10.0, "x"),
        &format!("{changes:.0}"),
        &format!("{possible:.0}"),
        &Target::at_least(100.0 * changes / possible, 60.0, " %"),
    ]);
}

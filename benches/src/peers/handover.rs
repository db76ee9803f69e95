//! Two processes hand Leases over to each other.

use std::mem::swap;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use tokio::time::sleep;

use super::contender::Lock;
use super::namespace::Namespace;
use super::phase;
use super::systems::System;
use crate::stats::Samples;

/// The number of Leases at the same time, and of turns for each of them.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) leases: usize,
    pub(crate) turns: usize,
}

pub(crate) async fn measure(system: &System, namespace: &Namespace, extent: Extent) -> Result<Samples> {
    let (first, second) = (system.start(namespace, "first")?, system.start(namespace, "second")?);
    let mut series = Vec::new();
    for lease in 0..extent.leases {
        let name = format!("handed-over-{lease}");
        namespace.add_free(&name, system.knows_blank_leases()).await?;
        let holds = (0..extent.turns).map(move |turn| hold_duration(system, turn * extent.leases + lease));
        series.push(hand_over(first.lock(&name), second.lock(&name), holds));
    }
    let samples: Samples = try_join_all(series).await?.into_iter().flatten().collect();
    ensure!(samples.len() > 0, "no hold lasted until its release");
    Ok(samples)
}

/// How long the nth hold lasts: long enough for the waiter to poll regularly, and ending at all phases of its polls.
fn hold_duration(system: &System, n: usize) -> Duration {
    let interval = if system.is_prompt() { Duration::from_millis(400) } else { system.lease };
    interval.mul_f64(0.5 + phase(n))
}

/// The duration of each handover. A release after the other process had acquired the lock is left out: that hold was
/// lost.
async fn hand_over(
    mut holder: Lock,
    mut successor: Lock,
    holds: impl Iterator<Item = Duration>,
) -> Result<Vec<Duration>> {
    holder.acquire().await?;
    holder.acquired().await?;
    let mut taken = Vec::new();
    for hold in holds {
        successor.acquire().await?;
        sleep(hold).await;
        let released = holder.release().await?;
        let acquired = successor.acquired().await?;
        taken.extend(acquired.checked_sub(released).map(Duration::from_nanos));
        holder.released().await?;
        swap(&mut holder, &mut successor);
    }
    Ok(taken)
}

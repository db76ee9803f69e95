//! Two processes hand Leases to each other.

use std::mem::swap;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use tokio::time::sleep;

use super::contender::Lock;
use super::phase;
use super::place::Place;
use super::systems::System;
use crate::stats::Samples;

/// How many Leases at a time, and how often each of them.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) leases: usize,
    pub(crate) turns: usize,
}

pub(crate) async fn measure(system: &System, place: &Place, extent: Extent) -> Result<Samples> {
    let (first, second) = (system.start(place, "first")?, system.start(place, "second")?);
    let mut series = Vec::new();
    for lease in 0..extent.leases {
        let name = format!("handed-over-{lease}");
        place.add_free(&name, system.knows_blank_leases()).await?;
        let terms = (0..extent.turns).map(move |turn| term(system, turn * extent.leases + lease));
        series.push(hand_over(first.lock(&name), second.lock(&name), terms));
    }
    let samples: Samples = try_join_all(series).await?.into_iter().flatten().collect();
    ensure!(samples.len() > 0, "no hold lasted until its release");
    Ok(samples)
}

/// For how long to hold the nth time: long enough for the other one to be in its rhythm, and at all phases of it.
fn term(system: &System, n: usize) -> Duration {
    let rhythm = if system.is_prompt() { Duration::from_millis(400) } else { system.lease };
    rhythm.mul_f64(0.5 + phase(n))
}

/// What each release took to come to the other one. Without those that came after the other one had the lock: a
/// hold may be lost.
async fn hand_over(
    mut holder: Lock,
    mut successor: Lock,
    terms: impl Iterator<Item = Duration>,
) -> Result<Vec<Duration>> {
    holder.acquire().await?;
    holder.acquired().await?;
    let mut taken = Vec::new();
    for term in terms {
        successor.acquire().await?;
        sleep(term).await;
        let released = holder.release().await?;
        let acquired = successor.acquired().await?;
        taken.extend(acquired.checked_sub(released).map(Duration::from_nanos));
        holder.released().await?;
        swap(&mut holder, &mut successor);
    }
    Ok(taken)
}

//! Acquires Leases that are free, each of them once.

use std::time::Duration;

use anyhow::Result;

use super::place::Place;
use super::systems::System;
use crate::stats::Samples;

/// Connections are opened, and all code has run once.
const WARM_UP: usize = 10;

pub(crate) async fn measure(system: &System, place: &Place, count: usize) -> Result<Samples> {
    let contender = system.start(place, "contender")?;
    let mut samples = Vec::new();
    for turn in 0..WARM_UP + count {
        let name = format!("free-{turn}");
        place.add_free(&name, system.knows_blank_leases()).await?;
        let mut lock = contender.lock(&name);
        let asked = lock.acquire().await?;
        let acquired = lock.acquired().await?;
        samples.push(Duration::from_nanos(acquired - asked));
        lock.release().await?;
        lock.released().await?;
    }
    Ok(samples.into_iter().skip(WARM_UP).collect())
}

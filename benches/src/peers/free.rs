//! Acquires free Leases, each of them once.

use std::time::Duration;

use anyhow::Result;

use super::namespace::Namespace;
use super::systems::System;
use crate::stats::Samples;

/// Acquisitions that are not measured: they open the connections, and run all code once.
const WARM_UP: usize = 10;

pub(crate) async fn measure(system: &System, namespace: &Namespace, count: usize) -> Result<Samples> {
    let contender = system.start(namespace, "contender")?;
    let mut samples = Vec::new();
    for turn in 0..WARM_UP + count {
        let name = format!("free-{turn}");
        namespace.add_free(&name, system.knows_blank_leases()).await?;
        let mut lock = contender.lock(&name);
        let asked = lock.acquire().await?;
        let acquired = lock.acquired().await?;
        samples.push(Duration::from_nanos(acquired - asked));
        lock.release().await?;
        lock.released().await?;
    }
    Ok(samples.into_iter().skip(WARM_UP).collect())
}

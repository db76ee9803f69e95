//! A process holds Leases and is killed. Another process waits for them.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use tokio::time::sleep;

use super::contender::Lock;
use super::namespace::Namespace;
use super::phase;
use super::systems::System;
use crate::stats::Samples;

pub(crate) async fn measure(system: &System, namespace: &Namespace, leases: usize) -> Result<Samples> {
    let (mut first, second) = (system.start(namespace, HOLDER)?, system.start(namespace, "waiter")?);
    let mut pairs = Vec::new();
    for lease in 0..leases {
        let name = format!("crashed-{lease}");
        namespace.add_free(&name, system.knows_blank_leases()).await?;
        pairs.push((first.lock(&name), second.lock(&name), name));
    }
    // The starts differ, so that the crash comes at another phase of each lease.
    let starts = pairs.iter_mut().enumerate().map(|(n, (holder, waiter, _))| {
        hold_and_wait(holder, waiter, system.lease.min(MAX_RENEW_INTERVAL).mul_f64(phase(n)))
    });
    try_join_all(starts).await?;
    sleep(system.lease / 10).await;
    first.kill().await?;
    let renewals: HashMap<_, _> = namespace.renewals_of(HOLDER).await?.into_iter().collect();

    let mut samples = Vec::new();
    for (mut holder, mut waiter, name) in pairs {
        let reported = holder.renewed().await;
        // A lock that was already taken over is left out.
        if let Some(renewed) = reported.or_else(|| renewals.get(&name).copied()) {
            let acquired = waiter.acquired().await?;
            let taken = acquired.checked_sub(renewed).context("another contender held the lock")?;
            samples.push(Duration::from_nanos(taken));
        }
    }
    ensure!(!samples.is_empty(), "no lock was held to the end");
    Ok(samples.into_iter().collect())
}

const HOLDER: &str = "holder";

/// Every system renews at least once in this time.
const MAX_RENEW_INTERVAL: Duration = Duration::from_secs(30);

async fn hold_and_wait(holder: &mut Lock, waiter: &mut Lock, start: Duration) -> Result<()> {
    sleep(start).await;
    holder.acquire().await?;
    holder.acquired().await?;
    waiter.acquire().await?;
    Ok(())
}

//! The handover that any lock could make at best: a release is written, the watch tells, a claim is written.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bench::Bench;
use crate::raw::{RawLease, Seen, until_held_by};
use crate::stats::Samples;

/// Two clients that hand one Lease to each other by plain requests.
pub(crate) struct Relay {
    holder: Party,
    successor: Party,
    lease: Seen,
}

struct Party {
    name: &'static str,
    lease: RawLease,
    events: BoxStream<'static, Result<Seen>>,
}

impl Party {
    async fn new(name: &'static str, lease: RawLease, since: &Seen) -> Result<Self> {
        let events = lease.watch(since).await?;
        Ok(Self { name, lease, events })
    }
}

impl Relay {
    pub(crate) async fn new(bench: &Bench<'_>, name: &str) -> Result<Self> {
        let (first, second) = (bench.raw(bench.client()?, name), bench.raw(bench.client()?, name));
        let lease = first.create("first").await?;
        let holder = Party::new("first", first, &lease).await?;
        let successor = Party::new("second", second, &lease).await?;
        let mut relay = Self { holder, successor, lease };
        for _ in 0..WARM_UP {
            relay.handover().await?;
        }
        Ok(relay)
    }

    /// From just before the release to the answer to the claim. Then the parties have changed places.
    pub(crate) async fn handover(&mut self) -> Result<Duration> {
        let Self { holder, successor, lease } = self;
        let start = Instant::now();
        let claim = async {
            let free = until_held_by(&mut successor.events, "").await?;
            let claimed = successor.lease.apply(&free, successor.name).await?;
            anyhow::Ok((claimed, start.elapsed()))
        };
        let (_, (claimed, taken)) = tokio::try_join!(holder.lease.apply(lease, ""), claim)?;
        // So that neither has old news in its watch.
        until_held_by(&mut holder.events, successor.name).await?;
        self.lease = claimed;
        std::mem::swap(&mut self.holder, &mut self.successor);
        Ok(taken)
    }
}

/// Connections are opened, and the API server has the Lease in its cache.
const WARM_UP: usize = 10;

/// The same while so many others watch the Lease, each with a client of its own, and do nothing but read.
pub(crate) async fn watched(bench: &Bench<'_>, name: &str, count: usize, watchers: usize) -> Result<Samples> {
    let mut relay = Relay::new(bench, name).await?;
    let mut watching = JoinSet::new();
    for _ in 0..watchers {
        let mut events = bench.raw(bench.client()?, name).watch(&relay.lease).await?;
        watching.spawn(async move { while events.next().await.is_some() {} });
    }
    let mut taken = Vec::new();
    for _ in 0..count {
        sleep(REST).await;
        taken.push(relay.handover().await?);
    }
    Ok(taken.into_iter().collect())
}

/// So that all have been told of the last handover.
const REST: Duration = Duration::from_millis(200);

/// A series of handovers.
pub(crate) async fn handovers(bench: &Bench<'_>, name: &str, count: usize) -> Result<Samples> {
    let mut relay = Relay::new(bench, name).await?;
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(relay.handover().await?);
    }
    Ok(taken.into_iter().collect())
}

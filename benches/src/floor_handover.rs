//! The fastest handover that a lock could make: a release write, its watch event, and a claim write.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bench::Bench;
use crate::raw::{RawLease, Seen, until_held_by};
use crate::stats::Samples;

/// Two clients that hand one Lease over to each other by plain requests.
pub(crate) struct FloorHandover {
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

impl FloorHandover {
    pub(crate) async fn new(bench: &Bench<'_>, name: &str) -> Result<Self> {
        let (first, second) = (bench.raw(bench.client()?, name), bench.raw(bench.client()?, name));
        let lease = first.create("first").await?;
        let holder = Party::new("first", first, &lease).await?;
        let successor = Party::new("second", second, &lease).await?;
        let mut floor_handover = Self { holder, successor, lease };
        for _ in 0..WARM_UP {
            floor_handover.handover().await?;
        }
        Ok(floor_handover)
    }

    /// The time from just before the release to the answer to the claim. After that, holder and successor are swapped.
    pub(crate) async fn handover(&mut self) -> Result<Duration> {
        let Self { holder, successor, lease } = self;
        let start = Instant::now();
        let claim = async {
            let free = until_held_by(&mut successor.events, "").await?;
            let claimed = successor.lease.apply(&free, successor.name).await?;
            anyhow::Ok((claimed, start.elapsed()))
        };
        let (_, (claimed, taken)) = tokio::try_join!(holder.lease.apply(lease, ""), claim)?;
        // So that neither watch has unread events.
        until_held_by(&mut holder.events, successor.name).await?;
        self.lease = claimed;
        std::mem::swap(&mut self.holder, &mut self.successor);
        Ok(taken)
    }
}

/// Handovers that are not measured: they open the connections, and bring the Lease into the cache of the API server.
const WARM_UP: usize = 10;

/// The same while `watchers` other clients watch the Lease.
pub(crate) async fn watched(bench: &Bench<'_>, name: &str, count: usize, watchers: usize) -> Result<Samples> {
    let mut floor_handover = FloorHandover::new(bench, name).await?;
    let mut watching = JoinSet::new();
    for _ in 0..watchers {
        let mut events = bench.raw(bench.client()?, name).watch(&floor_handover.lease).await?;
        watching.spawn(async move { while events.next().await.is_some() {} });
    }
    let mut taken = Vec::new();
    for _ in 0..count {
        sleep(PAUSE).await;
        taken.push(floor_handover.handover().await?);
    }
    Ok(taken.into_iter().collect())
}

/// So that all watchers have received the last handover.
const PAUSE: Duration = Duration::from_millis(200);

/// A series of handovers.
pub(crate) async fn handovers(bench: &Bench<'_>, name: &str, count: usize) -> Result<Samples> {
    let mut floor_handover = FloorHandover::new(bench, name).await?;
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(floor_handover.handover().await?);
    }
    Ok(taken.into_iter().collect())
}

//! Plain requests with both kinds of client: no lock that consists of requests can be faster.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::bench::Bench;
use crate::floor_handover::FloorHandover;
use crate::options::ClientKind;
use crate::raw::{RawLease, Seen};
use crate::stats::{Samples, Short};
use crate::table::Table;

const WHAT: [&str; 6] =
    ["GET", "SSA", "PUT", "create (PUT)", "write to watch event", "release, watch event, claim"];

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Table> {
    let mut lock_client = Prober::new(&bench.with(ClientKind::Lock), "lock").await?;
    let mut ordinary = Prober::new(&bench.with(ClientKind::Ordinary), "ordinary").await?;
    for round in 0..bench.options.count(50, 1_000) {
        lock_client.probe(round).await?;
        ordinary.probe(round).await?;
    }
    let mut table = Table::new(
        "floor: plain requests",
        ["", "n", "p50", "p99", "ordinary client p50", "ordinary client p99"],
    );
    for (what, (lock_client, ordinary)) in WHAT.iter().zip(lock_client.samples().zip(ordinary.samples())) {
        let [p50, p99, ordinary_p50, ordinary_p99] =
            [lock_client.p50(), lock_client.p99(), ordinary.p50(), ordinary.p99()].map(Short);
        table.row([what, &lock_client.len(), &p50, &p99, &ordinary_p50, &ordinary_p99]);
    }
    table.remark(
        "An ordinary client is the one from `kube::Client::try_from`. It does not set TCP_NODELAY, so the system may \
         delay the end of a request by 40 ms, until the last packet is acknowledged.",
    );
    Ok(table)
}

/// Sends each kind of request once per round.
struct Prober<'a> {
    bench: Bench<'a>,
    name: &'static str,
    lease: RawLease,
    last: Seen,
    /// The holders that the watch of another client has shown, and when.
    observed: UnboundedReceiver<(String, Instant)>,
    floor_handover: FloorHandover,
    samples: [Vec<Duration>; WHAT.len()],
}

impl<'a> Prober<'a> {
    async fn new(bench: &Bench<'a>, name: &'static str) -> Result<Self> {
        let bench = bench.with(bench.kind());
        let lease = bench.raw(bench.client()?, name);
        let last = lease.create("nobody").await?;
        let observed = watch_holders(&bench.raw(bench.client()?, name), &last).await?;
        let floor_handover = FloorHandover::new(&bench, &format!("{name}-handover")).await?;
        Ok(Self { bench, name, lease, last, observed, floor_handover, samples: Default::default() })
    }

    async fn probe(&mut self, round: usize) -> Result<()> {
        let holder = format!("holder-{round}");
        let new = self.bench.raw(self.lease.client(), &format!("{}-{round}", self.name));
        let (get, _) = timed(self.lease.get()).await?;
        let (apply, last) = timed(self.lease.apply(&self.last, "ssa")).await?;
        let (replace, last) = timed(self.lease.replace(&last, "put")).await?;
        let (create, _) = timed(new.create("somebody")).await?;

        let start = Instant::now();
        self.last = self.lease.apply(&last, &holder).await?;
        let delivery = self.delivered(&holder).await?.duration_since(start);
        let handover = self.floor_handover.handover().await?;

        let taken = [get, apply, replace, create, delivery, handover];
        self.samples.iter_mut().zip(taken).for_each(|(samples, taken)| samples.push(taken));
        Ok(())
    }

    async fn delivered(&mut self, holder: &str) -> Result<Instant> {
        loop {
            let (observed, at) = self.observed.recv().await.context("the watch ended")?;
            if observed == holder {
                return Ok(at);
            }
        }
    }

    fn samples(&self) -> impl Iterator<Item = Samples> {
        self.samples.iter().map(|samples| samples.iter().copied().collect())
    }
}

pub(crate) async fn timed<T, E>(request: impl Future<Output = Result<T, E>>) -> Result<(Duration, T), E> {
    let start = Instant::now();
    let answer = request.await?;
    Ok((start.elapsed(), answer))
}

async fn watch_holders(lease: &RawLease, since: &Seen) -> Result<UnboundedReceiver<(String, Instant)>> {
    let mut events = lease.watch(since).await?;
    let (sender, observed) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(seen)) = events.next().await {
            let _ = sender.send((seen.holder, Instant::now()));
        }
    });
    Ok(observed)
}

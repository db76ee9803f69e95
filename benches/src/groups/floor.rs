//! Plain requests, with both kinds of client: what nothing that is made of requests can undercut.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::bench::Bench;
use crate::options::ClientKind;
use crate::raw::{RawLease, Seen};
use crate::relay::Relay;
use crate::stats::{Samples, Short};
use crate::table::Table;

const WHAT: [&str; 6] =
    ["GET", "SSA", "PUT", "create (PUT)", "write to watch event", "release, watch event, claim"];

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Table> {
    let mut dedicated = Prober::new(&bench.with(ClientKind::Lock), "lock").await?;
    let mut ordinary = Prober::new(&bench.with(ClientKind::Ordinary), "ordinary").await?;
    for turn in 0..bench.options.count(50, 1_000) {
        dedicated.probe(turn).await?;
        ordinary.probe(turn).await?;
    }
    let mut table = Table::new(
        "floor: plain requests",
        ["", "n", "p50", "p99", "ordinary client p50", "ordinary client p99"],
    );
    for (what, (dedicated, ordinary)) in WHAT.iter().zip(dedicated.samples().zip(ordinary.samples())) {
        let [p50, p99, ordinary_p50, ordinary_p99] =
            [dedicated.p50(), dedicated.p99(), ordinary.p50(), ordinary.p99()].map(Short);
        table.row([what, &dedicated.len(), &p50, &p99, &ordinary_p50, &ordinary_p99]);
    }
    table.remark(
        "An ordinary client is what `kube::Client::try_from` makes. Without TCP_NODELAY, its system may hold the end \
         of a request back until the last packet was acknowledged, for 40 ms.",
    );
    Ok(table)
}

/// Makes each kind of request once a turn.
struct Prober<'a> {
    bench: Bench<'a>,
    name: &'static str,
    lease: RawLease,
    last: Seen,
    /// When somebody else's watch told of which holder.
    told: UnboundedReceiver<(String, Instant)>,
    relay: Relay,
    samples: [Vec<Duration>; WHAT.len()],
}

impl<'a> Prober<'a> {
    async fn new(bench: &Bench<'a>, name: &'static str) -> Result<Self> {
        let bench = bench.with(bench.kind());
        let lease = bench.raw(bench.client()?, name);
        let last = lease.create("nobody").await?;
        let told = tell(&bench.raw(bench.client()?, name), &last).await?;
        let relay = Relay::new(&bench, &format!("{name}-relay")).await?;
        Ok(Self { bench, name, lease, last, told, relay, samples: Default::default() })
    }

    async fn probe(&mut self, turn: usize) -> Result<()> {
        let holder = format!("holder-{turn}");
        let new = self.bench.raw(self.lease.client(), &format!("{}-{turn}", self.name));
        let (get, _) = timed(self.lease.get()).await?;
        let (apply, last) = timed(self.lease.apply(&self.last, "ssa")).await?;
        let (replace, last) = timed(self.lease.replace(&last, "put")).await?;
        let (create, _) = timed(new.create("somebody")).await?;

        let start = Instant::now();
        self.last = self.lease.apply(&last, &holder).await?;
        let delivery = self.delivered(&holder).await?.duration_since(start);
        let handover = self.relay.handover().await?;

        let taken = [get, apply, replace, create, delivery, handover];
        self.samples.iter_mut().zip(taken).for_each(|(samples, taken)| samples.push(taken));
        Ok(())
    }

    async fn delivered(&mut self, holder: &str) -> Result<Instant> {
        loop {
            let (told, at) = self.told.recv().await.context("the watch ended")?;
            if told == holder {
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

async fn tell(lease: &RawLease, since: &Seen) -> Result<UnboundedReceiver<(String, Instant)>> {
    let mut events = lease.watch(since).await?;
    let (tell, told) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(seen)) = events.next().await {
            let _ = tell.send((seen.holder, Instant::now()));
        }
    });
    Ok(told)
}

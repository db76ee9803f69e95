//! Contends for one Lease with another crate. It leads for a while, releases the Lease, pauses and contends again,
//! until its standard input closes.
//!
//! While it leads, it reports that to the register (`tests/support/register.rs`). On standard output it prints
//! `leading <hold>`, `left <hold>`, and what its [network] does with the orders from standard input.
//!
//! With `--by-order` it does none of this, but acquires and releases Leases by [orders] from standard input.

mod clock;
mod kube_coordinate;
mod kube_leader_election;
mod kube_lease_manager;
mod kubert;
mod network;
mod orders;
mod peer;
mod register;
mod turns;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use tokio::runtime::Builder;

use network::Network;
use peer::Peer;
use register::Register;

#[derive(Parser)]
struct Args {
    /// The crate to contend with
    peer: Kind,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    pace: Option<Pace>,
    /// Acquire and release Leases when standard input says so
    #[arg(long, required_unless_present = "Pace", conflicts_with = "Pace")]
    by_order: bool,
}

/// The settings of a contender that leads again and again.
#[derive(clap::Args)]
struct Pace {
    #[arg(long)]
    lease: String,
    /// Address of the register
    #[arg(long)]
    register: SocketAddr,
    /// How long to lead
    #[arg(long, value_parser = duration)]
    term: Duration,
    /// How long to pause after that
    #[arg(long, value_parser = duration)]
    rest: Duration,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    KubeCoordinate,
    KubeLeaderElection,
    KubeLeaseManager,
    Kubert,
}

/// The settings of all peers.
#[derive(clap::Args)]
struct Settings {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    namespace: String,
    #[arg(long)]
    identity: String,
    /// In whole seconds
    #[arg(long, value_parser = duration)]
    lease_duration: Duration,
    /// How long before the end of a lease to renew it, if that can be set: most crates use whole seconds
    #[arg(long, value_parser = duration, default_value = "1s")]
    grace: Duration,
    /// How long to wait after an error, if that can be set
    #[arg(long, value_parser = duration)]
    retry_period: Option<Duration>,
}

/// Parses a duration such as `15s` or `500ms`.
fn duration(text: &str) -> Result<Duration> {
    match text.strip_suffix("ms") {
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds.parse()?)),
        None => Ok(Duration::from_secs(text.strip_suffix('s').unwrap_or(text).parse()?)),
    }
}

fn main() -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(run(Args::parse()));
    // Does not wait for standard input, which may stay open.
    runtime.shutdown_background();
    ended
}

async fn run(Args { peer, settings, pace, .. }: Args) -> Result<()> {
    let network = &Network::default();
    let contender = Contender { identity: settings.identity.clone(), network, pace };
    match peer {
        Kind::KubeCoordinate => contender.run(kube_coordinate::connect(settings, network).await?).await,
        Kind::KubeLeaderElection => {
            contender.run(kube_leader_election::connect(settings, network).await?).await
        }
        Kind::KubeLeaseManager => contender.run(kube_lease_manager::connect(settings, network).await?).await,
        Kind::Kubert => contender.run(kubert::connect(settings, network).await?).await,
    }
}

struct Contender<'a> {
    identity: String,
    network: &'a Network,
    pace: Option<Pace>,
}

impl Contender<'_> {
    async fn run(self, peer: impl Peer) -> Result<()> {
        let Some(Pace { lease, register, term, rest }) = self.pace else { return orders::obey(peer).await };
        let register = Register::connect(register).await?;
        let turns = turns::Turns { identity: self.identity, lease, term, rest, register };
        tokio::select! {
            () = self.network.read_orders() => Ok(()),
            ended = turns.take(peer) => ended,
        }
    }
}

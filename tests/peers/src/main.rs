//! Contends for one Lease with another crate than ours: leads for a while, gives the Lease up, rests and contends again,
//! until its standard input closes.
//!
//! While it leads it says so to the register (`tests/support/register.rs`). On standard output it says `leading <hold>`,
//! `left <hold>`, and how it [obeys](network) the orders that it reads from standard input.

mod kube_leader_election;
mod kube_lease_manager;
mod kubert;
mod network;
mod peer;
mod register;
mod turns;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use network::Network;
use register::Register;

#[derive(Parser)]
struct Args {
    /// The crate to contend with
    peer: Kind,
    #[command(flatten)]
    settings: Settings,
    /// Address of the register
    #[arg(long)]
    register: SocketAddr,
    /// For how long to lead at a time
    #[arg(long, value_parser = milliseconds)]
    term: Duration,
    /// For how long to rest after that
    #[arg(long, value_parser = milliseconds)]
    rest: Duration,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    KubeLeaderElection,
    KubeLeaseManager,
    Kubert,
}

/// What every peer wants to know.
#[derive(clap::Args)]
struct Settings {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    namespace: String,
    #[arg(long)]
    lease: String,
    #[arg(long)]
    identity: String,
    /// In whole seconds
    #[arg(long, value_parser = seconds)]
    lease_duration: Duration,
    /// How long before the end of a lease to renew it, in whole seconds, where that can be set
    #[arg(long, value_parser = seconds, default_value = "1s")]
    grace: Duration,
}

fn milliseconds(text: &str) -> Result<Duration> {
    Ok(Duration::from_millis(text.strip_suffix("ms").unwrap_or(text).parse()?))
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::from_secs(text.strip_suffix('s').unwrap_or(text).parse()?))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Args { peer, settings, register, term, rest } = Args::parse();
    let register = Register::connect(register).await?;
    let network = Network::default();
    let turns = turns::Turns { identity: settings.identity.clone(), term, rest, register };
    tokio::select! {
        () = network.take_orders() => Ok(()),
        ended = async {
            match peer {
                Kind::KubeLeaderElection => turns.take(kube_leader_election::connect(settings, &network).await?).await,
                Kind::KubeLeaseManager => turns.take(kube_lease_manager::connect(settings, &network).await?).await,
                Kind::Kubert => turns.take(kubert::connect(settings, &network).await?).await,
            }
        } => ended,
    }
}

//! This crate as one of the contenders, in a process of its own like the others.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube_lease_lock::{LeaseGuard, LeaseLock};

use super::program::orders;
use super::program::peer::{Hold, Peer};
use crate::clients::client;
use crate::options::ClientKind;
use crate::recorder::Recorder;

/// The first argument of a contender process.
pub(crate) const CONTEND: &str = "contend-by-order";

pub(crate) fn is_requested() -> bool {
    env::args().nth(1).is_some_and(|argument| argument == CONTEND)
}

#[derive(Parser)]
struct Args {
    #[arg(value_parser = [CONTEND])]
    _what: String,
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    namespace: String,
    #[arg(long)]
    identity: String,
    #[arg(long, value_parser = seconds)]
    lease_duration: Duration,
    #[arg(long, value_enum, default_value = "ordinary")]
    client: ClientKind,
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::from_secs(text.strip_suffix('s').unwrap_or(text).parse()?))
}

/// Contends until standard input closes.
pub(crate) async fn contend() -> Result<()> {
    let args = Args::parse();
    let kubeconfig = Kubeconfig::read_from(&args.kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    orders::obey(KubeLeaseLock { client: client(args.client, config, &Recorder::default())?, args }).await
}

struct KubeLeaseLock {
    client: Client,
    args: Args,
}

impl Peer for KubeLeaseLock {
    type Hold = LeaseGuard;

    async fn acquire(&self, lease: &str) -> Result<LeaseGuard> {
        let Args { namespace, identity, lease_duration, .. } = &self.args;
        let builder = LeaseLock::builder(self.client.clone(), lease).namespace(namespace);
        Ok(builder.identity(identity).lease_duration(*lease_duration).build()?.acquire().await?)
    }
}

impl Hold for LeaseGuard {
    fn is_held(&self) -> bool {
        LeaseGuard::is_held(self)
    }

    async fn release(self) -> Result<()> {
        Ok(Self::release(self).await?)
    }
}

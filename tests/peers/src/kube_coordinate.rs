//! kube-coordinate. It never releases a Lease, but stops renewing it.

use std::time::Duration;

use anyhow::{Context, Result};
use kube_2::Client;
use kube_coordinate::{Config, LeaderElector, LeaderElectorHandle, LeaderState};
use tokio::sync::watch;

use crate::Settings;
use crate::network::{self, Network};
use crate::peer::{Hold, Peer};

pub struct Coordinate {
    client: Client,
    config: Config,
}

pub async fn connect(settings: Settings, network: &Network) -> Result<Coordinate> {
    let client = network::client!(kube_2, settings, network);
    let Settings { namespace, identity, lease_duration, grace, retry_period, .. } = settings;
    let config = Config::default()
        .namespace(&namespace)
        .identity(&identity)
        .manager("kube-coordinate")
        .lease_duration(lease_duration)
        .renew_deadline(lease_duration.saturating_sub(grace))
        .retry_period(retry_period.unwrap_or(Duration::from_secs(2)));
    Ok(Coordinate { client, config })
}

impl Peer for Coordinate {
    type Hold = Leadership;

    async fn acquire(&self, lease: &str) -> Result<Leadership> {
        let elector = LeaderElector::spawn(self.config.clone().name(lease), self.client.clone())?;
        let mut state = elector.state();
        state.wait_for(LeaderState::is_leader).await.context("the elector ended")?;
        Ok(Leadership { elector, state })
    }
}

pub struct Leadership {
    elector: LeaderElectorHandle,
    state: watch::Receiver<LeaderState>,
}

impl Hold for Leadership {
    fn is_held(&self) -> bool {
        self.state.borrow().is_leader()
    }

    async fn release(self) -> Result<()> {
        Ok(self.elector.shutdown().await?)
    }
}

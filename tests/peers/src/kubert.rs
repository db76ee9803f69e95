//! kubert. Each of its claims has an end in wall clock time.

use std::sync::Arc;

use anyhow::{Context, Result};
use kube_client_1::{Api, Client};
use kubert::lease::{Claim, ClaimParams, Error, LeaseManager};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Settings;
use crate::network::{self, Network};
use crate::peer::{Hold, Peer};

pub struct Kubert {
    client: Client,
    settings: Settings,
}

pub async fn connect(settings: Settings, network: &Network) -> Result<Kubert> {
    let client = network::client!(kube_client_1, settings, network);
    Ok(Kubert { client, settings })
}

impl Peer for Kubert {
    type Hold = Leadership;

    async fn acquire(&self, lease: &str) -> Result<Leadership> {
        let Settings { namespace, identity, lease_duration, grace, .. } = &self.settings;
        let params = ClaimParams { lease_duration: *lease_duration, renew_grace_period: *grace };
        let manager = LeaseManager::init(Api::namespaced(self.client.clone(), namespace), lease).await?;
        let (mut claim, task) = manager.spawn(identity, params).await?;
        claim.wait_for(|claim| claim.is_current_for(identity)).await.context("kubert's task ended")?;
        Ok(Leadership { identity: identity.clone(), claim, task })
    }
}

pub struct Leadership {
    identity: String,
    claim: watch::Receiver<Arc<Claim>>,
    task: JoinHandle<Result<(), Error>>,
}

impl Hold for Leadership {
    /// The channel alone is not enough: it shows a loss only after a request of kubert has succeeded.
    fn is_held(&self) -> bool {
        self.claim.borrow().is_current_for(&self.identity)
    }

    async fn release(self) -> Result<()> {
        drop(self.claim);
        self.task.await??;
        Ok(())
    }
}

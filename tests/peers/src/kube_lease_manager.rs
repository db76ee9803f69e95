//! kube-lease-manager. Only its channel says whether it leads.

use anyhow::{Context, Result};
use kube_5::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Settings;
use crate::network::{self, Network};
use crate::peer::{Hold, Peer};

pub struct Manager {
    client: Client,
    settings: Settings,
}

pub async fn connect(settings: Settings, network: &Network) -> Result<Manager> {
    let client = network::client!(kube_5, settings, network);
    Ok(Manager { client, settings })
}

impl Peer for Manager {
    type Hold = Leadership;

    /// Makes a new manager for each acquisition, because a manager that has led before says immediately that it leads.
    async fn acquire(&self, lease: &str) -> Result<Leadership> {
        let Settings { namespace, identity, lease_duration, grace, .. } = &self.settings;
        let manager = LeaseManagerBuilder::new(self.client.clone(), lease)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(lease_duration.as_secs())
            .with_grace(grace.as_secs())
            .build()
            .await?;
        let (mut leads, task) = manager.watch().await;
        leads.wait_for(|leads| *leads).await.context("the manager ended")?;
        Ok(Leadership { leads, task })
    }
}

pub struct Leadership {
    leads: watch::Receiver<bool>,
    task: JoinHandle<kube_lease_manager::Result<LeaseManager>>,
}

impl Hold for Leadership {
    fn is_held(&self) -> bool {
        *self.leads.borrow()
    }

    async fn release(self) -> Result<()> {
        drop(self.leads);
        self.task.await??;
        Ok(())
    }
}

//! kube-leader-election. It renews only when it is called, so this module calls it three times per lease duration.

use std::sync::Arc;

use anyhow::Result;
use kube_4::Client;
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Settings;
use crate::network::{self, Network};
use crate::peer::{Hold, Peer};

pub struct Election {
    client: Client,
    settings: Settings,
}

pub async fn connect(settings: Settings, network: &Network) -> Result<Election> {
    let client = network::client!(kube_4, settings, network);
    Ok(Election { client, settings })
}

impl Peer for Election {
    type Hold = Leadership;

    async fn acquire(&self, lease: &str) -> Result<Leadership> {
        let Settings { namespace, identity, lease_duration, .. } = &self.settings;
        let params = LeaseLockParams {
            lease_name: lease.to_owned(),
            holder_id: identity.clone(),
            lease_ttl: *lease_duration,
        };
        let lock = Arc::new(LeaseLock::new(self.client.clone(), namespace, params));
        let interval = *lease_duration / 3;
        while !ask(&lock).await? {
            sleep(interval).await;
        }
        let (leads, receiver) = watch::channel(true);
        let asked = lock.clone();
        let renewing = tokio::spawn(async move {
            while *leads.borrow() {
                sleep(interval).await;
                // An error does not mean that the leadership has ended.
                if let Ok(answer) = ask(&asked).await {
                    leads.send_replace(answer);
                }
            }
        });
        Ok(Leadership { lock, leads: receiver, renewing })
    }
}

async fn ask(lock: &LeaseLock) -> Result<bool, kube_leader_election::Error> {
    Ok(matches!(lock.try_acquire_or_renew().await?, LeaseLockResult::Acquired(_)))
}

pub struct Leadership {
    lock: Arc<LeaseLock>,
    leads: watch::Receiver<bool>,
    renewing: JoinHandle<()>,
}

impl Hold for Leadership {
    fn is_held(&self) -> bool {
        *self.leads.borrow()
    }

    async fn release(self) -> Result<()> {
        self.renewing.abort();
        Ok(self.lock.step_down().await?)
    }
}

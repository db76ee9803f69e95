//! kube-leader-election. It answers when it is asked, so we ask it three times per lease.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Settings;
use crate::network::{self, Network};
use crate::peer::{Hold, Peer};

pub struct Election {
    lock: Arc<LeaseLock>,
    interval: Duration,
}

pub async fn connect(settings: Settings, network: &Network) -> Result<Election> {
    let client = network::client!(kube_4, settings, network);
    let params = LeaseLockParams {
        lease_name: settings.lease,
        holder_id: settings.identity,
        lease_ttl: settings.lease_duration,
    };
    let lock = LeaseLock::new(client, &settings.namespace, params);
    Ok(Election { lock: lock.into(), interval: settings.lease_duration / 3 })
}

impl Peer for Election {
    type Hold = Leadership;

    async fn acquire(&self) -> Result<Leadership> {
        while !ask(&self.lock).await? {
            sleep(self.interval).await;
        }
        let (leads, receiver) = watch::channel(true);
        let (lock, interval) = (self.lock.clone(), self.interval);
        let renewing = tokio::spawn(async move {
            while *leads.borrow() {
                sleep(interval).await;
                // An error says nothing about who leads.
                if let Ok(answer) = ask(&lock).await {
                    leads.send_replace(answer);
                }
            }
        });
        Ok(Leadership { lock: self.lock.clone(), leads: receiver, renewing })
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

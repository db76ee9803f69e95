//! Plain requests about a Lease, which any lock has to send.

use anyhow::{Context, Result, bail};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};

const MANAGER: &str = "floor";

pub(crate) struct RawLease {
    api: Api<Lease>,
    name: String,
}

/// A Lease, as an answer or an event showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    uid: String,
    version: String,
    pub(crate) holder: String,
}

impl RawLease {
    pub(crate) fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned() }
    }

    pub(crate) fn client(&self) -> Client {
        self.api.clone().into_client()
    }

    pub(crate) async fn get(&self) -> Result<Seen> {
        seen(&self.api.get(&self.name).await?)
    }

    /// Reads a Lease that does not exist.
    pub(crate) async fn get_none(&self) -> Result<()> {
        match self.api.get_opt(&self.name).await? {
            None => Ok(()),
            Some(_) => bail!("there is a Lease {}", self.name),
        }
    }

    /// Creates the Lease, by a PUT without a version.
    pub(crate) async fn create(&self, holder: &str) -> Result<Seen> {
        seen(&self.api.replace(&self.name, &params(), &self.lease(None, holder)).await?)
    }

    /// Replaces the Lease, by a PUT with this version.
    pub(crate) async fn replace(&self, on: &Seen, holder: &str) -> Result<Seen> {
        seen(&self.api.replace(&self.name, &params(), &self.lease(Some(on), holder)).await?)
    }

    /// Writes as the lock does: by Server-Side Apply that is conditional on the uid and the version.
    pub(crate) async fn apply(&self, on: &Seen, holder: &str) -> Result<Seen> {
        let (params, lease) = (PatchParams::apply(MANAGER).force(), self.lease(Some(on), holder));
        seen(&self.api.patch(&self.name, &params, &Patch::Apply(&lease)).await?)
    }

    /// The Lease after each change from `since` on.
    pub(crate) async fn watch(&self, since: &Seen) -> Result<BoxStream<'static, Result<Seen>>> {
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.name));
        let events = self.api.watch(&params, &since.version).await?.map_err(anyhow::Error::from);
        let seen = events.try_filter_map(async |event| match event {
            WatchEvent::Added(lease) | WatchEvent::Modified(lease) => seen(&lease).map(Some),
            WatchEvent::Bookmark(_) => Ok(None),
            other => bail!("the watch sent {other:?}"),
        });
        Ok(seen.boxed())
    }

    fn lease(&self, on: Option<&Seen>, holder: &str) -> Lease {
        let now = MicroTime(Timestamp::now());
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                uid: on.map(|on| on.uid.clone()),
                resource_version: on.map(|on| on.version.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                lease_transitions: Some(1),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// Waits for the Lease to have this holder.
pub(crate) async fn until_held_by(
    events: &mut BoxStream<'static, Result<Seen>>,
    holder: &str,
) -> Result<Seen> {
    loop {
        let seen = events.next().await.context("the watch ended")??;
        if seen.holder == holder {
            return Ok(seen);
        }
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

fn seen(lease: &Lease) -> Result<Seen> {
    Ok(Seen {
        uid: lease.uid().context("a Lease without uid")?,
        version: lease.resource_version().context("a Lease without version")?,
        holder: lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
    })
}

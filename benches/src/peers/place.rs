//! A namespace with Leases to contend for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use crate::support::{ControlPlane, now};

pub(crate) struct Place {
    kubeconfig: PathBuf,
    etcd: Option<String>,
    namespace: String,
    leases: Api<Lease>,
}

impl Place {
    pub(crate) async fn new(plane: &ControlPlane) -> Self {
        let namespace = plane.fresh_namespace().await;
        Self {
            kubeconfig: plane.kubeconfig().to_owned(),
            etcd: plane.etcd_url(),
            leases: Api::namespaced(plane.client().await, &namespace),
            namespace,
        }
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The URL for clients of etcd.
    pub(crate) fn etcd(&self) -> Result<&str> {
        self.etcd.as_deref().context("the etcd of a foreign cluster is out of reach")
    }

    /// Makes a Lease that is free, in a form that all take for free: what client-go leaves, some time ago.
    pub(crate) async fn add_free(&self, name: &str) -> Result<()> {
        let ago = Timestamp::now() - Duration::from_secs(60);
        let time = ago.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let lease = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": {
                "holderIdentity": "",
                "leaseDurationSeconds": 1,
                "leaseTransitions": 1,
                "acquireTime": time,
                "renewTime": time,
            }
        }))?;
        self.leases.create(&PostParams::default(), &lease).await?;
        Ok(())
    }

    /// When which Lease of this holder was last renewed, in nanoseconds of `CLOCK_MONOTONIC`. All processes here
    /// have one wall clock.
    pub(crate) async fn renewals_of(&self, identity: &str) -> Result<Vec<(String, u64)>> {
        let leases = self.leases.list(&ListParams::default()).await?;
        let (wall, now) = (Timestamp::now(), now());
        let renewal = |lease: Lease| {
            let name = lease.name_any();
            let spec = lease.spec.filter(|spec| {
                // Some add to it.
                spec.holder_identity.as_ref().is_some_and(|holder| holder.starts_with(identity))
            })?;
            let ago = wall.duration_since(spec.renew_time?.0).as_nanos();
            Some((name, now.checked_sub(u64::try_from(ago).ok()?)?))
        };
        Ok(leases.items.into_iter().filter_map(renewal).collect())
    }
}

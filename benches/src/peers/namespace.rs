//! A namespace with Leases to contend for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};

use crate::support::{ControlPlane, now};

pub(crate) struct Namespace {
    kubeconfig: PathBuf,
    etcd: Option<String>,
    name: String,
    leases: Api<Lease>,
}

impl Namespace {
    pub(crate) async fn new(plane: &ControlPlane) -> Self {
        let name = plane.fresh_namespace().await;
        Self {
            kubeconfig: plane.kubeconfig().to_owned(),
            etcd: plane.etcd_url(),
            leases: Api::namespaced(plane.client().await, &name),
            name,
        }
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The URL for clients of etcd.
    pub(crate) fn etcd(&self) -> Result<&str> {
        self.etcd.as_deref().context("the etcd of a foreign cluster cannot be reached")
    }

    /// Creates a free Lease: one with an empty spec, or one that client-go released some time ago.
    pub(crate) async fn add_free(&self, name: &str, blank: bool) -> Result<()> {
        let spec = if blank { LeaseSpec::default() } else { released() };
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        self.leases.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await?;
        Ok(())
    }

    /// The Leases of this holder, and the time of their last renewal in nanoseconds of `CLOCK_MONOTONIC`. All processes
    /// here share one wall clock.
    pub(crate) async fn renewals_of(&self, identity: &str) -> Result<Vec<(String, u64)>> {
        let leases = self.leases.list(&ListParams::default()).await?;
        let (wall, now) = (Timestamp::now(), now());
        let renewal = |lease: Lease| {
            let name = lease.name_any();
            let spec = lease.spec.filter(|spec| {
                // Some libraries add a suffix to the identity.
                spec.holder_identity.as_ref().is_some_and(|holder| holder.starts_with(identity))
            })?;
            let ago = wall.duration_since(spec.renew_time?.0).as_nanos();
            Some((name, now.checked_sub(u64::try_from(ago).ok()?)?))
        };
        Ok(leases.items.into_iter().filter_map(renewal).collect())
    }
}

fn released() -> LeaseSpec {
    let ago = Some(MicroTime(Timestamp::now() - Duration::from_secs(60)));
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        lease_transitions: Some(1),
        acquire_time: ago.clone(),
        renew_time: ago,
        ..LeaseSpec::default()
    }
}

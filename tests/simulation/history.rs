//! Every state that the Lease ever had, recorded by a watch without faults.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, WatchEvent, WatchParams};
use kube_lease_lock::testing::LeaseServer;
use tokio::time::Instant;

use crate::trace::Trace;

/// One state, from `at` on.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) at: Instant,
    pub(crate) revision: u64,
    /// The revision that it replaced; `None` if there was no Lease.
    pub(crate) replaced: Option<u64>,
    /// `None`: deleted.
    pub(crate) lease: Option<Record>,
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) uid: String,
    /// Empty if nobody holds it.
    pub(crate) holder: String,
    /// `None` if the Lease does not say.
    pub(crate) duration: Option<Duration>,
    /// In the format of the API.
    pub(crate) renewed: String,
    /// In whole seconds.
    pub(crate) second: Option<i64>,
}

#[derive(Clone, Default)]
pub(crate) struct History(Arc<Mutex<Vec<State>>>);

impl History {
    pub(crate) fn follow(server: &LeaseServer, trace: Trace) -> Self {
        let history = Self::default();
        let (kept, leases) = (history.0.clone(), Api::default_namespaced(server.connect().client()));
        let (mut revision, mut replaced) = (server.revision(), None);
        tokio::spawn(async move {
            loop {
                let watch =
                    leases.watch(&WatchParams::default().disable_bookmarks(), &revision.to_string()).await;
                let mut events = watch.unwrap().boxed();
                while let Some(event) = events.next().await {
                    let state = State::from_event(&event.unwrap(), replaced);
                    trace.log("Lease", || state.to_string());
                    revision = state.revision;
                    replaced = state.lease.as_ref().map(|_| revision);
                    kept.lock().unwrap().push(state);
                }
            }
        });
        history
    }

    pub(crate) fn states(&self) -> Vec<State> {
        self.0.lock().unwrap().clone()
    }
}

impl State {
    fn from_event(event: &WatchEvent<Lease>, replaced: Option<u64>) -> Self {
        let (lease, exists) = match event {
            WatchEvent::Added(lease) | WatchEvent::Modified(lease) => (lease, true),
            WatchEvent::Deleted(lease) => (lease, false),
            other => panic!("the history got an unexpected event: {other:?}"),
        };
        Self {
            at: Instant::now(),
            revision: lease.metadata.resource_version.as_deref().unwrap().parse().unwrap(),
            replaced,
            lease: exists.then(|| Record::from_lease(lease)),
            labels: lease.metadata.labels.clone().unwrap_or_default(),
        }
    }

    pub(crate) fn holder(&self) -> &str {
        self.lease.as_ref().map_or("", |lease| &lease.holder)
    }
}

impl Record {
    fn from_lease(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            uid: lease.metadata.uid.clone().unwrap_or_default(),
            holder: spec.holder_identity.unwrap_or_default(),
            duration: seconds.map(Duration::from_secs),
            second: spec.renew_time.as_ref().map(|time| time.0.as_second()),
            renewed: serde_json::to_string(&spec.renew_time).unwrap(),
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.lease {
            None => write!(f, "{} deleted", self.revision),
            Some(Record { holder, duration, renewed, .. }) => {
                write!(f, "{} held by {holder:?} for {duration:?}, renewed {renewed}", self.revision)
            }
        }
    }
}

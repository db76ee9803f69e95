//! Every state that the Lease ever had, recorded by a watch without faults.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Resource;
use kube::api::{Request, WatchEvent, WatchParams};
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

/// What the history reads of a Lease: the rest takes more time than all of this.
#[derive(Clone, Debug, serde::Deserialize)]
struct StoredLease {
    metadata: Metadata,
    spec: Option<LeaseSpec>,
}

#[derive(Clone, Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Default)]
pub(crate) struct History(Arc<Mutex<Vec<State>>>);

impl History {
    pub(crate) fn follow(server: &LeaseServer, trace: Trace) -> Self {
        let history = Self::default();
        let (kept, client) = (history.0.clone(), server.connect().client());
        let leases = Request::new(Lease::url_path(&(), Some("default")));
        let (mut revision, mut replaced) = (server.revision(), None);
        tokio::spawn(async move {
            loop {
                let params = WatchParams::default().disable_bookmarks();
                let watch = leases.watch(&params, &revision.to_string()).unwrap();
                let mut events = client.request_events(watch).await.unwrap().boxed();
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
    fn from_event(event: &WatchEvent<StoredLease>, replaced: Option<u64>) -> Self {
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
    fn from_lease(lease: &StoredLease) -> Self {
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

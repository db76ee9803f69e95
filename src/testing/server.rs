//! The server, and the operations of its administrator.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde::Deserialize;
use serde_json::{Value, json};

use super::clock;
use super::link::Link;
use super::ownership;
use super::status::API_VERSION;
use super::store::{Key, Phase, State, Store};

/// The manager of the writes of the administrator, in `managedFields`.
const ADMINISTRATOR: &str = "administrator";

/// A Kubernetes API server for Leases only, within this process.
///
/// Clients connect to it over a [`Link`]. The methods here are those of an administrator. They send no request, take
/// effect at once, and meet no fault and no check.
///
/// Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct LeaseServer {
    store: Arc<Store>,
}

impl LeaseServer {
    /// An empty server with the namespace `default`.
    #[must_use]
    pub fn new() -> Self {
        let store = Arc::new(Store::new());
        Self { store }
    }

    /// A new link, for one client. Its default namespace is `default`.
    #[must_use]
    pub fn connect(&self) -> Link {
        self.connect_in("default")
    }

    /// A new link with another default namespace.
    #[must_use]
    pub fn connect_in(&self, namespace: impl Into<String>) -> Link {
        Link::new(self.store.clone(), namespace.into())
    }

    /// The Lease as it is now.
    #[must_use]
    pub fn lease(&self, namespace: &str, name: &str) -> Option<Lease> {
        let stored = self.store.read(|state| state.lease(namespace, name).cloned())?;
        Lease::deserialize(&*stored).ok()
    }

    /// Creates the Lease or replaces it, whatever its version. Creates a missing namespace too. The uid and the
    /// creation time of an existing Lease stay. Returns the stored Lease.
    ///
    /// Nothing is validated, so that tests can create invalid Leases. A Lease without a namespace goes to `default`.
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn put(&self, lease: Lease) -> Lease {
        let Ok(object) = serde_json::to_value(&lease) else {
            return lease;
        };
        let text = |field: &str| object["metadata"][field].as_str().map(ToOwned::to_owned);
        let namespace = text("namespace").unwrap_or_else(|| "default".to_owned());
        let key = (namespace, text("name").unwrap_or_default());
        let stored = self.store.write(|state| {
            if !state.namespaces.contains_key(&key.0) {
                open_namespace(state, &key.0);
            }
            replace(state, key, object)
        });
        Lease::deserialize(&*stored).unwrap_or(lease)
    }

    /// Changes the Lease by `edit`, as another writer would, and returns the stored Lease. Without a change there is no
    /// new version. Returns `None` if there is no such Lease.
    pub fn edit(&self, namespace: &str, name: &str, edit: impl FnOnce(&mut Lease)) -> Option<Lease> {
        let stored = self.store.write(|state| {
            let live = state.lease(namespace, name)?.clone();
            let mut lease = Lease::deserialize(&*live).ok()?;
            let before = serde_json::to_value(&lease).ok()?;
            edit(&mut lease);
            let after = serde_json::to_value(&lease).ok()?;
            // This keeps fields that `Lease` does not have in this version of k8s-openapi.
            let mut object = Value::clone(&live);
            copy_changes(&mut object, &before, &after);
            Some(replace(state, (namespace.to_owned(), name.to_owned()), object))
        })?;
        Lease::deserialize(&*stored).ok()
    }

    /// Makes `holder` the holder of the Lease, as if another client had claimed it now, and returns the stored Lease.
    /// Creates a missing Lease, which expires after 15 seconds; that of an existing one stays. Nobody renews or releases it.
    ///
    /// A lock that holds the Lease loses it:
    ///
    /// ```
    /// use kube_lease_lock::testing::LeaseServer;
    /// use kube_lease_lock::{LeaseLock, LossReason};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = LeaseServer::new();
    /// let lock = LeaseLock::new(server.connect().client(), "a-lock")?;
    /// let guard = lock.acquire().await?;
    ///
    /// server.take("default", "a-lock", "somebody else");
    /// assert!(matches!(guard.lost().await, LossReason::TakenOver { .. }));
    /// # Ok(())
    /// # }
    /// ```
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn take(&self, namespace: &str, name: &str, holder: &str) -> Lease {
        let mut lease = self.lease(namespace, name).unwrap_or_default();
        lease.metadata.namespace = Some(namespace.to_owned());
        lease.metadata.name = Some(name.to_owned());
        let now = MicroTime(clock::now());
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(holder.to_owned());
        spec.lease_duration_seconds.get_or_insert(15);
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |transitions| transitions + 1));
        (spec.acquire_time, spec.renew_time) = (Some(now.clone()), Some(now));
        self.put(lease)
    }

    /// Deletes the Lease, even if it has finalizers. Returns whether there was one.
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn delete(&self, namespace: &str, name: &str) -> bool {
        self.store.write(|state| {
            let exists = state.lease(namespace, name).is_some();
            if exists {
                state.commit((namespace.to_owned(), name.to_owned()), None);
            }
            exists
        })
    }

    /// Creates a namespace.
    pub fn create_namespace(&self, namespace: impl Into<String>) {
        let namespace = namespace.into();
        self.store.write(|state| open_namespace(state, &namespace));
    }

    /// Begins the deletion of a namespace. Its Leases stay and can be updated, but the server refuses new ones.
    pub fn terminate_namespace(&self, namespace: &str) {
        self.store.write(|state| {
            if let Some(phase) = state.namespaces.get_mut(namespace) {
                *phase = Phase::Terminating;
                state.tick();
            }
        });
    }

    /// Deletes a namespace and every Lease in it.
    pub fn delete_namespace(&self, namespace: &str) {
        self.store.write(|state| {
            let keys = state.leases.keys().filter(|(ns, _)| ns == namespace);
            for key in keys.cloned().collect::<Vec<_>>() {
                state.commit(key, None);
            }
            if state.namespaces.remove(namespace).is_some() {
                state.tick();
            }
        });
    }

    /// The revision of the last write. Every later write gets a greater `resourceVersion`.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.store.read(|state| state.head.revision)
    }

    /// Forgets all older revisions. A watch that starts from one of them gets the error that it expired (410). Open
    /// watches go on.
    #[doc(hidden)]
    pub fn compact(&self) {
        self.store.write(State::compact);
    }

    /// Restores the Leases as they were at `revision`, as from a backup of etcd. The revision goes back too, so that
    /// later writes repeat numbers. Open watches end. Namespaces stay as they are.
    #[doc(hidden)]
    pub fn restore(&self, revision: u64) {
        self.store.write(|state| state.restore(revision));
    }
}

impl Default for LeaseServer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LeaseServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = self.revision();
        f.debug_struct("LeaseServer").field("revision", &revision).finish_non_exhaustive()
    }
}

fn open_namespace(state: &mut State, namespace: &str) {
    state.namespaces.insert(namespace.to_owned(), Phase::Active);
    state.tick();
}

/// Stores `object` under `key`. The metadata that only the server sets stays as it is.
fn replace(state: &mut State, key: Key, mut object: Value) -> Arc<Value> {
    let live = state.leases.get(&key).cloned();
    object["apiVersion"] = API_VERSION.into();
    object["kind"] = "Lease".into();
    let metadata = &mut object["metadata"];
    metadata["namespace"] = key.0.as_str().into();
    if let Some(live) = &live {
        for field in ["uid", "creationTimestamp", "resourceVersion"] {
            metadata[field] = live["metadata"][field].clone();
        }
    } else {
        metadata["uid"] = state.next_uid().into();
        metadata["creationTimestamp"] = clock::seconds().into();
    }
    if !object["spec"].is_object() {
        object["spec"] = json!({});
    }
    let before = live.as_deref().unwrap_or(&Value::Null);
    ownership::update(before, &mut object, ADMINISTRATOR);
    match live {
        Some(live) if *live == object => live,
        _ => state.commit(key, Some(object)),
    }
}

/// Copies the difference between two views of `target` to it.
fn copy_changes(target: &mut Value, before: &Value, after: &Value) {
    let (Value::Object(fields), Value::Object(old), Value::Object(new)) = (&mut *target, before, after)
    else {
        if before != after {
            *target = after.clone();
        }
        return;
    };
    for gone in old.keys().filter(|name| !new.contains_key(*name)) {
        fields.remove(gone);
    }
    for (name, after) in new {
        let before = old.get(name).unwrap_or(&Value::Null);
        copy_changes(fields.entry(name.clone()).or_insert(Value::Null), before, after);
    }
}

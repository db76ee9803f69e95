//! A lock on an API server in this process, and what its tests do to both.

#![allow(dead_code, reason = "no test binary uses all of it")]

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube_lease_lock::testing::{LeaseServer, Link};
use kube_lease_lock::{LeaseGuard, LeaseLock, LeaseLockBuilder};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const NAMESPACE: &str = "default";
pub(crate) const NAME: &str = "a-lock";

/// The defaults of a lock.
pub(crate) const LEASE_DURATION: Duration = Duration::from_secs(15);
pub(crate) const RENEW_DEADLINE: Duration = Duration::from_secs(10);
pub(crate) const RENEW_INTERVAL: Duration = Duration::from_secs(5);

/// The longest that anything takes for which a test waits, also on a slow machine.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// A server, and a lock with a link of its own to it.
pub(crate) struct Fixture {
    pub(crate) server: LeaseServer,
    pub(crate) link: Link,
    pub(crate) lock: LeaseLock,
}

impl Fixture {
    /// The lock has the default settings.
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(settings: impl FnOnce(LeaseLockBuilder) -> LeaseLockBuilder) -> Self {
        let server = LeaseServer::new();
        let (link, builder) = builder(&server);
        let lock = settings(builder).build().unwrap();
        Self { server, link, lock }
    }

    /// A second lock, with a link of its own.
    pub(crate) fn other_lock(&self) -> LeaseLock {
        connect(&self.server).1
    }
}

/// A lock with the default settings, and its link.
pub(crate) fn connect(server: &LeaseServer) -> (Link, LeaseLock) {
    let (link, builder) = builder(server);
    (link, builder.build().unwrap())
}

pub(crate) fn builder(server: &LeaseServer) -> (Link, LeaseLockBuilder) {
    let link = server.connect();
    let builder = on_link(&link);
    (link, builder)
}

pub(crate) fn on_link(link: &Link) -> LeaseLockBuilder {
    LeaseLock::builder(link.client(), NAME).identity("tester")
}

/// Acquires the lock, or fails the test.
pub(crate) async fn acquire(lock: &LeaseLock) -> LeaseGuard {
    let acquired = timeout(STEP_TIMEOUT, lock.acquire()).await;
    acquired.expect("the lock should have been acquired by now").unwrap()
}

/// A task that acquires the lock, however long that takes.
pub(crate) fn spawn_acquire(lock: &LeaseLock) -> JoinHandle<LeaseGuard> {
    let lock = lock.clone();
    tokio::spawn(async move { lock.acquire().await.unwrap() })
}

/// Leaves a Lease that exists and that nobody holds.
pub(crate) async fn create_free_lease(server: &LeaseServer) {
    acquire(&connect(server).1).await.release().await.unwrap();
}

/// Stores a Lease with this spec, as another client would.
pub(crate) fn put_lease(server: &LeaseServer, spec: &Value) -> Lease {
    let lease = json!({ "metadata": { "name": NAME, "namespace": NAMESPACE }, "spec": spec });
    server.put(serde_json::from_value(lease).unwrap())
}

pub(crate) fn holder(server: &LeaseServer) -> Option<String> {
    server.lease(NAMESPACE, NAME)?.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

/// Another client changes the holder.
pub(crate) fn set_holder(server: &LeaseServer, holder: &str) {
    server.edit(NAMESPACE, NAME, |lease| {
        lease.spec.as_mut().unwrap().holder_identity = Some(holder.to_owned());
    });
}

pub(crate) fn delete_lease(server: &LeaseServer) {
    assert!(server.delete(NAMESPACE, NAME), "there is no Lease to delete");
}

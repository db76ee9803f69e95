//! Each test has a Lease in a namespace of its own, a register, and a client of an administrator.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use kube_lease_lock::{LeaseGuard, LeaseLock};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{ControlPlane, Library, Neighbour, NeighbourOptions, Pace, Register, Verdict};

pub(crate) const NAME: &str = "a-lease";
/// Long enough for anything that happens immediately, even on a slow machine.
pub(crate) const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    plane: &'static ControlPlane,
    namespace: String,
    register: Register,
    admin: Api<Lease>,
}

impl Fixture {
    /// Creates the Lease, which is free: kubert does not create it.
    pub(crate) async fn new() -> Self {
        let plane = ControlPlane::shared().await;
        let namespace = plane.fresh_namespace().await;
        let admin: Api<Lease> = Api::namespaced(plane.client().await, &namespace);
        let lease = serde_json::from_value(json!({ "metadata": { "name": NAME }, "spec": {} })).unwrap();
        admin.create(&PostParams::default(), &lease).await.unwrap();
        Self { plane, namespace, register: Register::start().await, admin }
    }

    /// One of our locks, with a client of its own.
    pub(crate) async fn lock(&self, lease_duration: Duration) -> LeaseLock {
        let builder = LeaseLock::builder(self.plane.client().await, NAME).namespace(&self.namespace);
        builder.identity("ours").lease_duration(lease_duration).build().unwrap()
    }

    pub(crate) async fn neighbour(&self, library: Library, identity: &str, pace: Pace) -> Neighbour {
        let options = NeighbourOptions {
            kubeconfig: self.plane.kubeconfig(),
            namespace: &self.namespace,
            lease: NAME,
            register: self.register.address(),
            pace,
        };
        Neighbour::start(library, identity, &options).await
    }

    pub(crate) fn register(&self) -> &Register {
        &self.register
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.register.verdict()
    }

    /// How often this contender has held the Lease.
    pub(crate) fn count_holds(&self, identity: &str) -> usize {
        let is_own = |name: &str| name.rsplit_once('#').is_some_and(|(contender, _)| contender == identity);
        self.verdict().holds.iter().filter(|hold| is_own(&hold.name)).count()
    }

    /// How long this hold lasted after that time, which is in nanoseconds of the register's clock.
    pub(crate) fn duration_after(&self, name: &str, at: u64) -> Duration {
        let verdict = self.verdict();
        let hold = verdict.holds.iter().find(|hold| hold.name == name).expect("the hold");
        Duration::from_nanos(hold.last.saturating_sub(at))
    }

    /// The spec of the Lease, without the fields that are absent.
    pub(crate) async fn spec(&self) -> Value {
        serde_json::to_value(self.admin.get(NAME).await.unwrap().spec).unwrap()
    }

    /// Waits until this contender does not hold the Lease, and returns the spec.
    pub(crate) async fn spec_when_not_held_by(&self, identity: &str) -> Value {
        loop {
            let spec = self.spec().await;
            if spec["holderIdentity"] != identity {
                return spec;
            }
            sleep(millis(10)).await;
        }
    }
}

/// Acquires the lock, or fails the test.
pub(crate) async fn acquire(lock: &LeaseLock) -> LeaseGuard {
    let acquired = tokio::time::timeout(EVENT_TIMEOUT, lock.acquire()).await;
    acquired.expect("the lock should have been acquired by now").unwrap()
}

pub(crate) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

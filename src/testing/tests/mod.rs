//! Tests of the server through its clients.

mod cut;
mod faults;
mod others;
mod owners;
mod server;
mod unsupported;
mod watches;
mod writes;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Api, Error};
use serde_json::{Value, json};

use super::{LeaseServer, Link};

/// A server, and one client of it.
struct Fixture {
    server: LeaseServer,
    link: Link,
    leases: Api<Lease>,
}

impl Fixture {
    fn new() -> Self {
        let server = LeaseServer::new();
        let link = server.connect();
        let leases = Api::default_namespaced(link.client());
        Self { server, link, leases }
    }

    /// The same with a Lease "x" that "a" holds.
    fn with_lease() -> Self {
        let fixture = Self::new();
        fixture.server.put(lease("x", json!({ "holderIdentity": "a" })));
        fixture
    }

    fn x(&self) -> Lease {
        self.server.lease("default", "x").unwrap()
    }

    fn holder(&self) -> Option<String> {
        self.server.lease("default", "x")?.spec?.holder_identity
    }

    async fn put(&self, lease: &Lease) -> Result<Lease, Error> {
        self.leases.replace("x", &PostParams::default(), lease).await
    }

    async fn post(&self, lease: &Lease) -> Result<Lease, Error> {
        self.leases.create(&PostParams::default(), lease).await
    }

    async fn apply(&self, config: &Value) -> Result<Lease, Error> {
        let params = PatchParams::apply("lock").force();
        self.leases.patch("x", &params, &Patch::Apply(config)).await
    }

    async fn apply_as(&self, manager: &str, spec: Value) -> Result<Lease, Error> {
        let params = PatchParams::apply(manager);
        let config = config(json!({ "name": "x" }), spec);
        self.leases.patch("x", &params, &Patch::Apply(&config)).await
    }

    async fn merge(&self, patch: &Value) -> Result<Lease, Error> {
        let params = PatchParams::default();
        self.leases.patch("x", &params, &Patch::Merge(patch)).await
    }

    /// The HTTP status of the last request.
    fn last_status(&self) -> Option<u16> {
        self.link.requests().last().and_then(|request| request.status)
    }
}

fn lease(name: &str, spec: Value) -> Lease {
    serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap()
}

fn config(metadata: Value, spec: Value) -> Value {
    json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec })
}

fn version(lease: &Lease) -> u64 {
    lease.metadata.resource_version.as_deref().unwrap().parse().unwrap()
}

/// The `Status` with which the server refused a request.
fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Status {
    match result {
        Err(Error::Api(status)) => *status,
        other => panic!("not refused: {other:?}"),
    }
}

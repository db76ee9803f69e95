//! The API server of one test, in-process or real, with a namespace and an administrator for that test alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube_lease_lock::testing::LeaseServer;
use kube_lease_lock::{LeaseLock, LeaseLockBuilder};
use serde_json::{Value, json};

use crate::fixture::{NAME, STEP_TIMEOUT};
use crate::support::ControlPlane;

/// Short, because the tests against a real server run in real time.
pub(crate) const LEASE_DURATION: Duration = Duration::from_secs(3);

pub(crate) struct Cluster {
    server: Server,
    pub(crate) namespace: String,
    admin: Api<Lease>,
}

enum Server {
    InProcess(LeaseServer),
    Real(Box<kube::Config>),
}

impl Cluster {
    pub(crate) fn in_process() -> Self {
        let server = LeaseServer::new();
        let admin = Api::namespaced(server.connect().client(), "default");
        Self { server: Server::InProcess(server), namespace: "default".into(), admin }
    }

    pub(crate) async fn real() -> Self {
        let plane = ControlPlane::shared().await;
        let namespace = plane.fresh_namespace().await;
        let config = plane.config().await;
        let admin = Api::namespaced(Client::try_from(kube::Config::clone(&config)).unwrap(), &namespace);
        Self { server: Server::Real(config.into()), namespace, admin }
    }

    /// A client with connections of its own.
    pub(crate) fn client(&self) -> Client {
        match &self.server {
            Server::InProcess(server) => server.connect().client(),
            Server::Real(config) => Client::try_from(kube::Config::clone(config)).unwrap(),
        }
    }

    /// A lock with a client of its own.
    pub(crate) fn lock(&self) -> LeaseLock {
        self.builder(self.client()).build().unwrap()
    }

    /// A lock whose requests the tap counts and can cut off.
    pub(crate) fn tapped_lock(&self) -> (LeaseLock, Tap) {
        let (client, tap) = self.tap(self.client());
        (self.builder(client).build().unwrap(), tap)
    }

    pub(crate) fn builder(&self, client: Client) -> LeaseLockBuilder {
        LeaseLock::builder(client, NAME)
            .namespace(&self.namespace)
            .identity("tester")
            .lease_duration(LEASE_DURATION)
    }

    pub(crate) fn tap(&self, client: Client) -> (Client, Tap) {
        let tap = Tap::default();
        let inner = tap.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (client, tap) = (client.clone(), inner.clone());
            async move {
                tap.note(&request);
                tap.pass().await;
                client.send(request).await
            }
        });
        (Client::new(service, self.namespace.clone()), tap)
    }

    pub(crate) async fn lease(&self) -> Option<Lease> {
        self.admin.get_opt(NAME).await.unwrap()
    }

    /// The spec of a Lease that exists.
    pub(crate) async fn spec(&self) -> Value {
        serde_json::to_value(self.lease().await.unwrap().spec).unwrap()
    }

    pub(crate) async fn holder(&self) -> Option<String> {
        self.lease().await?.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    /// The number of tickets in the queue.
    pub(crate) async fn tickets(&self) -> usize {
        let annotations = self.lease().await.and_then(|lease| lease.metadata.annotations).unwrap_or_default();
        let lists = ["kube-lease-lock/queue", "kube-lease-lock/joining"].map(|list| annotations.get(list));
        lists.into_iter().flatten().flat_map(|list| list.split_whitespace()).count()
    }

    /// Another client creates the Lease.
    pub(crate) async fn create(&self, spec: Value) -> Lease {
        let lease = json!({ "metadata": { "name": NAME }, "spec": spec });
        self.admin.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap()
    }

    /// Another client changes the Lease by a merge patch.
    pub(crate) async fn edit(&self, patch: Value) -> Lease {
        self.admin.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
    }

    pub(crate) async fn delete(&self) {
        self.admin.delete(NAME, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until no process holds the Lease.
    pub(crate) async fn until_free(&self) {
        let free = async {
            while self.holder().await.is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(STEP_TIMEOUT, free).await.expect("the Lease should have been released by now");
    }
}

/// Counts the requests of one client, and cuts them off on demand.
#[derive(Clone, Default)]
pub(crate) struct Tap {
    requests: Arc<Mutex<Vec<String>>>,
    cut: Arc<AtomicBool>,
}

impl Tap {
    /// The requests since the last call, as `GET`, `PUT`, `PATCH` or `WATCH`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// From now on requests hang, as on a dead connection.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    fn note(&self, request: &http::Request<Body>) {
        let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let verb = if watch { "WATCH".to_owned() } else { request.method().to_string() };
        self.requests.lock().unwrap().push(verb);
    }

    async fn pass(&self) {
        if self.cut.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

//! How long requests take with the client and with an ordinary one. On connections that are open already the two are
//! alike; on a new one, the ordinary client has the first request wait for an acknowledgement.
//!
//! ```text
//! LATENCY_WRITES=2000 cargo test --release --test client latency -- --include-ignored --nocapture
//! ```

use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams, PostParams, WatchParams};
use kube::{Api, Client, Config};
use kube_lease_lock::{LeaseLock, lock_client, rustls_connector};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::support::ControlPlane;

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn latency_of_conditional_writes() {
    let writes = std::env::var("LATENCY_WRITES").map_or(200, |writes| writes.parse().expect("a number"));
    let plane = ControlPlane::shared().await;
    let config = plane.config().await;
    let namespace = plane.fresh_namespace().await;
    let mut special = Writer::start(special(&config), &namespace, "special").await;
    let mut ordinary = Writer::start(ordinary(&config), &namespace, "ordinary").await;

    // In turn, so that both meet the same weather.
    for _ in 0..writes {
        special.write().await;
        ordinary.write().await;
    }
    println!("{writes} conditional writes     p50      p99      max [ms]");
    tell("kube::Client::try_from", ordinary.times);
    tell("lock_client", special.times);
}

/// There, the first request comes right after the end of the TLS handshake.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn latency_of_new_connections() {
    let plane = ControlPlane::shared().await;
    let config = plane.config().await;
    let (mut special_times, mut ordinary_times) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        special_times.push(first_request(special(&config)).await);
        ordinary_times.push(first_request(ordinary(&config)).await);
    }
    println!("100 first requests       p50      p99      max [ms]");
    tell("kube::Client::try_from", ordinary_times);
    tell("lock_client", special_times);
}

/// There, the waiter claims on a new connection, because its watch has taken the first.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn latency_of_handovers() {
    let plane = ControlPlane::shared().await;
    let config = plane.config().await;
    let namespace = plane.fresh_namespace().await;
    let (mut special_times, mut ordinary_times) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        special_times.push(handover([special(&config), special(&config)], &namespace).await);
        ordinary_times.push(handover([ordinary(&config), ordinary(&config)], &namespace).await);
    }
    println!("20 handovers             p50      p99      max [ms]");
    tell("kube::Client::try_from", ordinary_times);
    tell("lock_client", special_times);
}

/// From the call of `release` in the one process to the return of `acquire` in the other.
async fn handover(clients: [Client; 2], namespace: &str) -> Duration {
    let lock = |client| LeaseLock::builder(client, "handed-over").namespace(namespace).build().unwrap();
    let [holder, waiter] = clients.map(lock);
    let guard = holder.acquire().await.unwrap();
    let waiting = tokio::spawn(async move {
        let guard = waiter.acquire().await.unwrap();
        (Instant::now(), guard)
    });
    // Until it watches.
    sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    guard.release().await.unwrap();
    let (end, guard) = waiting.await.unwrap();
    guard.release().await.unwrap();
    end.duration_since(start)
}

async fn first_request(client: Client) -> Duration {
    let leases: Api<Lease> = Api::namespaced(client, "default");
    let start = Instant::now();
    leases.get_opt("none").await.unwrap();
    start.elapsed()
}

fn special(config: &Config) -> Client {
    lock_client(config, rustls_connector).unwrap()
}

fn ordinary(config: &Config) -> Client {
    Client::try_from(config.clone()).unwrap()
}

/// It writes as a holder does: one conditional write at a time, with a watch open.
struct Writer {
    leases: Api<Lease>,
    lease: Lease,
    times: Vec<Duration>,
    _watching: AbortOnDropHandle<()>,
}

impl Writer {
    async fn start(client: Client, namespace: &str, name: &str) -> Self {
        let leases: Api<Lease> = Api::namespaced(client, namespace);
        let lease = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        let lease = leases.create(&PostParams::default(), &lease).await.unwrap();
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        let events = leases.watch(&params, "0").await.unwrap().boxed();
        let watching = tokio::spawn(events.for_each(|_| async {}));
        Self { leases, lease, times: Vec::new(), _watching: AbortOnDropHandle::new(watching) }
    }

    async fn write(&mut self) {
        let metadata = &self.lease.metadata;
        let name = metadata.name.as_deref().unwrap();
        let object = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": name, "uid": metadata.uid, "resourceVersion": metadata.resource_version },
            "spec": { "holderIdentity": name, "leaseTransitions": self.times.len() },
        });
        let start = Instant::now();
        let written =
            self.leases.patch(name, &PatchParams::apply("latency").force(), &Patch::Apply(object)).await;
        self.times.push(start.elapsed());
        self.lease = written.unwrap();
    }
}

fn tell(client: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("{client:<24} {:8.2} {:8.2} {:8.2}", at(50), at(99), at(100));
}

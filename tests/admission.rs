//! Admission on a real API server: webhooks that are dead, policies and quotas that refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

mod support;

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Api, DeleteParams, PostParams};
use kube_lease_lock::{LeaseGuard, LeaseLock};
use serde_json::{Value, json};
use support::ControlPlane;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

const NAME: &str = "nightly-report";
/// Long enough for anything that happens immediately, even on a slow machine.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(3);
/// Some renewals long.
const HELD_FOR: Duration = Duration::from_secs(30);

async fn lock(plane: &ControlPlane, namespace: &str) -> LeaseLock {
    LeaseLock::builder(plane.client().await, NAME).namespace(namespace).build().unwrap()
}

async fn acquire(lock: &LeaseLock) -> LeaseGuard {
    timeout(EVENT_TIMEOUT, lock.acquire()).await.expect("acquired by now").unwrap()
}

fn parse<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

/// A webhook for the Leases of the namespace. Its pods are dead: its address accepts connections and says nothing.
struct DeadWebhook {
    configurations: Api<ValidatingWebhookConfiguration>,
    name: String,
    _address: TcpListener,
}

impl DeadWebhook {
    async fn install(plane: &ControlPlane, namespace: &str) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let configurations = Api::all(plane.client().await);
        let name = format!("dead-{namespace}");
        let configuration = parse(json!({
            "metadata": { "name": name },
            "webhooks": [{
                "name": "dead.example.com",
                "clientConfig": { "url": format!("https://{}/", address.local_addr().unwrap()) },
                "rules": [{
                    "apiGroups": ["coordination.k8s.io"], "apiVersions": ["v1"], "resources": ["leases"],
                    "operations": ["CREATE", "UPDATE"],
                }],
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                "failurePolicy": "Ignore",
                "timeoutSeconds": WEBHOOK_TIMEOUT.as_secs(),
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }],
        }));
        configurations.create(&PostParams::default(), &configuration).await.unwrap();
        Self { configurations, name, _address: address }
    }

    async fn remove(self) {
        self.configurations.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

/// The server waits for the webhook with each write, for longer than the lock once waited for the server.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_dead_webhook_delays_the_lock_but_does_not_lose_it() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    let lock = lock(plane, &namespace).await;
    let early = acquire(&lock).await;
    early.release().await.unwrap();

    let webhook = DeadWebhook::install(plane, &namespace).await;
    let guard = loop {
        // The server needs a moment to learn of the webhook.
        let start = Instant::now();
        let guard = acquire(&lock).await;
        if start.elapsed() >= WEBHOOK_TIMEOUT {
            break guard;
        }
        guard.release().await.unwrap();
        sleep(Duration::from_millis(100)).await;
    };
    let lost = timeout(HELD_FOR, guard.lost()).await;
    assert!(lost.is_err(), "lost: {lost:?}");
    webhook.remove().await;
    timeout(EVENT_TIMEOUT, guard.release()).await.unwrap().unwrap();
}

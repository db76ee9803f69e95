//! Admission on a real API server: webhooks that are dead, policies and quotas that refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test has nobody to hand an error to")]

mod support;

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube_lease_lock::{AcquireError, LeaseGuard, LeaseLock};
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

/// A policy answers 403 too, and no permission helps against it.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_policy_that_refuses_the_lease_is_named() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    let policy = Policy::install(plane, &namespace, "Forbidden").await;
    let error = loop {
        // The server needs a moment to learn of the policy. It may do so between a claim and its release.
        match timeout(EVENT_TIMEOUT, lock(plane, &namespace).await.acquire()).await.unwrap() {
            Ok(guard) => drop(guard.release().await),
            Err(error) => break error,
        }
        sleep(Duration::from_millis(100)).await;
    };
    assert!(matches!(error, AcquireError::Refused(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("ask the platform team") && !text.contains("needs the verbs"), "{text}");
    policy.remove().await;
}

/// A policy that denies every write to the Leases of the namespace.
struct Policy {
    policies: Api<ValidatingAdmissionPolicy>,
    bindings: Api<ValidatingAdmissionPolicyBinding>,
    name: String,
}

impl Policy {
    async fn install(plane: &ControlPlane, namespace: &str, reason: &str) -> Self {
        let client = plane.client().await;
        let (policies, bindings) = (Api::all(client.clone()), Api::all(client));
        let name = format!("no-leases-{namespace}");
        let policy = parse(json!({
            "metadata": { "name": name },
            "spec": {
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": ["coordination.k8s.io"], "apiVersions": ["v1"], "resources": ["leases"],
                    "operations": ["CREATE", "UPDATE"],
                }] },
                "validations": [{ "expression": "false", "message": "ask the platform team", "reason": reason }],
            },
        }));
        let binding = parse(json!({
            "metadata": { "name": name },
            "spec": {
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": {
                    "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                },
            },
        }));
        policies.create(&PostParams::default(), &policy).await.unwrap();
        bindings.create(&PostParams::default(), &binding).await.unwrap();
        Self { policies, bindings, name }
    }

    async fn remove(self) {
        self.bindings.delete(&self.name, &DeleteParams::default()).await.unwrap();
        self.policies.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

/// A quota can be raised while the lock waits.
#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn a_lock_waits_until_a_quota_is_raised() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    let quotas: Api<ResourceQuota> = Api::namespaced(plane.client().await, &namespace);
    let hard = |leases: &str| json!({ "count/leases.coordination.k8s.io": leases });
    let quota = parse(
        json!({ "metadata": { "name": "no-leases" }, "spec": { "hard": hard("0") }, "status": { "hard": hard("0") } }),
    );
    quotas.create(&PostParams::default(), &quota).await.unwrap();
    // No quota controller runs here, so the status has to be written as it would.
    let status = json!({ "status": { "hard": hard("0"), "used": hard("0") } });
    quotas.patch_status("no-leases", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();

    let lock = lock(plane, &namespace).await;
    let error = lock.acquire_timeout(Duration::from_secs(3)).await.unwrap_err();
    let AcquireError::TimedOut { last: Some(last), .. } = &error else { panic!("{error:?}") };
    assert_eq!(last.status(), Some(403), "{error}");
    assert!(error.to_string().contains("exceeded quota: no-leases"), "{error}");

    let waiting = tokio::spawn(async move { acquire(&lock).await });
    let raised = json!({ "spec": { "hard": hard("1") }, "status": { "hard": hard("1") } });
    quotas.patch("no-leases", &PatchParams::default(), &Patch::Merge(&raised)).await.unwrap();
    quotas.patch_status("no-leases", &PatchParams::default(), &Patch::Merge(&raised)).await.unwrap();
    waiting.await.unwrap().release().await.unwrap();
}

//! The client for locks on a real API server.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::client::ConfigExt;
use kube::config::ExecConfig;
use kube::{Client, Config};
use kube_lease_lock::{AcquireError, LeaseLock, lock_client, lock_client_with_connector};
use tokio::time::timeout;

use crate::support::ControlPlane;

/// Long enough for anything that happens immediately, even on a slow machine.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn locks_take_turns() {
    take_turns(client).await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn locks_take_turns_over_http_1() {
    take_turns(|config| {
        lock_client_with_connector(config, ConfigExt::rustls_https_connector_with_connector).unwrap()
    })
    .await;
}

async fn take_turns(client: fn(&Config) -> Client) {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    let config = plane.config().await;
    let guard = timeout(EVENT_TIMEOUT, lock(client(&config), &namespace).acquire()).await.unwrap().unwrap();
    // Another contender with an ordinary client.
    let waiter = lock(Client::try_from(config).unwrap(), &namespace);
    let waiting = tokio::spawn(async move { waiter.acquire().await });
    // Time for some renewals, with a watch on each side.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(guard.is_held() && !waiting.is_finished());
    let token = guard.fencing_token();
    guard.release().await.unwrap();
    let next = timeout(EVENT_TIMEOUT, waiting).await.unwrap().unwrap().unwrap();
    assert!(next.fencing_token() > token);
    next.release().await.unwrap();
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn it_has_only_the_permissions_of_the_impersonated_user() {
    let plane = ControlPlane::shared().await;
    let namespace = plane.fresh_namespace().await;
    let mut config = plane.config().await;
    config.auth_info.impersonate = Some("nobody".to_owned());
    let refused = timeout(EVENT_TIMEOUT, lock(client(&config), &namespace).acquire()).await.unwrap();
    assert!(matches!(refused, Err(AcquireError::Forbidden(_))), "{refused:?}");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn it_knows_when_the_certificate_of_a_plugin_expires() {
    let plane = ControlPlane::start().await;
    let mut config = plane.config().await;
    config.auth_info.token = None;
    let runs = plane.data().join("runs-of-the-plugin");
    let plugin = plugin_with_certificate(&plane, &runs);
    config.auth_info.exec = Some(serde_json::from_value::<ExecConfig>(plugin).unwrap());
    let valid_until = client(&config).valid_until().expect("the end of the certificate");
    let now = Timestamp::now();
    assert!(valid_until > now && valid_until < now + HOUR * 24 * 366 * 20, "{valid_until}");
    // Once for a token, and once for a certificate.
    assert_eq!(std::fs::read_to_string(&runs).unwrap(), "run\nrun\n");
}

/// Any certificate works here, because the test sends no request. The plugin adds a line to `runs` each time.
fn plugin_with_certificate(plane: &ControlPlane, runs: &Path) -> serde_json::Value {
    let read = |file| std::fs::read_to_string(plane.data().join(file)).unwrap();
    let credential = serde_json::json!({ "status": {
        "clientCertificateData": read("apiserver.crt"),
        "clientKeyData": read("apiserver.key"),
    } });
    serde_json::json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "interactiveMode": "Never",
        "command": "sh",
        "args": ["-c", r#"echo run >> "$0"; printf %s "$1""#, runs, credential.to_string()],
    })
}

fn client(config: &Config) -> Client {
    lock_client(config).unwrap()
}

fn lock(client: Client, namespace: &str) -> LeaseLock {
    let builder = LeaseLock::builder(client, "a-lock").namespace(namespace);
    builder.lease_duration(Duration::from_secs(3)).build().unwrap()
}

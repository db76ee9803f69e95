//! The parts of the configuration that each request shows.

use std::collections::BTreeSet;

use k8s_openapi::api::coordination::v1::Lease;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use kube_lease_lock::lock_client_with_connector;

use crate::server::Server;

const LEASE: &str = r#"{ "metadata": { "name": "a" } }"#;

#[tokio::test]
async fn it_uses_the_address_the_namespace_and_the_headers() {
    let server = Server::start("200 OK", LEASE).await;
    let mut config = config(&server, r"{ token: secret, as: boss, as-groups: [bosses] }").await;
    config.headers.push((http::HeaderName::from_static("x-tenant"), "blue".parse().unwrap()));
    let client = client(&config);
    assert_eq!(client.default_namespace(), "jobs");
    leases(&client).get("a").await.unwrap();

    let head = &server.heads()[0];
    let lines: Vec<_> = head.lines().collect();
    assert_eq!(lines[0], "get /cluster/7/apis/coordination.k8s.io/v1/namespaces/jobs/leases/a http/1.1");
    for line in [
        "authorization: bearer secret",
        "impersonate-user: boss",
        "impersonate-group: bosses",
        "x-tenant: blue",
    ] {
        assert!(lines.contains(&line), "{line} is not in {head}");
    }
}

#[tokio::test]
async fn it_renews_the_token_of_a_plugin() {
    let server = Server::start("200 OK", LEASE).await;
    let plugin = r#"{ exec: {
        apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: sh, args: [-c,
        'echo "{ \"status\": { \"token\": \"token-$$\", \"expirationTimestamp\": \"2026-01-01T00:00:00Z\" } }"'] } }"#;
    let client = client(&config(&server, plugin).await);
    leases(&client).get("a").await.unwrap();
    leases(&client).get("a").await.unwrap();

    let token = |head: &str| {
        head.lines().find(|line| line.starts_with("authorization: bearer token-")).map(str::to_owned)
    };
    let tokens: BTreeSet<_> = server.heads().iter().map(|head| token(head).unwrap()).collect();
    assert_eq!(tokens.len(), 2, "{tokens:?}");
}

/// A configuration with this user, for a server whose address has a path.
async fn config(server: &Server, user: &str) -> Config {
    let kubeconfig = format!(
        "{{
            current-context: test,
            contexts: [{{ name: test, context: {{ cluster: test, user: test, namespace: jobs }} }}],
            clusters: [{{ name: test, cluster: {{ server: '{}/cluster/7' }} }}],
            users: [{{ name: test, user: {user} }}],
        }}",
        server.url()
    );
    let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

fn client(config: &Config) -> Client {
    lock_client_with_connector(config, |_, tcp| Ok(tcp)).unwrap()
}

fn leases(client: &Client) -> Api<Lease> {
    Api::default_namespaced(client.clone())
}

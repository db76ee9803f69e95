//! Configurations that the client refuses.

use http::Uri;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Config};
use kube_lease_lock::{ClientError, lock_client_with_connector};
use tower::ServiceExt;

use crate::server::Server;

#[tokio::test]
async fn a_proxy_of_another_protocol_is_refused() {
    let mut config = Config::new("http://127.0.0.1:1".parse().unwrap());
    config.proxy_url = Some("socks5://127.0.0.1:2".parse().unwrap());
    let refused = lock_client_with_connector(&config, |_, tcp| Ok(tcp)).err().unwrap();
    assert!(matches!(refused, ClientError::Proxy { .. }), "{refused}");
    assert!(refused.to_string().contains("clear `proxy_url`"), "{refused}");
    assert!(refused.to_string().contains("socks5://127.0.0.1:2"), "{refused}");
}

#[tokio::test]
async fn https_without_tls_is_refused() {
    let config = Config::new("https://127.0.0.1:1".parse().unwrap());
    let refused = lock_client_with_connector(&config, |_, tcp| Ok(tcp)).err().unwrap();
    assert!(matches!(refused, ClientError::Kube(kube::Error::TlsRequired)), "{refused}");
}

#[tokio::test]
async fn a_connector_that_adds_something_else_than_tls_sends_no_credentials() {
    let server = Server::start("200 OK", "{}").await;
    let mut config = Config::new(server.url().replace("http:", "https:").parse().unwrap());
    config.auth_info.token = Some("secret".to_owned().into());
    let client = lock_client_with_connector(&config, |_, tcp| Ok(tcp.map_request(|address: Uri| address)));
    let leases: Api<Lease> = Api::default_namespaced(client.unwrap());
    let refused = leases.get("a").await.unwrap_err();
    assert_eq!(server.heads(), Vec::<String>::new(), "sent in the clear");
    let text = format!("{refused:?}");
    assert!(text.contains("the connector adds no TLS"), "{text}");
}

#[tokio::test]
async fn a_missing_token_file_is_named() {
    let mut config = Config::new("http://127.0.0.1:1".parse().unwrap());
    config.auth_info.token_file = Some("/no/such/token".into());
    let refused = lock_client_with_connector(&config, |_, tcp| Ok(tcp)).err().unwrap();
    assert!(refused.to_string().contains("/no/such/token"), "{refused}");
}

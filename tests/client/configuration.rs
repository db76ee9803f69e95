//! Configurations that the client refuses.

use kube::Config;
use kube_lease_lock::{ClientError, lock_client};

#[tokio::test]
async fn a_proxy_is_refused() {
    let mut config = Config::new("http://127.0.0.1:1".parse().unwrap());
    config.proxy_url = Some("http://127.0.0.1:2".parse().unwrap());
    let refused = lock_client(&config, |_, tcp| Ok(tcp)).err().unwrap();
    assert!(matches!(refused, ClientError::Proxy), "{refused}");
    assert!(refused.to_string().contains("clear `proxy_url`"), "{refused}");
}

#[tokio::test]
async fn https_without_tls_is_refused() {
    let config = Config::new("https://127.0.0.1:1".parse().unwrap());
    let refused = lock_client(&config, |_, tcp| Ok(tcp)).err().unwrap();
    assert!(matches!(refused, ClientError::Kube(kube::Error::TlsRequired)), "{refused}");
}

#[tokio::test]
async fn a_missing_token_file_is_named() {
    let mut config = Config::new("http://127.0.0.1:1".parse().unwrap());
    config.auth_info.token_file = Some("/no/such/token".into());
    let refused = lock_client(&config, |_, tcp| Ok(tcp)).err().unwrap();
    assert!(refused.to_string().contains("/no/such/token"), "{refused}");
}

//! What it refuses to be made of.

use kube::Config;
use kube_lease_lock::{ClientError, lock_client};

#[tokio::test]
async fn a_proxy_is_not_passed_over_in_silence() {
    let mut config = Config::new("http://127.0.0.1:1".parse().unwrap());
    config.proxy_url = Some("http://somebody:secret@127.0.0.1:2".parse().unwrap());
    let refused = lock_client(&config, |_, tcp| Ok(tcp)).err().unwrap();
    assert!(matches!(refused, ClientError::Proxy), "{refused}");
    assert!(!refused.to_string().contains("secret"));
}

#[tokio::test]
async fn no_credentials_are_sent_in_the_clear_where_the_address_is_https() {
    let config = Config::new("https://127.0.0.1:1".parse().unwrap());
    let refused = lock_client(&config, |_, tcp| Ok(tcp)).err().unwrap();
    assert!(matches!(refused, ClientError::Kube(kube::Error::TlsRequired)), "{refused}");
}

#[tokio::test]
async fn a_missing_credential_is_told() {
    let mut config = Config::new("http://127.0.0.1:1".parse().unwrap());
    config.auth_info.token_file = Some("/no/such/token".into());
    let refused = lock_client(&config, |_, tcp| Ok(tcp)).err().unwrap();
    assert!(refused.to_string().contains("/no/such/token"), "{refused}");
}

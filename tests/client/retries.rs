//! If the server asks the client to retry later, the lock learns of it immediately: the client itself does not retry.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, Config, Error};
use kube_lease_lock::lock_client_with_connector;
use tokio::time::timeout;

use crate::server::Server;

const ERRORS: [(&str, u16); 3] =
    [("429 Too Many Requests", 429), ("503 Service Unavailable", 503), ("504 Gateway Timeout", 504)];

#[tokio::test]
async fn it_sends_a_request_once() {
    for (line, code) in ERRORS {
        let server = Server::start(line, &status(code)).await;
        let client = lock_client_with_connector(&config(&server), |_, tcp| Ok(tcp)).unwrap();
        let answer = leases(client).get("a").await;
        assert!(matches!(&answer, Err(Error::Api(status)) if status.code == code), "{answer:?}");
        assert_eq!(server.heads().len(), 1);
    }
}

/// If this test fails, an ordinary client does not retry any more, and the client for locks need not differ in this.
#[tokio::test]
async fn an_ordinary_client_retries() {
    for (line, code) in ERRORS {
        let server = Server::start(line, &status(code)).await;
        let client = Client::try_from(config(&server)).unwrap();
        let answer = timeout(Duration::from_millis(500), leases(client).get("a")).await;
        assert!(answer.is_err(), "an answer: {answer:?}");
        assert!(server.heads().len() > 1);
    }
}

fn status(code: u16) -> String {
    format!(
        r#"{{ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Busy", "code": {code} }}"#
    )
}

fn config(server: &Server) -> Config {
    Config::new(server.url().parse().unwrap())
}

fn leases(client: Client) -> Api<Lease> {
    Api::default_namespaced(client)
}

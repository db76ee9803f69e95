//! The client behind a proxy that speaks HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Config};
use kube_lease_lock::{lock_client, lock_client_with_connector};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::server::Server;
use crate::support::ControlPlane;

#[tokio::test]
async fn requests_pass_through_the_proxy() {
    let server = Server::start("200 OK", r#"{ "metadata": { "name": "a" } }"#).await;
    let proxy = Proxy::start(true).await;
    let mut config = Config::new(server.url().parse().unwrap());
    config.proxy_url = Some(format!("http://me:secret@{}", proxy.address).parse().unwrap());
    let client = lock_client_with_connector(&config, |_, tcp| Ok(tcp)).unwrap();
    let leases: Api<Lease> = Api::default_namespaced(client);
    leases.get("a").await.unwrap();
    leases.get("a").await.unwrap();
    assert_eq!(server.heads().len(), 2);
    let heads = proxy.heads();
    assert_eq!(heads.len(), 1, "{heads:?}");
    let address = server.url().replace("http://", "");
    assert!(heads[0].starts_with(&format!("CONNECT {address} HTTP/1.1\r\n")), "{heads:?}");
    assert!(heads[0].contains("\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n"), "{heads:?}");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let proxy = Proxy::start(false).await;
    let mut config = Config::new("http://127.0.0.1:1".parse().unwrap());
    config.proxy_url = Some(format!("http://me:secret@{}", proxy.address).parse().unwrap());
    let client = lock_client_with_connector(&config, |_, tcp| Ok(tcp)).unwrap();
    let refused = Api::<Lease>::default_namespaced(client).get("a").await.unwrap_err();
    let mut causes = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&refused);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    let text = causes.join(": ");
    assert!(text.contains(&proxy.address.to_string()) && text.contains("authorization required"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server"]
async fn tls_passes_through_the_proxy() {
    let plane = ControlPlane::shared().await;
    let proxy = Proxy::start(true).await;
    let mut config = plane.config().await;
    config.proxy_url = Some(format!("http://{}", proxy.address).parse().unwrap());
    let leases: Api<Lease> = Api::namespaced(lock_client(&config).unwrap(), "default");
    assert!(leases.get_opt("none").await.unwrap().is_none());
    let heads = proxy.heads();
    assert_eq!(heads.len(), 1, "{heads:?}");
}

/// The proxy runs until it is dropped.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// A proxy that connects to each address, or refuses each client.
    async fn start(connects: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let recorded = heads.clone();
        let accepting = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(client, connects, recorded.clone()));
            }
        }));
        Self { address, heads, _accepting: accepting }
    }

    /// The heads of all requests so far.
    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(mut client: TcpStream, connects: bool, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    heads.lock().unwrap().push(head);
    if !connects {
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
        return;
    }
    let mut server = TcpStream::connect(target).await.unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    // Either side may end the connection at any time.
    copy_bidirectional(&mut client, &mut server).await.ok();
}

//! A client for locks alone: the layers of kube's own client, but with separate connections and without retries.

mod connection;
mod connections;
mod connector;
mod liveness;
#[cfg(feature = "rustls-tls")]
mod rustls;

use std::any::TypeId;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use kube::client::{ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower::util::option_layer;
use tower::{BoxError, Service};

use connections::Connections;
#[cfg(feature = "rustls-tls")]
pub use rustls::rustls_connector;

/// The time without traffic after which TCP probes whether the peer is still there. The probes also keep the
/// connection known to the firewalls and load balancers on the way.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// With three probes a second apart, a dead peer is noticed after 8 s. This is shorter than the default
/// `renew_deadline`.
const KEEPALIVE_PROBE_INTERVAL: Duration = Duration::from_secs(1);
const MAX_KEEPALIVE_PROBES: u32 = 3;

/// Makes a client for locks alone. It connects faster than an ordinary client, and does not retry. Any number of
/// locks may share it, and the locks of one process should.
///
/// The lock is exactly as safe on any other client: no promise of this crate depends on this one.
///
/// TLS remains the application's choice: `connect` adds it to the TCP connections that it is given. With the feature
/// `rustls-tls` of this crate:
///
#[cfg_attr(feature = "rustls-tls", doc = "```no_run")]
#[cfg_attr(not(feature = "rustls-tls"), doc = "```ignore")]
/// use kube_lease_lock::{LeaseLock, lock_client, rustls_connector};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = kube::Config::infer().await?;
/// let client = lock_client(&config, rustls_connector)?;
/// let lock = LeaseLock::new(client, "nightly-report")?;
/// # Ok(())
/// # }
/// ```
///
/// Without that feature, `connect` may be `ConfigExt::rustls_https_connector_with_connector` or
/// `ConfigExt::openssl_https_connector_with_connector`. If `cluster_url` is not HTTPS, it may be `|_, tcp| Ok(tcp)`.
/// With these, the client speaks HTTP/1.1. For HTTP/2, `connect` has to offer `h2` in the TLS handshake (ALPN).
///
/// # What is different
///
/// | | this client | kube's |
/// |---|---|---|
/// | connections | used by locks only; with HTTP/2, 50 requests, open watches included, share one | shared with the application; each open watch takes one |
/// | the first request on a connection | is sent at once (`TCP_NODELAY`) | waits until the server acknowledges the TLS handshake: 40 ms, if the server runs on Linux |
/// | a response of 429, 503 or 504 | is returned; the lock knows how much time is left | is kept back while the request is sent up to 15 times more |
/// | a dead peer | is noticed after 8 s, by HTTP/2 pings or by TCP keepalive | is noticed when a request gets no response |
/// | a connection without any response for a second | carries no other request until a response comes; its own requests continue | with HTTP/1.1, each request has its own connection; with HTTP/2, carries all further requests |
/// | a connection in the making | belongs to the next request if the first one gives up; 5 s at most | is lost if its request gives up |
/// | an idle connection | with HTTP/1.1 kept for 80 s; kube-apiserver closes it after 90 s | kept for 90 s, and may be used while the server closes it |
///
/// Most of these differences show when connections are new. This is so when a lock is first used, or when a process
/// has many locks. It is also so if a lock was idle or waited for so long that the API server has closed its
/// connections. A request on an open connection takes as long with either client.
///
/// If a server allows fewer than 50 requests at a time on a connection, the client makes more connections.
/// kube-apiserver allows 100. If a server asks the client to leave a connection (GOAWAY), the next request uses a new
/// one, and the open watches continue on the old one.
///
/// # Which settings of the configuration apply
///
/// - The address, the namespace and the headers, impersonation included.
/// - Authentication of every kind. Tokens are renewed when they expire.
/// - The settings of TLS, such as client certificates, root certificates and the name of the server.
/// - `connect_timeout` (30 s by default), for TCP.
///
/// `read_timeout` and `write_timeout` do not apply, because a watch on a quiet Lease has nothing to read, and the
/// lock bounds each request itself. If you use this client for other requests, bound them too. The client does not
/// compress anything, and makes no `tracing` spans of HTTP.
///
/// # Errors
///
/// [`ClientError::Proxy`] if the configuration names a proxy. [`ClientError::Kube`] if a credential or a header in
/// the configuration cannot be used, if `connect` fails, or if it adds no TLS although the address is HTTPS.
///
/// # Panics
///
/// Panics outside of a tokio runtime, as making any `kube::Client` does.
pub fn lock_client<F, C>(config: &Config, connect: F) -> Result<Client, ClientError>
where
    F: FnOnce(&Config, HttpConnector) -> kube::Result<C>,
    C: Service<Uri, Error: Into<BoxError> + Send, Future: Send + 'static> + Clone + Send + Sync + 'static,
    C::Response: Read + Write + Connection + Unpin + Send + 'static,
{
    if config.proxy_url.is_some() {
        return Err(ClientError::Proxy);
    }
    let connector = connect(config, tcp(config))?;
    let encrypts = TypeId::of::<C>() != TypeId::of::<HttpConnector>();
    if !encrypts && config.cluster_url.scheme() == Some(&Scheme::HTTPS) {
        return Err(kube::Error::TlsRequired.into());
    }

    let connections = Connections::new(connector, config.cluster_url.clone());
    let authentication = config.auth_layer()?;
    // Otherwise the plugin gave a token, which the authentication layer renews.
    let plugin_gave_certificate = config.auth_info.exec.is_some() && authentication.is_none();
    let builder = ClientBuilder::new(connections, &config.default_namespace)
        .with_layer(&config.extra_headers_layer()?)
        .with_layer(&option_layer(authentication))
        .with_layer(&config.base_uri_layer());
    let client = builder.build();
    if !plugin_gave_certificate {
        return Ok(client);
    }
    // Only a client of kube's own tells until when the certificate is valid, and only if kube has TLS.
    let valid_until = Client::try_from(config.clone()).ok().and_then(|ordinary| *ordinary.valid_until());
    Ok(client.with_valid_until(valid_until))
}

/// The reason why [`lock_client`] made no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The configuration names a proxy, perhaps through the environment variable `HTTPS_PROXY`.
    #[error(
        "a proxy is configured, and a client for locks alone cannot use one; clear `proxy_url` and let `connect` add a \
         tunnel on top of TCP, or use an ordinary client"
    )]
    Proxy,
    /// The configuration cannot be used.
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

fn tcp(config: &Config) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false); // `connect` adds TLS.
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE_IDLE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_PROBE_INTERVAL));
    tcp.set_keepalive_retries(Some(MAX_KEEPALIVE_PROBES));
    tcp.set_connect_timeout(config.connect_timeout);
    tcp
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::{socket_keepalive, tcp_keepcnt, tcp_keepidle, tcp_keepintvl};
    use tokio::net::TcpListener;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn connections_delay_no_packet_and_notice_a_dead_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        let connected = tcp(&Config::new(url.clone())).oneshot(url).await.unwrap();
        let socket = connected.inner();
        assert!(socket.nodelay().unwrap());
        assert!(socket_keepalive(socket).unwrap());
        assert_eq!(tcp_keepidle(socket).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(tcp_keepintvl(socket).unwrap(), KEEPALIVE_PROBE_INTERVAL);
        assert_eq!(tcp_keepcnt(socket).unwrap(), MAX_KEEPALIVE_PROBES);
    }
}

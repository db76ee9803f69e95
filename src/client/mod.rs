//! A client made for the lock alone: the stack of kube's own, on connections of its own, without the retries.

mod connections;
mod connector;
#[cfg(feature = "rustls-tls")]
mod rustls;

use std::any::TypeId;
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

/// A connection at rest asks this often whether its peer is still there. That also keeps it in the memory of the
/// firewalls and load balancers on the way.
const PROBE_AFTER: Duration = Duration::from_secs(5);
/// Three probes a second apart: a dead peer is noticed after 8 s, within the default `renew_deadline`.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const PROBES: u32 = 3;

/// Makes a client for locks alone, quicker to connect than an ordinary one, and without its retries. Any number of locks
/// may share it, and those of one process should.
///
/// The lock is exactly as safe on any other client: no promise of this crate depends on this one.
///
/// TLS remains the application's choice: `connect` puts it on top of the TCP connections that it is given. With the
/// feature `rustls-tls` of this crate:
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
/// Without that feature it may be `ConfigExt::rustls_https_connector_with_connector` or
/// `ConfigExt::openssl_https_connector_with_connector`, and where `cluster_url` is not HTTPS `|_, tcp| Ok(tcp)`. Then
/// HTTP/1.1 is spoken; for HTTP/2, have `connect` offer `h2` in the TLS handshake (ALPN).
///
/// # What is different
///
/// | | this client | kube's |
/// |---|---|---|
/// | connections | the lock's own; with HTTP/2, 50 open watches and other requests share one | shared with the application; each open watch takes one |
/// | the first request on a connection | is sent at once (`TCP_NODELAY`) | waits until the server acknowledges the TLS handshake: 40 ms, if that runs on Linux |
/// | an answer of 429, 503 or 504 | is returned; the lock knows how much time is left | is kept back while the request is sent up to 15 times more |
/// | a dead peer | is noticed after 8 s, by pings of HTTP/2, or by TCP keepalive | is noticed when a request gets no answer |
/// | a request without answer for a second, when given up | takes its connection out of use | does so with HTTP/1.1, as each has its own |
/// | a connection at rest | with HTTP/1.1 kept for 80 s; kube-apiserver closes it after 90 s | kept for 90 s, and may be used as it is being closed |
///
/// Most of this tells where connections are new: when a lock is first used, after it has rested or waited for so long
/// that the API server has closed them, and where a process has many locks. A request on a connection that is open
/// already takes as long with either client.
///
/// A server that allows fewer than 50 requests at a time on a connection is no good for many locks over HTTP/2: what is
/// beyond its limit waits. kube-apiserver allows 100.
///
/// # What of the configuration it keeps
///
/// The address, the namespace and the headers, impersonation included; authentication of every kind, with tokens
/// renewed as they expire; and what TLS takes from it, such as client certificates, root certificates and the name of
/// the server. Also `connect_timeout` (30 s by default), for TCP.
///
/// Not `read_timeout` and `write_timeout`, because a watch on a quiet Lease has nothing to read, and the lock bounds each
/// request by itself. Who uses this client for something else has to do so as well. Nothing is compressed, and there
/// are no `tracing` spans of HTTP.
///
/// # Errors
///
/// [`ClientError::Proxy`] if the configuration names a proxy. [`ClientError::Kube`] if a credential or a header in the
/// configuration cannot be used, if `connect` fails, or if it adds no TLS where the address is HTTPS.
///
/// # Panics
///
/// Outside of a tokio runtime, as any `kube::Client` does that is made there.
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
    // Else the plugin gave a token, which is renewed.
    let plugin_gave_certificate = config.auth_info.exec.is_some() && authentication.is_none();
    let builder = ClientBuilder::new(connections, &config.default_namespace)
        .with_layer(&config.extra_headers_layer()?)
        .with_layer(&option_layer(authentication))
        .with_layer(&config.base_uri_layer());
    let client = builder.build();
    if !plugin_gave_certificate {
        return Ok(client);
    }
    // Until when it is valid, only a client of kube's own tells, if kube has TLS.
    let valid_until = Client::try_from(config.clone()).ok().and_then(|ordinary| *ordinary.valid_until());
    Ok(client.with_valid_until(valid_until))
}

/// Why [`lock_client`] made no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The configuration names a proxy, perhaps by way of the variable `HTTPS_PROXY`.
    #[error(
        "a proxy is configured, which a client for the lock alone does not speak to; clear `proxy_url`, and have \
         `connect` put a tunnel on top of TCP, or use an ordinary client"
    )]
    Proxy,
    /// The configuration cannot be used.
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

fn tcp(config: &Config) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false); // HTTPS comes on top.
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(PROBE_AFTER));
    tcp.set_keepalive_interval(Some(PROBE_INTERVAL));
    tcp.set_keepalive_retries(Some(PROBES));
    tcp.set_connect_timeout(config.connect_timeout);
    tcp
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
        let url: http::Uri = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        let connected = tcp(&Config::new(url.clone())).oneshot(url).await.unwrap();
        let socket = connected.inner();
        assert!(socket.nodelay().unwrap());
        assert!(socket_keepalive(socket).unwrap());
        assert_eq!(tcp_keepidle(socket).unwrap(), PROBE_AFTER);
        assert_eq!(tcp_keepintvl(socket).unwrap(), PROBE_INTERVAL);
        assert_eq!(tcp_keepcnt(socket).unwrap(), PROBES);
    }
}

//! A client for locks alone: the layers of kube's own client, but with separate connections and without retries.
//!
//! # What would make it unnecessary
//!
//! Each part of this module stands in for something that kube's own client may have one day:
//!
//! 1. HTTP/2 with pings that notice a dead peer (`connection`). See the issue kube-rs/kube#1923 and the pull request
//!    kube-rs/kube#1823.
//! 2. A connection that is made in the background, and that outlives the request that asked for it; more than one
//!    connection over HTTP/2, below the limit of the server; no new request on a connection that does not answer
//!    (`connections`, `liveness`). hyper-util's `client::pool` has parts of the first two.
//! 3. `TCP_NODELAY`, keepalive and `TCP_USER_TIMEOUT` (`tcp`).
//! 4. `NO_PROXY` by the rules of `kubectl` (`proxy`, `no_proxy`).
//!
//! Requests that are sent once only are no reason for it: `Config::default_retry = false` does that for kube's own
//! client. With 1 to 3, this module can shrink to a function that makes settings for kube's client. With 1 and 3
//! alone, a lock with the default settings loses little on kube's client.

mod connection;
mod connections;
mod connector;
mod liveness;
mod no_proxy;
mod proxy;
#[cfg(feature = "rustls-tls")]
mod rustls;
mod tcp;
#[cfg(feature = "rustls-tls")]
mod x509;

use std::any::TypeId;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::Connection;
use k8s_openapi::jiff::Timestamp;
use kube::client::{ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower::util::option_layer;
use tower::{BoxError, Service};

use connections::Connections;
use connector::Connector;
use proxy::Proxy;
#[cfg(feature = "rustls-tls")]
pub use rustls::lock_client;
pub use tcp::{TcpConnection, TcpConnector};

/// Makes a client for locks alone, with the application's choice of TLS. With the feature `rustls-tls`,
/// [`lock_client`](https://docs.rs/kube-lease-lock/latest/kube_lease_lock/fn.lock_client.html) does the same with
/// rustls.
///
/// `connect` adds TLS to the TCP connections that it is given. It may be
/// `ConfigExt::rustls_https_connector_with_connector` or `ConfigExt::openssl_https_connector_with_connector`. If
/// `cluster_url` is not HTTPS, it may be `|_, tcp| Ok(tcp)`. With these, the client speaks HTTP/1.1. For HTTP/2,
/// `connect` has to offer `h2` in the TLS handshake (ALPN).
///
#[cfg_attr(feature = "rustls-tls", doc = "```no_run")]
#[cfg_attr(not(feature = "rustls-tls"), doc = "```ignore")]
/// use kube::client::ConfigExt;
/// use kube_lease_lock::{LeaseLock, kube, lock_client_with_connector};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = kube::Config::infer().await?;
/// let client = lock_client_with_connector(&config, ConfigExt::rustls_https_connector_with_connector)?;
/// let lock = LeaseLock::new(client, "nightly-report")?;
/// # Ok(())
/// # }
/// ```
///
/// # What is different
///
/// | | this client | kube's |
/// |---|---|---|
/// | connections | used by locks only; with HTTP/2, 50 requests, open watches included, share one | shared with the application; each open watch takes one |
/// | the first request on a connection | is sent at once (`TCP_NODELAY`) | waits until the server acknowledges the TLS handshake: 40 ms, if the server runs on Linux |
/// | a response of 429, 503 or 504 | is returned; the lock knows how much time is left | is kept back while the request is sent up to 15 times more |
/// | a dead peer | is noticed after 8 s, by HTTP/2 pings or by TCP (with data on the way, over HTTP/1.1 on Linux only) | is noticed when a request gets no response |
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
/// - Authentication of every kind. Tokens are renewed when they expire. A certificate that an exec plugin gives is
///   not: make a new client before it expires.
/// - The settings of TLS, such as client certificates, root certificates and the name of the server.
/// - `connect_timeout` (30 s by default), for TCP. A connection with its TLS handshake may take 5 s.
/// - A proxy that speaks HTTP (`CONNECT`), with `Basic` authentication. If it comes from the environment, `NO_PROXY`
///   has the exceptions, by the rules of `kubectl`.
///
/// `read_timeout` and `write_timeout` do not apply, because a watch on a quiet Lease has nothing to read, and the
/// lock bounds each request itself. If you use this client for other requests, bound them too. The client does not
/// compress anything, and makes no `tracing` spans of HTTP.
///
/// # Errors
///
/// [`ClientError::Proxy`] if the configuration names a proxy that does not speak HTTP. [`ClientError::Kube`] if a
/// credential or a header in the configuration cannot be used, if `connect` fails, or if it returns the TCP
/// connector as it is although the address is HTTPS. If `connect` adds something else than TLS, the requests fail
/// before anything is sent: a connection to an HTTPS address has to begin with a TLS handshake.
///
/// # Panics
///
/// Panics outside of a tokio runtime, as making any `kube::Client` does.
pub fn lock_client_with_connector<F, C>(config: &Config, connect: F) -> Result<Client, ClientError>
where
    F: FnOnce(&Config, TcpConnector) -> kube::Result<C>,
    C: Service<Uri, Error: Into<BoxError> + Send, Future: Send + 'static> + Clone + Send + Sync + 'static,
    C::Response: Read + Write + Connection + Unpin + Send + 'static,
{
    build(config, |config, tcp| {
        let connector = connect(config, tcp)?;
        let encrypts = TypeId::of::<C>() != TypeId::of::<TcpConnector>();
        if !encrypts && config.cluster_url.scheme() == Some(&Scheme::HTTPS) {
            return Err(kube::Error::TlsRequired.into());
        }
        Ok((connector, None))
    })
}

/// Builds the client. `connect` also tells until when the client's certificate is valid.
fn build<C: Connector>(
    config: &Config,
    connect: impl FnOnce(&Config, TcpConnector) -> Result<(C, Option<Timestamp>), ClientError>,
) -> Result<Client, ClientError> {
    let proxy = Proxy::of(config, |variable| std::env::var(variable).ok())?;
    let authentication = config.auth_layer()?;
    let (connector, valid_until) = connect(config, TcpConnector::new(config.connect_timeout, proxy))?;
    let connections = Connections::new(connector, config.cluster_url.clone(), valid_until);
    let builder = ClientBuilder::new(connections, &config.default_namespace)
        .with_layer(&config.extra_headers_layer()?)
        .with_layer(&option_layer(authentication))
        .with_layer(&config.base_uri_layer())
        .with_valid_until(valid_until);
    Ok(builder.build())
}

/// The reason why no client for locks was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The configuration names a proxy that does not speak HTTP, perhaps through the environment variable
    /// `HTTPS_PROXY`.
    #[error(
        "a client for locks cannot use the proxy {proxy} {origin}: it supports proxies of the form \
         `http://host:port` only; name such a proxy, or exclude {host} by `NO_PROXY`, or clear `proxy_url` of the \
         configuration, or use kube's own client with its feature `proxy`"
    )]
    Proxy {
        /// The address of the proxy, without the login.
        proxy: String,
        /// Where the proxy comes from.
        origin: String,
        /// The host of the API server.
        host: String,
    },
    /// More than one provider of cryptography is compiled in, or none, and rustls does not choose.
    #[error(
        "rustls has no provider of cryptography, or more than one: call \
         `rustls::crypto::CryptoProvider::install_default` at the start of the program, or enable exactly one of the \
         features `ring` and `aws-lc-rs` of kube (`ring` is on by default)"
    )]
    CryptoProvider,
    /// The configuration cannot be used.
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

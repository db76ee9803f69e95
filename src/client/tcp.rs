//! TCP connections to the API server, through a proxy if one is configured.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::{BoxError, Service, ServiceExt};

use super::proxy::{Proxy, TunnelFailed};

/// The time without traffic after which TCP probes whether the peer is still there. The probes also keep the
/// connection known to the firewalls and load balancers on the way.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// With three probes a second apart, a dead peer is noticed after 8 s. This is shorter than the default
/// `renew_deadline`.
const KEEPALIVE_PROBE_INTERVAL: Duration = Duration::from_secs(1);
const MAX_KEEPALIVE_PROBES: u32 = 3;
/// The same time if data was sent, because TCP does not probe while it repeats data that was not acknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(8);

/// The first byte of each TLS connection: the type of its records is a handshake.
const TLS_HANDSHAKE: u8 = 22;

/// Makes TCP connections for a client for locks, through a proxy if the configuration names one.
///
/// [`lock_client_with_connector`](crate::lock_client_with_connector) hands it to the application, to put TLS on top.
/// If the address is HTTPS, a connection refuses to send anything that does not begin as a TLS handshake.
#[derive(Clone, Debug)]
pub struct TcpConnector {
    tcp: HttpConnector,
    proxy: Option<Proxy>,
}

impl TcpConnector {
    pub(super) fn new(connect_timeout: Option<Duration>, proxy: Option<Proxy>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false); // The application adds TLS.
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE_IDLE));
        tcp.set_keepalive_interval(Some(KEEPALIVE_PROBE_INTERVAL));
        tcp.set_keepalive_retries(Some(MAX_KEEPALIVE_PROBES));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT));
        tcp.set_connect_timeout(connect_timeout);
        Self { tcp, proxy }
    }
}

impl Service<Uri> for TcpConnector {
    type Response = TcpConnection;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<TcpConnection, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let Self { tcp, proxy } = self.clone();
        let needs_tls = address.scheme() == Some(&Scheme::HTTPS);
        async move {
            let stream = match proxy {
                None => tcp.oneshot(address).await?,
                Some(proxy) => {
                    let connected = proxy.tunnel(tcp).oneshot(address).await;
                    connected.map_err(|source| TunnelFailed { proxy, source: source.into() })?
                }
            };
            Ok(TcpConnection { stream, needs_tls })
        }
        .boxed()
    }
}

/// A TCP connection to the API server.
#[derive(Debug)]
pub struct TcpConnection {
    stream: TokioIo<TcpStream>,
    /// Nothing was sent yet, and TLS has to come first.
    needs_tls: bool,
}

impl TcpConnection {
    /// Refuses to begin with anything but a TLS handshake if the address is HTTPS.
    fn check(&mut self, first_byte: Option<&u8>) -> io::Result<()> {
        let Some(&first_byte) = first_byte.filter(|_| self.needs_tls) else { return Ok(()) };
        if first_byte != TLS_HANDSHAKE {
            let text = "the address is HTTPS, and the connector adds no TLS; nothing was sent";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.needs_tls = false;
        Ok(())
    }
}

impl Connection for TcpConnection {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for TcpConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for TcpConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(data.first())?;
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(data.iter().find_map(|slice| slice.first()))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::{socket_keepalive, tcp_keepcnt, tcp_keepidle, tcp_keepintvl};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connections_delay_no_packet_and_notice_a_dead_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        let connection = TcpConnector::new(None, None).oneshot(url).await.unwrap();
        let socket = connection.stream.inner();
        assert!(socket.nodelay().unwrap());
        assert!(socket_keepalive(socket).unwrap());
        assert_eq!(tcp_keepidle(socket).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(tcp_keepintvl(socket).unwrap(), KEEPALIVE_PROBE_INTERVAL);
        assert_eq!(tcp_keepcnt(socket).unwrap(), MAX_KEEPALIVE_PROBES);
        #[cfg(target_os = "linux")]
        assert_eq!(
            u128::from(rustix::net::sockopt::tcp_user_timeout(socket).unwrap()),
            UNACKNOWLEDGED_TIMEOUT.as_millis()
        );
    }
}

//! The connections of a client. Over HTTP/2 many requests share each connection. Over HTTP/1.1 each request takes
//! one.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{self, BoxFuture};
use futures::{FutureExt, TryFutureExt};
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use scopeguard::ScopeGuard;
use tokio::time::{Instant, timeout};
use tower::{BoxError, Service};

use super::connector::{Connector, Negotiated};

/// How many requests, open watches included, share one connection over HTTP/2. kube-apiserver allows 100, and common
/// proxies allow no fewer. A request beyond the limit of a server waits until another one ends, and a watch does not
/// end.
const MAX_STREAMS_PER_CONNECTION: usize = 50;

/// The client sends a ping after this time without a frame from the server.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long the client waits for the reply to a ping. Both times together are shorter than the default
/// `renew_deadline`.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// The bound on making the first connection.
const FIRST_CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// If a request was given up after this time without a response, its connection carries no other request, because the
/// connection may be dead.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(1);

/// How long an idle connection is kept. kube-apiserver closes a connection that was idle for 90 s, and a write that
/// is sent at that moment fails. This is as long as is possible without that.
const IDLE_TIMEOUT: Duration = Duration::from_secs(80);

/// Sends requests to one address.
pub(super) struct Connections<C: Connector>(Arc<Shared<C>>);

struct Shared<C: Connector> {
    address: Uri,
    connector: Negotiated<C>,
    /// Finds out which version of HTTP the server speaks. All requests that need to know wait for it.
    negotiation: Mutex<Option<Negotiation>>,
    pools: Mutex<Vec<Pool<C>>>,
}

type Negotiation = future::Shared<BoxFuture<'static, Result<(), Arc<io::Error>>>>;

type Client<C> = legacy::Client<Negotiated<C>, Body>;

/// Over HTTP/2 one connection, which is made again if it breaks. Over HTTP/1.1 all connections.
struct Pool<C: Connector> {
    multiplexes: bool,
    client: Client<C>,
    /// Each request in flight has a clone, so the reference count tells how many there are.
    stream: Arc<()>,
}

impl<C: Connector> Connections<C> {
    pub(super) fn new(connector: C, address: Uri) -> Self {
        let connector = Negotiated::new(connector);
        Self(Arc::new(Shared { address, connector, negotiation: Mutex::default(), pools: Mutex::default() }))
    }
}

impl<C: Connector> Shared<C> {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<ResponseBody>, BoxError> {
        self.negotiate().await?;
        let (client, stream) = self.take_stream();
        let mut captured = capture_connection(&mut request);
        let mut response = client.request(request);
        let response = tokio::select! {
            biased;
            response = &mut response => response,
            () = async { drop(captured.wait_for_connection_metadata().await) } => {
                let retirement = retired_if_dropped_after(UNRESPONSIVE_AFTER, captured);
                let response = response.await;
                ScopeGuard::into_inner(retirement);
                response
            }
        };
        Ok(response?.map(|body| ResponseBody { body, _stream: stream }))
    }

    /// Waits until a first connection has been made. A background task makes it, so that a request that gives up does
    /// not make all other requests start again.
    async fn negotiate(&self) -> Result<(), BoxError> {
        let negotiation = {
            let mut negotiation = self.negotiation.lock().unwrap_or_else(PoisonError::into_inner);
            match &*negotiation {
                Some(negotiation) if negotiation.peek().is_none_or(Result::is_ok) => negotiation.clone(),
                _ => negotiation.insert(self.start_negotiation()).clone(),
            }
        };
        Ok(negotiation.await?)
    }

    fn start_negotiation(&self) -> Negotiation {
        let (connector, address) = (self.connector.clone(), self.address.clone());
        let connecting = async move { connector.connect_first(address).await };
        let task = tokio::spawn(timeout(FIRST_CONNECTION_TIMEOUT, connecting));
        let negotiated = async { task.await.map_err(io::Error::other)??.map_err(io::Error::other) };
        negotiated.map_err(Arc::new).boxed().shared()
    }

    /// A stream in the first pool that has room, or in a new pool.
    fn take_stream(&self) -> (Client<C>, Arc<()>) {
        let multiplexes = self.connector.multiplexes();
        let max_streams = if multiplexes { MAX_STREAMS_PER_CONNECTION } else { usize::MAX };
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        // Another server may have taken over this address, and it may speak another version of HTTP.
        pools.retain(|pool| pool.multiplexes == multiplexes);
        // One more reference is the pool's own.
        let free = pools.iter().position(|pool| Arc::strong_count(&pool.stream) <= max_streams);
        let free = free.unwrap_or_else(|| {
            pools.push(Pool { multiplexes, client: self.client(multiplexes), stream: Arc::default() });
            pools.len() - 1
        });
        (pools[free].client.clone(), pools[free].stream.clone())
    }

    fn client(&self, multiplexes: bool) -> Client<C> {
        legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            // Over HTTP/2 a connection with open watches is never idle, and pings show whether it is alive.
            .pool_idle_timeout((!multiplexes).then_some(IDLE_TIMEOUT))
            .http2_only(multiplexes)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .build(self.connector.clone())
    }
}

/// If it is dropped after `timeout`, the connection carries no other request.
fn retired_if_dropped_after(
    timeout: Duration,
    connection: CaptureConnection,
) -> ScopeGuard<CaptureConnection, impl FnOnce(CaptureConnection)> {
    let sent = Instant::now();
    scopeguard::guard(connection, move |connection| {
        if sent.elapsed() >= timeout
            && let Some(connected) = &*connection.connection_metadata()
        {
            tracing::debug!("no response: this connection is not used any more");
            connected.poison();
        }
    })
}

impl<C: Connector> Clone for Connections<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Connector> Service<Request<Body>> for Connections<C> {
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move { shared.send(request).await })
    }
}

/// The body of a response. As long as it lives, its request counts as a stream of the connection.
pub(super) struct ResponseBody {
    body: Incoming,
    _stream: Arc<()>,
}

impl http_body::Body for ResponseBody {
    type Data = <Incoming as http_body::Body>::Data;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The connections of a client. Over HTTP/2 many requests share each connection. Over HTTP/1.1 each request takes
//! one.
//!
//! 1. Each connection is made in a task of its own, in bounded time. If the request that asked for it gives up, the
//!    next request gets it.
//! 2. No more connections are being made than the requests that have waited at one time need. The first one tells how
//!    many that are.
//! 3. A connection over HTTP/2 that owes an answer for too long carries no other request until it answers one. The
//!    requests on it continue. If a second connection is silent too, it gets more time, so that a slow server does not
//!    get ever more connections.
//! 4. A request is sent again only if none of it was sent, and if its connection had been in use before.

use std::io;
use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, OptionFuture};
use http::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::connect::Connection;
use k8s_openapi::jiff::Timestamp;
use kube::client::Body;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tower::{BoxError, Service, ServiceExt};

use super::connection::{Http1, Http2, MAX_STREAMS_PER_CONNECTION, ResponseBody, Sent, Stream};
use super::connector::Connector;
use super::liveness::Liveness;
use super::lock;

/// The bound on making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an idle connection over HTTP/1.1 is kept. kube-apiserver closes a connection that was idle for 90 s, and
/// a write that is sent at that moment fails. This is as long as is possible without that. Over HTTP/2, the server
/// announces that it closes the connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(80);

/// Sends requests to one address.
pub(super) struct Connections<C: Connector>(Arc<Shared<C>>);

struct Shared<C: Connector> {
    address: Uri,
    connector: C,
    /// Until when the client's certificate is valid, if that is known.
    valid_until: Option<Timestamp>,
    pool: Mutex<Pool>,
    /// Told when a connection can be used that could not before.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Pool {
    http2: Vec<Arc<Http2>>,
    /// The connections over HTTP/1.1 that carry no request, each with the time since which it carries none.
    idle: Vec<(Http1, Instant)>,
    connecting: Vec<Connecting>,
    /// Each request that waits for a connection has a clone.
    waiting: Arc<()>,
    /// How many requests the most recent connection may carry at a time.
    requests_per_connection: Option<NonZero<usize>>,
}

/// The outcome of making a connection, once it is known.
type Connecting = watch::Receiver<Option<Result<(), Arc<io::Error>>>>;

fn is_pending(connecting: &Connecting) -> bool {
    // The sender goes without an outcome if its runtime ends.
    connecting.borrow().is_none() && connecting.has_changed().is_ok()
}

/// Waits until the connection is made, or its runtime ends.
async fn connected(mut connecting: Connecting) -> Result<(), BoxError> {
    let outcome = connecting.wait_for(Option::is_some).await;
    Ok(outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or(Ok(()))?)
}

/// A connection that may carry a request.
enum Ready {
    Http1(Http1),
    Http2(Stream),
}

impl Ready {
    fn has_answered(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.has_answered(),
            Self::Http2(stream) => stream.has_answered(),
        }
    }
}

impl Pool {
    fn take(&mut self) -> Option<Ready> {
        self.http2.retain(|connection| {
            connection.is_open() && !(connection.is_idle() && connection.is_unresponsive())
        });
        let mut responsive = self.http2.iter().filter(|connection| !connection.is_unresponsive());
        if let Some(stream) = responsive.find_map(Http2::open_stream) {
            return Some(Ready::Http2(stream));
        }
        self.idle.retain(|(connection, since)| connection.is_open() && since.elapsed() < IDLE_TIMEOUT);
        self.idle.pop().map(|(connection, _)| Ready::Http1(connection))
    }

    /// How many connections may be in the making.
    fn max_connecting(&self) -> usize {
        // One reference is the pool's own.
        let waiting = Arc::strong_count(&self.waiting) - 1;
        self.requests_per_connection.map_or(1, |requests| waiting.div_ceil(requests.get()))
    }
}

impl<C: Connector> Connections<C> {
    pub(super) fn new(connector: C, address: Uri, valid_until: Option<Timestamp>) -> Self {
        let (pool, changed) = Default::default();
        Self(Arc::new(Shared { address, connector, valid_until, pool, changed }))
    }
}

impl<C: Connector> Shared<C> {
    async fn send(self: Arc<Self>, mut request: Request<Body>) -> Result<Response<ResponseBody>, BoxError> {
        let address = request.uri().clone();
        loop {
            let connection = self.take().await?;
            let was_in_use = connection.has_answered();
            let mut failed = match self.send_on(connection, request).await {
                Ok(response) => {
                    self.explain(response.status());
                    return Ok(response);
                }
                Err(failed) => failed,
            };
            // Nothing was sent, because the server was just closing the connection.
            request = match failed.take_message() {
                Some(unsent) if was_in_use => unsent,
                _ => return Err(failed.into_error().into()),
            };
            *request.uri_mut() = address.clone();
        }
    }

    fn explain(&self, status: StatusCode) {
        if let (StatusCode::UNAUTHORIZED, Some(valid_until)) = (status, self.valid_until)
            && valid_until <= Timestamp::now()
        {
            tracing::warn!(target: "lease_lock", "the client's certificate has expired at {valid_until}: make a new client");
        }
    }

    async fn send_on(self: &Arc<Self>, connection: Ready, request: Request<Body>) -> Sent<ResponseBody> {
        match connection {
            Ready::Http1(mut connection) => {
                let response = connection.send(request).await?;
                tokio::spawn(self.clone().keep_when_idle(connection));
                Ok(response.map(|body| ResponseBody { body, stream: None }))
            }
            Ready::Http2(stream) => {
                let response = stream.send(request).await?;
                Ok(response.map(|body| ResponseBody { body, stream: Some(stream) }))
            }
        }
    }

    /// A connection, as soon as there is one.
    async fn take(self: &Arc<Self>) -> Result<Ready, BoxError> {
        let mut waiting = None;
        loop {
            let changed = self.changed.notified();
            let connecting = {
                let mut pool = lock(&self.pool);
                if let Some(ready) = pool.take() {
                    return Ok(ready);
                }
                waiting.get_or_insert_with(|| pool.waiting.clone());
                pool.connecting.retain(is_pending);
                if pool.connecting.len() < pool.max_connecting() {
                    pool.connecting.push(self.clone().connect());
                }
                pool.connecting.last().cloned()
            };
            tokio::select! {
                biased;
                Some(connected) = OptionFuture::from(connecting.map(connected)) => connected?,
                () = changed => {}
            }
        }
    }

    /// Starts to make a connection for the pool.
    fn connect(self: Arc<Self>) -> Connecting {
        let (outcome, connecting) = watch::channel(None);
        tokio::spawn(async move {
            let connected = timeout(CONNECT_TIMEOUT, self.make_connection()).await.unwrap_or_else(|_| {
                let text = format!("no connection to {} within {CONNECT_TIMEOUT:?}", self.address);
                Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
            });
            outcome.send_replace(Some(connected.map_err(|error| Arc::new(io::Error::other(error)))));
            self.changed.notify_waiters();
        });
        connecting
    }

    async fn make_connection(&self) -> Result<(), BoxError> {
        let connector = self.connector.clone();
        let socket = connector.oneshot(self.address.clone()).await.map_err(Into::into)?;
        if socket.connected().is_negotiated_h2() {
            let is_second = lock(&self.pool).http2.iter().any(|connection| connection.is_unresponsive());
            let starting = Http2::start(socket, Liveness::new(is_second), self.changed.clone());
            let connection = Arc::new(starting.await?);
            self.add(|pool| {
                pool.http2.push(connection.clone());
                pool.requests_per_connection = Some(MAX_STREAMS_PER_CONNECTION);
            });
            connection.limit_known().await;
        } else {
            let connection = Http1::start(socket).await?;
            self.add(|pool| {
                pool.idle.push((connection, Instant::now()));
                pool.requests_per_connection = Some(NonZero::<usize>::MIN);
            });
        }
        Ok(())
    }

    async fn keep_when_idle(self: Arc<Self>, connection: Http1) {
        if let Some(connection) = connection.idle().await {
            self.add(|pool| pool.idle.push((connection, Instant::now())));
        }
    }

    fn add(&self, add: impl FnOnce(&mut Pool)) {
        add(&mut lock(&self.pool));
        self.changed.notify_waiters();
    }
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
        self.0.clone().send(request).boxed()
    }
}

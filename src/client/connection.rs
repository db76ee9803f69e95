//! One connection, over HTTP/1.1 or HTTP/2.

use std::future::poll_fn;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{FutureExt, TryFutureExt};
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use scopeguard::defer;
use tokio::sync::Notify;
use tokio::time::sleep;
use tower::BoxError;

use super::connector::Socket;
use super::liveness::Liveness;
use super::lock;

/// How many requests, open watches included, share one connection over HTTP/2, if the server does not allow fewer.
/// kube-apiserver allows 100.
pub(super) const MAX_STREAMS_PER_CONNECTION: NonZero<usize> = NonZero::new(50).unwrap();
/// Stands for the limit of a server that has not told its limit yet.
const LIMIT_UNKNOWN: usize = usize::MAX - 1;
/// The pause between two looks whether the server has told its limit.
const LIMIT_CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// The client sends a ping after this time without a frame from the server.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long the client waits for the reply to a ping. Both times together are shorter than the default
/// `renew_deadline`.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// The result of sending a request. An error has the request, if none of it was sent.
pub(super) type Sent<T> = Result<Response<T>, TrySendError<Request<Body>>>;

/// A connection over HTTP/1.1. It carries one request at a time.
pub(super) struct Http1 {
    sender: http1::SendRequest<Body>,
    has_answered: bool,
}

impl Http1 {
    pub(super) async fn start(socket: impl Socket) -> Result<Self, BoxError> {
        let (mut sender, connection) = http1::Builder::new().handshake(socket).await?;
        let closed = |error| tracing::debug!(target: "lease_lock", "connection over HTTP/1.1: {error}");
        tokio::spawn(connection.with_upgrades().unwrap_or_else(closed));
        sender.ready().await?;
        Ok(Self { sender, has_answered: false })
    }

    pub(super) fn is_open(&self) -> bool {
        self.sender.is_ready()
    }

    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Sends a request, and changes its address to a path.
    pub(super) async fn send(&mut self, mut request: Request<Body>) -> Sent<Incoming> {
        if let Some(host) = host(request.uri()) {
            request.headers_mut().entry(header::HOST).or_insert(host);
        }
        if let Some(path) = request.uri().path_and_query() {
            *request.uri_mut() = Uri::from(path.clone());
        }
        let response = self.sender.try_send_request(request).await?;
        self.has_answered = true;
        Ok(response)
    }

    /// Waits until the response has been read to its end. Returns nothing if the connection cannot be used again.
    pub(super) async fn idle(mut self) -> Option<Self> {
        self.sender.ready().await.is_ok().then_some(self)
    }
}

/// The value of the header `Host`.
fn host(uri: &Uri) -> Option<HeaderValue> {
    let default_port = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let host = uri.host()?;
    let host = match uri.port_u16() {
        Some(port) if port != default_port => format!("{host}:{port}"),
        _ => host.to_owned(),
    };
    HeaderValue::try_from(host).ok()
}

/// A connection over HTTP/2, which requests share.
pub(super) struct Http2 {
    sender: http2::SendRequest<Body>,
    /// The number of streams that the server allows at a time.
    limit: Box<dyn Fn() -> usize + Send + Sync>,
    /// Each stream has a clone, so the reference count tells how many there are.
    streams: Arc<()>,
    liveness: Mutex<Liveness>,
    /// Told when an unresponsive connection can be used again.
    changed: Arc<Notify>,
}

impl Http2 {
    pub(super) async fn start(
        socket: impl Socket,
        liveness: Liveness,
        changed: Arc<Notify>,
    ) -> Result<Self, BoxError> {
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_max_send_streams(LIMIT_UNKNOWN)
            .handshake(socket)
            .await?;
        let connection = Arc::new(Mutex::new(Some(connection)));
        let running = connection.clone();
        tokio::spawn(poll_fn(move |context| {
            let mut running = lock(&running);
            let Some(connection) = running.as_mut() else { return Poll::Ready(()) };
            let result = ready!(connection.poll_unpin(context));
            tracing::debug!(target: "lease_lock", "connection over HTTP/2 has ended: {result:?}");
            // Otherwise the sender does not notice the end.
            *running = None;
            Poll::Ready(())
        }));
        sender.ready().await?;
        Ok(Self {
            sender,
            limit: Box::new(move || {
                lock(&connection).as_ref().map_or(0, http2::Connection::current_max_send_streams)
            }),
            streams: Arc::default(),
            liveness: Mutex::new(liveness),
            changed,
        })
    }

    /// Waits until the server has told how many streams it allows. Until then there is room for one.
    pub(super) async fn limit_known(&self) {
        while self.is_open() && (self.limit)() == LIMIT_UNKNOWN {
            sleep(LIMIT_CHECK_INTERVAL).await;
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether neither requests nor open watches use it.
    pub(super) fn is_idle(&self) -> bool {
        self.streams() == 0
    }

    pub(super) fn is_unresponsive(&self) -> bool {
        lock(&self.liveness).is_unresponsive()
    }

    /// A stream, if the connection has room for one.
    pub(super) fn open_stream(self: &Arc<Self>) -> Option<Stream> {
        let limit = match (self.limit)() {
            LIMIT_UNKNOWN => 1,
            limit => limit.clamp(1, MAX_STREAMS_PER_CONNECTION.get()),
        };
        let has_room = self.streams() < limit;
        has_room.then(|| Stream { connection: self.clone(), _stream: self.streams.clone() })
    }

    fn streams(&self) -> usize {
        // One reference is the connection's own.
        Arc::strong_count(&self.streams) - 1
    }

    fn heard(&self) {
        if lock(&self.liveness).heard() {
            self.changed.notify_waiters();
        }
    }
}

/// The right to send one request over HTTP/2. It lasts until the response has been read or dropped.
pub(super) struct Stream {
    connection: Arc<Http2>,
    _stream: Arc<()>,
}

impl Stream {
    pub(super) fn has_answered(&self) -> bool {
        lock(&self.connection.liveness).has_answered()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Sent<Incoming> {
        let connection = &self.connection;
        lock(&connection.liveness).sent();
        defer! { lock(&connection.liveness).ended() }
        let response = connection.sender.clone().try_send_request(request).await?;
        connection.heard();
        Ok(response)
    }
}

/// The body of a response. As long as it lives, its request counts as a stream of the connection.
pub(super) struct ResponseBody {
    pub(super) body: Incoming,
    pub(super) stream: Option<Stream>,
}

impl http_body::Body for ResponseBody {
    type Data = <Incoming as http_body::Body>::Data;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let (Poll::Ready(Some(Ok(_))), Some(stream)) = (&polled, &self.stream) {
            stream.connection.heard();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

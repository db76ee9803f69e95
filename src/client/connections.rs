//! The connections of a client: over HTTP/2 a few, each shared by many requests; over HTTP/1.1 one for each request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tower::{BoxError, Service};

use super::connector::{Connector, Probed};

/// So many requests share a connection over HTTP/2, open watches among them. kube-apiserver allows 100, and common proxies
/// no less; what is beyond a server's limit waits for others to end, which watches do not.
const SHARE: usize = 50;

/// A peer that answers nothing is asked for a sign of life after this time without one, ..
const PING_AFTER: Duration = Duration::from_secs(5);
/// .. and given up after this: within the default `renew_deadline`.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection on which a request was given up after so long carries no others: it may be dead.
const PATIENCE: Duration = Duration::from_secs(1);

/// As long as it can be: kube-apiserver closes a connection that was idle for 90 s, and no write should meet that.
const IDLE_TIMEOUT: Duration = Duration::from_secs(80);

/// Sends requests to one address.
pub(super) struct Connections<C: Connector>(Arc<Shared<C>>);

struct Shared<C: Connector> {
    address: Uri,
    connector: Probed<C>,
    /// How many requests a lane has room for, once it is known which HTTP the server speaks.
    room: OnceCell<usize>,
    lanes: Mutex<Vec<Lane<C>>>,
}

type Client<C> = legacy::Client<Probed<C>, Body>;

/// Over HTTP/2 one connection, made anew where it breaks; over HTTP/1.1 all of them.
struct Lane<C: Connector> {
    client: Client<C>,
    /// Shared by all requests under way.
    place: Arc<()>,
}

impl<C: Connector> Connections<C> {
    pub(super) fn new(connector: C, address: Uri) -> Self {
        let connector = Probed::new(connector);
        Self(Arc::new(Shared { address, connector, room: OnceCell::new(), lanes: Mutex::default() }))
    }
}

impl<C: Connector> Shared<C> {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        let room = *self.room.get_or_try_init(|| self.room()).await?;
        let (client, place) = self.place(room);
        let doubt = doubted_after(PATIENCE, capture_connection(&mut request));
        let answer = client.request(request).await;
        scopeguard::ScopeGuard::into_inner(doubt);
        Ok(answer?.map(|body| Answer { body, _place: place }))
    }

    async fn room(&self) -> Result<usize, BoxError> {
        Ok(if self.connector.probe(self.address.clone()).await? { SHARE } else { usize::MAX })
    }

    /// A place in the first lane that has one, or in a new one.
    fn place(&self, room: usize) -> (Client<C>, Arc<()>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let free = lanes.iter().position(|lane| Arc::strong_count(&lane.place) <= room);
        let free = free.unwrap_or_else(|| {
            lanes.push(Lane { client: self.client(room == SHARE), place: Arc::default() });
            lanes.len() - 1
        });
        (lanes[free].client.clone(), lanes[free].place.clone())
    }

    fn client(&self, multiplexes: bool) -> Client<C> {
        legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http2_only(multiplexes)
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .build(self.connector.clone())
    }
}

/// Dropped, it takes the connection out of use, if so much time has passed.
fn doubted_after(
    patience: Duration,
    connection: CaptureConnection,
) -> scopeguard::ScopeGuard<CaptureConnection, impl FnOnce(CaptureConnection)> {
    let asked = Instant::now();
    scopeguard::guard(connection, move |connection| {
        if asked.elapsed() >= patience
            && let Some(connected) = &*connection.connection_metadata()
        {
            tracing::debug!("no answer: not using this connection any more");
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
    type Response = Response<Answer>;
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

/// The body of an answer. Until it has ended, its request takes its place on the connection.
pub(super) struct Answer {
    body: Incoming,
    _place: Arc<()>,
}

impl http_body::Body for Answer {
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

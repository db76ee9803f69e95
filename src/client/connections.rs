//! The connections of a client: over HTTP/2 a few, each shared by many requests; over HTTP/1.1 one for each request.

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

use super::connector::{Connector, Probed};

/// So many requests share a connection over HTTP/2, open watches among them. kube-apiserver allows 100, and common proxies
/// no less; what is beyond a server's limit waits for others to end, which watches do not.
const SHARE: usize = 50;

/// A peer that answers nothing is asked for a sign of life after this time without one, ..
const PING_AFTER: Duration = Duration::from_secs(5);
/// .. and given up after this: within the default `renew_deadline`.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// The first connection is given up after this.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on which a request was given up after so long carries no others: it may be dead.
const PATIENCE: Duration = Duration::from_secs(1);

/// As long as it can be: kube-apiserver closes a connection that was idle for 90 s, and no write should meet that.
const IDLE_TIMEOUT: Duration = Duration::from_secs(80);

/// Sends requests to one address.
pub(super) struct Connections<C: Connector>(Arc<Shared<C>>);

struct Shared<C: Connector> {
    address: Uri,
    connector: Probed<C>,
    /// Finds out which HTTP the server speaks, for all that wait for it.
    probe: Mutex<Option<Probe>>,
    lanes: Mutex<Vec<Lane<C>>>,
}

type Probe = future::Shared<BoxFuture<'static, Result<(), Arc<io::Error>>>>;

type Client<C> = legacy::Client<Probed<C>, Body>;

/// Over HTTP/2 one connection, made anew where it breaks; over HTTP/1.1 all of them.
struct Lane<C: Connector> {
    multiplexes: bool,
    client: Client<C>,
    /// Shared by all requests under way.
    place: Arc<()>,
}

impl<C: Connector> Connections<C> {
    pub(super) fn new(connector: C, address: Uri) -> Self {
        let connector = Probed::new(connector);
        Self(Arc::new(Shared { address, connector, probe: Mutex::default(), lanes: Mutex::default() }))
    }
}

impl<C: Connector> Shared<C> {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        self.probe().await?;
        let (client, place) = self.place();
        let mut captured = capture_connection(&mut request);
        let mut answer = client.request(request);
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            () = async { drop(captured.wait_for_connection_metadata().await) } => {
                let doubt = doubted_after(PATIENCE, captured);
                let answer = answer.await;
                ScopeGuard::into_inner(doubt);
                answer
            }
        };
        Ok(answer?.map(|body| Answer { body, _place: place }))
    }

    /// Waits until a first connection has been made. A background task makes it, so that whoever gives up waiting does
    /// not have all others begin anew.
    async fn probe(&self) -> Result<(), BoxError> {
        let probe = {
            let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
            match &*probe {
                Some(probe) if probe.peek().is_none_or(Result::is_ok) => probe.clone(),
                _ => probe.insert(self.start_probe()).clone(),
            }
        };
        Ok(probe.await?)
    }

    fn start_probe(&self) -> Probe {
        let (connector, address) = (self.connector.clone(), self.address.clone());
        let probing = tokio::spawn(timeout(PROBE_TIMEOUT, async move { connector.probe(address).await }));
        let probed = async { probing.await.map_err(io::Error::other)??.map_err(io::Error::other) };
        probed.map_err(Arc::new).boxed().shared()
    }

    /// A place in the first lane that has one, or in a new one.
    fn place(&self) -> (Client<C>, Arc<()>) {
        let multiplexes = self.connector.multiplexes();
        let room = if multiplexes { SHARE } else { usize::MAX };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever answers there may change, and speak something else.
        lanes.retain(|lane| lane.multiplexes == multiplexes);
        let free = lanes.iter().position(|lane| Arc::strong_count(&lane.place) <= room);
        let free = free.unwrap_or_else(|| {
            lanes.push(Lane { multiplexes, client: self.client(multiplexes), place: Arc::default() });
            lanes.len() - 1
        });
        (lanes[free].client.clone(), lanes[free].place.clone())
    }

    fn client(&self, multiplexes: bool) -> Client<C> {
        legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            // Over HTTP/2 a connection with open watches is never idle, and pings tell whether it is alive.
            .pool_idle_timeout((!multiplexes).then_some(IDLE_TIMEOUT))
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
) -> ScopeGuard<CaptureConnection, impl FnOnce(CaptureConnection)> {
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

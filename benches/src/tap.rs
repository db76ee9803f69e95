//! What goes through a client: noted, and cut off on demand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use kube::client::Body;
use tokio::time::sleep;
use tower::{Layer, Service};

/// A tower layer that notes the requests of one or more clients.
#[derive(Clone, Default)]
pub(crate) struct Tap(Arc<Noted>);

#[derive(Default)]
struct Noted {
    requests: Mutex<Vec<Sent>>,
    cut: AtomicBool,
}

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) verb: Verb,
    /// When it was sent.
    pub(crate) at: Instant,
    /// The HTTP status of the answer.
    pub(crate) status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Read,
    Watch,
    Write,
    /// A place taken in the queue of those who wait.
    Place,
}

impl Tap {
    /// The requests answered since the last call, in the order of their answers.
    pub(crate) fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.requests())
    }

    /// Waits until some request has been answered, and then none for so long.
    pub(crate) async fn until_quiet(&self, quiet: Duration) {
        let mut before = 0;
        loop {
            let answered = self.requests().len();
            if answered > 0 && answered == before {
                return;
            }
            before = answered;
            sleep(quiet).await;
        }
    }

    /// From now on requests are not sent, and get no answer.
    pub(crate) fn cut(&self) {
        self.0.cut.store(true, Ordering::Relaxed);
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for Tap {
    type Service = Tapped<S>;

    fn layer(&self, inner: S) -> Tapped<S> {
        Tapped { inner, tap: self.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct Tapped<S> {
    inner: S,
    tap: Tap,
}

impl<S, B> Service<Request<Body>> for Tapped<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.tap.0.cut.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        let (verb, at, tap) = (verb(&request), Instant::now(), self.tap.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            tap.requests().push(Sent { verb, at, status: answer.status().as_u16() });
            Ok(answer)
        })
    }
}

const MERGE: &str = "application/merge-patch+json";

fn verb(request: &Request<Body>) -> Verb {
    let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    match *request.method() {
        _ if watch => Verb::Watch,
        Method::GET => Verb::Read,
        _ if request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == MERGE) => Verb::Place,
        _ => Verb::Write,
    }
}

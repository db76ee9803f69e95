//! Records the requests of a client, and blocks them on demand.

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

/// A tower layer that records the requests of one or more clients.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Shared>);

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Sent>>,
    blocked: AtomicBool,
}

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) verb: Verb,
    /// The time at which it was sent.
    pub(crate) at: Instant,
    /// The time until the answer began.
    pub(crate) took: Duration,
    /// The HTTP status of the answer.
    pub(crate) status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Read,
    Watch,
    Write,
    /// A write that joins the queue of waiters.
    JoinQueue,
}

impl Recorder {
    /// The requests that were answered since the last call, in the order of their answers.
    pub(crate) fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.requests())
    }

    /// Waits until at least one request has been answered, and then none for the time `quiet`.
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

    /// Blocks all requests from now on: they are not sent, and get no answer.
    pub(crate) fn block(&self) {
        self.0.blocked.store(true, Ordering::Relaxed);
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for Recorder {
    type Service = Recording<S>;

    fn layer(&self, inner: S) -> Recording<S> {
        Recording { inner, recorder: self.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct Recording<S> {
    inner: S,
    recorder: Recorder,
}

impl<S, B> Service<Request<Body>> for Recording<S>
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
        if self.recorder.0.blocked.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        let (verb, at, recorder) = (verb(&request), Instant::now(), self.recorder.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            recorder.requests().push(Sent { verb, at, took: at.elapsed(), status: answer.status().as_u16() });
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
        _ if request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == MERGE) => Verb::JoinQueue,
        _ => Verb::Write,
    }
}

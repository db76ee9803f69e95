//! One client's way to the server.

use std::fmt;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use http::Response;
use kube::Client;
use kube::client::Body;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tower::BoxError;

use super::answer::{Answer, ReplyBody};
use super::fault::{Effect, Fault, Faults, Struck};
use super::log::{Log, Request};
use super::request::Call;
use super::serve::serve;
use super::status::{self, Failure};
use super::store::{Store, lock};
use super::verb::Verb;
use super::watch::Fate;

/// One client's connection to a [`LeaseServer`](super::LeaseServer): the faults and the request log belong to it
/// alone.
///
/// Cheap to clone; all clones are the same link.
#[derive(Clone)]
pub struct Link {
    pub(crate) store: Arc<Store>,
    line: Arc<Mutex<Line>>,
    namespace: String,
}

/// What a link consists of, besides the server.
#[derive(Debug, Default)]
struct Line {
    faults: Faults,
    log: Log,
    watches: Vec<watch::Sender<Fate>>,
}

type Reply = Result<Answer, io::Error>;

impl Link {
    pub(crate) fn new(store: Arc<Store>, namespace: String) -> Self {
        Self { store, line: Arc::default(), namespace }
    }

    /// A client over this link. It has no timeouts and no retries of its own, unlike a client made from a
    /// [`kube::Config`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        let link = self.clone();
        let service = tower::service_fn(move |request| link.send(request));
        Client::new(service, &self.namespace)
    }

    /// Lets `fault` happen from now on. Each request meets one fault at most: of those injected, the first one that
    /// matches it and is not used up.
    pub fn inject(&self, fault: Fault) {
        lock(&self.line).faults.inject(fault);
    }

    /// Removes all faults. Requests that hang stay hung: their packets are lost.
    pub fn heal(&self) {
        lock(&self.line).faults.heal();
    }

    /// All requests that came over this link, in the order in which they were sent.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.line).log.requests().to_vec()
    }

    /// How many requests of one kind came over this link.
    #[must_use]
    pub fn count(&self, verb: Verb) -> usize {
        let line = lock(&self.line);
        line.log.requests().iter().filter(|r| r.verb == verb).count()
    }

    /// Starts the log of requests anew.
    pub fn forget_requests(&self) {
        lock(&self.line).log.forget();
    }

    /// Ends the open watches cleanly, as the server does after a while.
    pub fn end_watches(&self) {
        self.decide(Fate::Ended);
    }

    /// Breaks the open watches with an I/O error.
    pub fn reset_watches(&self) {
        self.decide(Fate::Reset);
    }

    /// Lets the open watches stay open but deliver nothing any more, not even their end: a connection that is half
    /// open.
    pub fn mute_watches(&self) {
        self.decide(Fate::Mute);
    }

    /// How many watches are open, muted ones included.
    #[must_use]
    pub fn open_watches(&self) -> usize {
        let line = lock(&self.line);
        line.watches.iter().filter(|w| !w.is_closed()).count()
    }

    fn decide(&self, fate: Fate) {
        for watch in &lock(&self.line).watches {
            watch.send_if_modified(|old| {
                let is_open = matches!(old, Fate::Flowing | Fate::Mute);
                if is_open {
                    *old = fate;
                }
                is_open
            });
        }
    }

    /// How a new watch learns its fate.
    pub(crate) fn register_watch(&self) -> watch::Receiver<Fate> {
        let (sender, receiver) = watch::channel(Fate::Flowing);
        let mut line = lock(&self.line);
        line.watches.retain(|w| !w.is_closed());
        line.watches.push(sender);
        receiver
    }

    /// What happens to the next event of a watch.
    pub(crate) fn strike_event(&self) -> Option<Effect> {
        lock(&self.line).faults.strike_event()
    }

    /// Puts a request on the wire. There it takes its course, whether the client waits for the answer or not.
    fn send(
        &self,
        request: http::Request<Body>,
    ) -> impl Future<Output = Result<Response<ReplyBody>, BoxError>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        let link = self.clone();
        tokio::spawn(async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect_bytes().await else {
                return;
            };
            match Call::parse(&parts, body.to_vec()) {
                Ok(call) => link.carry(call, sender).await,
                Err(answer) => drop(sender.send(Ok(answer))),
            }
        });
        async move {
            match receiver.await {
                Ok(reply) => Ok(reply?.into()),
                Err(_lost) => pending().await,
            }
        }
    }

    async fn carry(&self, call: Call, sender: oneshot::Sender<Reply>) {
        let (number, struck) = {
            let mut line = lock(&self.line);
            (line.log.receive(&call), line.faults.strike_request(call.verb))
        };
        let Some(reply) = self.process(&call, struck).await else {
            return;
        };
        if let Ok(answer) = &reply {
            lock(&self.line).log.answer(number, answer.code);
        }
        drop(sender.send(reply));
    }

    /// The reply that reaches the client, if one does.
    async fn process(&self, call: &Call, struck: Option<Struck>) -> Option<Reply> {
        let Some(Struck { effect, retry_after }) = struck else {
            return Some(Ok(serve(self, call)));
        };
        let fail = |code| {
            let failure = self.failure(code, call);
            match retry_after {
                Some(delay) => failure.retry_after(delay.as_secs()).into(),
                None => failure.into(),
            }
        };
        let answer = match effect {
            Effect::Hang => return None,
            Effect::Refuse => return Some(Err(ErrorKind::ConnectionRefused.into())),
            Effect::Status(code) => fail(code),
            Effect::DelayBefore(delay) => {
                sleep(delay).await;
                serve(self, call)
            }
            _ => {
                let answer = serve(self, call);
                match effect {
                    Effect::Reset => return Some(Err(ErrorKind::ConnectionReset.into())),
                    Effect::LoseReply => return None,
                    Effect::CommitThenStatus(code) => fail(code),
                    Effect::Garbage => Answer::garbage(),
                    Effect::Replay => serve(self, call),
                    Effect::DelayAfter(delay) => {
                        sleep(delay).await;
                        answer
                    }
                    _ => answer,
                }
            }
        };
        Some(Ok(answer))
    }

    /// The error that Kubernetes sends with `code`.
    fn failure(&self, code: u16, call: &Call) -> Failure {
        let Call { verb, namespace, name, .. } = call;
        match code {
            400 => status::bad_request("the server rejected our request for an unknown reason"),
            401 => status::unauthorized(),
            403 => {
                let user = format!("system:serviceaccount:{}:default", self.namespace);
                let scope = match namespace.as_str() {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                let why = format!(
                    "User {user:?} cannot {} resource \"leases\" in API group {:?} {scope}",
                    verb.rbac(),
                    status::GROUP,
                );
                status::forbidden(name, &why)
            }
            404 => status::not_found(name),
            409 if *verb == Verb::Create => status::already_exists(name),
            409 => status::modified(name),
            410 => status::expired("The resourceVersion for the provided watch is too old."),
            422 => status::invalid(status::KIND, name, &[]),
            429 => status::too_many_requests(),
            500 => status::internal("etcdserver: request timed out"),
            503 => status::unavailable(),
            504 => status::timeout(
                "request did not complete within requested timeout - context deadline exceeded",
            ),
            other => status::other(other),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

//! The connection of one client to the server.

use std::fmt;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Client;
use kube::client::Body;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tower::BoxError;

use super::connection::{Connection, WatchState};
use super::fault::{Effect, Fault, Hit};
use super::log::Request;
use super::request::Call;
use super::response::{Response, ResponseBody};
use super::serve::serve;
use super::status::{self, Failure};
use super::store::{Store, lock};
use super::verb::Verb;

/// One client's connection to a [`LeaseServer`](super::LeaseServer): the faults and the request log belong to it
/// alone.
///
/// Cheap to clone; all clones are the same link.
#[derive(Clone)]
pub struct Link {
    store: Arc<Store>,
    connection: Arc<Mutex<Connection>>,
    namespace: String,
}

type SendResult = Result<Response, io::Error>;

impl Link {
    pub(crate) fn new(store: Arc<Store>, namespace: String) -> Self {
        Self { store, connection: Arc::default(), namespace }
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

    /// Injects `fault` from now on. At most one fault hits a request: the first injected one that matches it and is not
    /// used up.
    pub fn inject(&self, fault: Fault) {
        lock(&self.connection).faults.inject(fault);
    }

    /// Removes all faults. Requests that hang continue to hang, because their packets are lost.
    pub fn heal(&self) {
        lock(&self.connection).faults.heal();
    }

    /// Sets the distance to the server: the time that every request and every response takes, and every event of a watch
    /// and its end. The default is zero. Injected faults add to it.
    ///
    /// Requests, responses and events that are under way keep their time. The events of one watch always stay in order.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use k8s_openapi::api::coordination::v1::Lease;
    /// use kube::Api;
    /// use kube_lease_lock::testing::LeaseServer;
    /// use tokio::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let link = LeaseServer::new().connect();
    /// link.set_distance(Duration::from_millis(40));
    /// let leases: Api<Lease> = Api::default_namespaced(link.client());
    ///
    /// let start = Instant::now();
    /// leases.get_opt("leader").await?;
    /// assert_eq!(start.elapsed(), Duration::from_millis(80));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_distance(&self, one_way: Duration) {
        lock(&self.connection).distance = one_way;
    }

    /// Lets the time of each trip vary: it is drawn at random between 50 % and 150 % of the distance. The same seed draws
    /// the same times.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use k8s_openapi::api::coordination::v1::Lease;
    /// use kube::Api;
    /// use kube_lease_lock::testing::LeaseServer;
    /// use tokio::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let link = LeaseServer::new().connect();
    /// link.set_distance(Duration::from_millis(40));
    /// link.set_jitter(1);
    /// let leases: Api<Lease> = Api::default_namespaced(link.client());
    ///
    /// let start = Instant::now();
    /// leases.get_opt("leader").await?;
    /// assert!((40..=122).contains(&start.elapsed().as_millis()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_jitter(&self, seed: u64) {
        lock(&self.connection).jitter = Some(fastrand::Rng::with_seed(seed));
    }

    /// All requests over this link, in the order in which they were sent.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.connection).log.requests().to_vec()
    }

    /// The number of requests of one kind over this link.
    #[must_use]
    pub fn count(&self, verb: Verb) -> usize {
        let connection = lock(&self.connection);
        connection.log.requests().iter().filter(|r| r.verb == verb).count()
    }

    /// Clears the log of requests.
    pub fn forget_requests(&self) {
        lock(&self.connection).log.forget();
    }

    /// Ends the open watches cleanly, as the server does when their time is up.
    pub fn end_watches(&self) {
        lock(&self.connection).set_watches(WatchState::Ended);
    }

    /// Breaks the open watches with an I/O error.
    pub fn reset_watches(&self) {
        lock(&self.connection).set_watches(WatchState::Reset);
    }

    /// Mutes the open watches: they stay open but deliver nothing, not even their end. A half-open connection behaves
    /// like this.
    pub fn mute_watches(&self) {
        lock(&self.connection).set_watches(WatchState::Muted);
    }

    /// The number of open watches, including muted ones.
    #[must_use]
    pub fn open_watches(&self) -> usize {
        lock(&self.connection).open_watches()
    }

    /// Sends a request. The server processes it even if the client no longer waits for the response.
    fn send(
        &self,
        request: http::Request<Body>,
    ) -> impl Future<Output = Result<http::Response<ResponseBody>, BoxError>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        let link = self.clone();
        tokio::spawn(async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect_bytes().await else {
                return;
            };
            match Call::parse(&parts, body.to_vec()) {
                Ok(call) => link.handle(call, sender).await,
                Err(response) => {
                    link.travel().await;
                    link.travel().await;
                    drop(sender.send(Ok(response)));
                }
            }
        });
        async move {
            match receiver.await {
                Ok(result) => Ok(result?.into()),
                Err(_lost) => pending().await,
            }
        }
    }

    async fn handle(&self, call: Call, mut sender: oneshot::Sender<SendResult>) {
        let (number, hit) = {
            let mut connection = lock(&self.connection);
            (connection.log.record_request(&call), connection.faults.next_for_request(call.verb))
        };
        self.travel().await;
        let Some(result) = self.process(&call, hit, &mut sender).await else {
            return;
        };
        self.travel().await;
        if let Ok(response) = &result {
            lock(&self.connection).log.record_response(number, response.code);
        }
        drop(sender.send(result));
    }

    /// Waits for one trip, to the server or back.
    async fn travel(&self) {
        let trip = lock(&self.connection).next_trip();
        if !trip.is_zero() {
            sleep(trip).await;
        }
    }

    /// The result that the client gets: a response, an I/O error, or nothing. The sender tells whether the client still waits.
    async fn process(
        &self,
        call: &Call,
        hit: Option<Hit>,
        sender: &mut oneshot::Sender<SendResult>,
    ) -> Option<SendResult> {
        let Some(Hit { effect, retry_after }) = hit else {
            return Some(Ok(self.serve(call)));
        };
        let fail = |code| {
            let failure = self.failure(code, call);
            match retry_after {
                Some(delay) => failure.retry_after(delay.as_secs()).into(),
                None => failure.into(),
            }
        };
        let response = match effect {
            Effect::Hang => return None,
            Effect::Refuse => return Some(Err(ErrorKind::ConnectionRefused.into())),
            Effect::Status(code) => fail(code),
            Effect::DelayBefore(delay) => {
                sleep(delay).await;
                self.serve(call)
            }
            Effect::Slow(delay) => {
                timeout(delay, sender.closed()).await.err()?;
                self.serve(call)
            }
            _ => {
                let response = self.serve(call);
                match effect {
                    Effect::Reset => return Some(Err(ErrorKind::ConnectionReset.into())),
                    Effect::LoseReply => return None,
                    Effect::CommitThenStatus(code) => fail(code),
                    Effect::Garbage => Response::garbage(),
                    Effect::Replay => self.serve(call),
                    Effect::DelayAfter(delay) => {
                        sleep(delay).await;
                        response
                    }
                    _ => response,
                }
            }
        };
        Some(Ok(response))
    }

    fn serve(&self, call: &Call) -> Response {
        serve(&self.store, &self.connection, call)
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

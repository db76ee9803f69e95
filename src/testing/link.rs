//! The connection of one client to the server.

use std::fmt;
use std::future::pending;
use std::io::{Error, ErrorKind};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Client;
use kube::client::Body;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tower::BoxError;

use super::connection::{Connection, Moment, WatchState};
use super::fault::{Effect, Fault, Hit};
use super::log::Request;
use super::relay::relay;
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
    /// Serves what is not a Lease, for the client that this copy of the link belongs to.
    other: Option<Client>,
}

type SendResult = Result<Response, BoxError>;

impl Link {
    pub(crate) fn new(store: Arc<Store>, namespace: String) -> Self {
        Self { store, connection: Arc::default(), namespace, other: None }
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

    /// A client over this link for which `other` serves everything but Leases: other resources and discovery. Without it the
    /// server answers such requests with 501.
    ///
    /// The faults, the distance, the cuts and the log of the link apply to all requests of the client. A
    /// [watch](Verb::Watch) at `other` is one of the watches of the link. Only [`Fault::drop_events`] and
    /// [`Fault::delay_events`] spare it. The client has no timeouts and no retries of its own, but `other` may have them.
    ///
    /// `other` is a client of a mock or of a real cluster. [`Client::new`] makes one of any tower service. If the service
    /// panics, so does the request.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use k8s_openapi::api::core::v1::Pod;
    /// use kube::client::Body;
    /// use kube::{Api, Client};
    /// use kube_lease_lock::LeaseLock;
    /// use kube_lease_lock::testing::LeaseServer;
    /// use serde_json::json;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // A mock that has no Pods.
    /// let mock = tower::service_fn(async |request: Request<Body>| {
    ///     assert_eq!(request.uri().path(), "/api/v1/namespaces/default/pods");
    ///     let list = json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [] });
    ///     Ok::<_, std::convert::Infallible>(Response::new(Body::from(list.to_string().into_bytes())))
    /// });
    /// let link = LeaseServer::new().connect();
    /// let client = link.client_with(Client::new(mock, "default"));
    ///
    /// let lock = LeaseLock::new(client.clone(), "controller")?;
    /// let guard = lock.acquire().await?;
    /// let pods: Api<Pod> = Api::default_namespaced(client);
    /// assert!(pods.list(&Default::default()).await?.items.is_empty());
    /// # guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn client_with(&self, other: Client) -> Client {
        Self { other: Some(other), ..self.clone() }.client()
    }

    /// Cuts the client off, as a network partition does, until [`mend`](Self::mend). What is on its way is lost, and so is
    /// everything that the client or the server sends from now on. Requests get no response, and open watches fall
    /// silent.
    ///
    /// The client sees a half-open connection: what hangs when the link is mended continues to hang.
    ///
    /// ```
    /// use kube_lease_lock::testing::LeaseServer;
    /// use kube_lease_lock::{LeaseLock, LossReason};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = LeaseServer::new();
    /// let link = server.connect();
    /// let lock = LeaseLock::new(link.client(), "a-lock")?;
    /// let guard = lock.acquire().await?;
    ///
    /// link.cut();
    /// // The holder learns neither that its renewals fail, nor that another client takes the Lease.
    /// server.take("default", "a-lock", "somebody else");
    /// assert!(matches!(guard.lost().await, LossReason::DeadlinePassed { .. }));
    ///
    /// link.mend();
    /// let holder = lock.holder().await?.ok_or("no holder")?;
    /// assert_eq!(holder.identity, "somebody else");
    /// # Ok(())
    /// # }
    /// ```
    pub fn cut(&self) {
        lock(&self.connection).cut();
    }

    /// Ends a [`cut`](Self::cut): requests and watches that begin from now on work. The faults stay.
    pub fn mend(&self) {
        lock(&self.connection).mend();
    }

    /// Injects `fault` from now on. At most one fault hits a request: the first injected one that matches it and is not
    /// used up.
    pub fn inject(&self, fault: Fault) {
        lock(&self.connection).faults.inject(fault);
    }

    /// Removes all faults. Requests that hang continue to hang, because their packets are lost. It does not end a
    /// [`cut`](Self::cut).
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

    /// The number of requests of one kind over this link, for Leases and for everything else.
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
        let processing = tokio::spawn(async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect_bytes().await else {
                return;
            };
            link.handle(Call::parse(parts, body.to_vec()), sender).await;
        });
        async move {
            match receiver.await {
                Ok(result) => Ok(result?.into()),
                Err(_lost) => match processing.await {
                    // A service that panics, such as a mock, fails the test that sent the request.
                    Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                    _ => pending().await,
                },
            }
        }
    }

    async fn handle(&self, call: Call, mut sender: oneshot::Sender<SendResult>) {
        let (number, sent, hit) = {
            let mut connection = lock(&self.connection);
            let number = connection.log.record_request(&call);
            let Some(sent) = connection.moment() else {
                return;
            };
            (number, sent, connection.faults.next_for_request(call.verb))
        };
        self.travel().await;
        let Some(result) = self.process(&call, sent, hit, &mut sender).await else {
            return;
        };
        self.travel().await;
        if self.is_lost(sent) {
            return;
        }
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

    /// Whether the link was cut after `sent`.
    fn is_lost(&self, sent: Moment) -> bool {
        lock(&self.connection).moment() != Some(sent)
    }

    /// The result that the client gets: a response, an I/O error, or nothing. The sender tells whether the client still waits.
    async fn process(
        &self,
        call: &Call,
        sent: Moment,
        hit: Option<Hit>,
        sender: &mut oneshot::Sender<SendResult>,
    ) -> Option<SendResult> {
        let Some(Hit { effect, retry_after }) = hit else {
            return self.serve(call, sent).await;
        };
        let fail = |code| {
            let failure = self.failure(code, call);
            match retry_after {
                Some(delay) => failure.retry_after(delay.as_secs()).into(),
                None => failure.into(),
            }
        };
        let io_error = |kind| Some(Err(Error::from(kind).into()));
        match effect {
            Effect::Hang => None,
            Effect::Refuse => io_error(ErrorKind::ConnectionRefused),
            Effect::Status(code) => Some(Ok(fail(code))),
            Effect::DelayBefore(delay) => {
                sleep(delay).await;
                self.serve(call, sent).await
            }
            Effect::Slow(delay) => {
                timeout(delay, sender.closed()).await.err()?;
                self.serve(call, sent).await
            }
            _ => {
                let result = self.serve(call, sent).await?;
                match effect {
                    Effect::Reset => io_error(ErrorKind::ConnectionReset),
                    Effect::LoseReply => None,
                    Effect::CommitThenStatus(code) => Some(Ok(fail(code))),
                    Effect::Garbage => Some(Ok(Response::garbage())),
                    Effect::Replay => self.serve(call, sent).await,
                    Effect::DelayAfter(delay) => {
                        sleep(delay).await;
                        Some(result)
                    }
                    _ => Some(result),
                }
            }
        }
    }

    /// The result of a request that arrives now. Nothing arrives if the link was cut on the way.
    async fn serve(&self, call: &Call, sent: Moment) -> Option<SendResult> {
        if self.is_lost(sent) {
            return None;
        }
        Some(match &self.other {
            Some(other) if !call.is_for_leases => relay(other, &self.connection, call).await,
            _ => Ok(serve(&self.store, &self.connection, call)),
        })
    }

    /// The error that Kubernetes sends with `code`.
    fn failure(&self, code: u16, call: &Call) -> Failure {
        let Call { verb, namespace, name, .. } = call;
        let failure = match code {
            400 => status::bad_request("the server rejected our request for an unknown reason"),
            401 => status::unauthorized(),
            403 => {
                let user = format!("system:serviceaccount:{}:default", self.namespace);
                let scope = match namespace.as_str() {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                let why = format!(
                    "User {user:?} cannot {} resource {:?} in API group {:?} {scope}",
                    verb.rbac(),
                    call.resource,
                    call.group,
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
        };
        if call.is_for_leases { failure } else { failure.of(&call.group, &call.resource) }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

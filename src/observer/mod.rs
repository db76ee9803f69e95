//! Observing a Lease without contending for it: who holds it, live, by one watch and no writes.

mod holder;
mod task;

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{Stream, stream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;
use crate::error::ObserveError;
use crate::kubernetes::LeaseClient;
use crate::lease::LeaseName;
use crate::random::Random;
use crate::settings::Options;
pub use holder::ObservedHolder;
use task::Publisher;

/// Observes who holds a Lease, and never contends for it: for followers that route to the leader, and for dashboards.
///
/// [`LeaseLock::observe`](crate::LeaseLock::observe) makes it for the Lease of a lock. [`new`](Self::new) and
/// [`in_namespace`](Self::in_namespace) make it without a lock. It needs the permissions `get` and `watch`, and writes nothing.
///
/// There are three ways to follow it, which may be used together: [`holder`](Self::holder) has the present answer,
/// [`changed`](Self::changed) waits for the next one, and the observer is a [`Stream`] of answers.
///
/// # What an answer says
///
/// An answer is what this process knows, and no permission to do anything: another process may acquire the Lease while the
/// answer is on its way. An answer comes as soon as the watch has told. If the watch is silent because its connection is dead, the
/// answer comes at the end of the present record, or after 30 seconds, whichever is earlier; a read that gets no answer takes 5 more
/// seconds. By then the answer is [`Unknown`](ObservedHolder::Unknown), if nothing can be known.
///
/// A holder that has crashed is [`Held`](ObservedHolder::Held) until this process has seen its record unchanged for the
/// `leaseDurationSeconds` in it. Then a read makes sure, and the answer is [`Expired`](ObservedHolder::Expired).
///
/// # Cost
///
/// One watch, however many clones there are. One read at the beginning, one read 30 seconds later, which proves the watch,
/// and none after that while the holder renews at least every 30 seconds. While nobody renews, because the Lease is free, expired
/// or missing, there is a read after 30 seconds without news; an API server sends a bookmark every minute. Without the
/// permission to watch, there is a read every 1 to 2 seconds, and a warning in the log.
///
/// # Clones and drop
///
/// Clones share the watch. Each has a place of its own: the first answer of a clone is the present one. The background task ends
/// when the last clone is dropped. [`LeaseLock::shutdown`](crate::LeaseLock::shutdown) does not end it, because it holds nothing.
///
/// # Example
///
/// ```
/// # use kube_lease_lock::testing::LeaseServer;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = LeaseServer::new();
/// # server.take("default", "controller", "pod-7");
/// # let client = server.connect().client();
/// use kube_lease_lock::{LeaseObserver, ObservedHolder};
///
/// let mut observer = LeaseObserver::new(client, "controller")?;
/// while let Some(answer) = observer.changed().await {
///     match answer {
///         ObservedHolder::Held(leader) => println!("send requests to {}", leader.name()),
///         ObservedHolder::Unknown { error, .. } => println!("try the last known leader: {error}"),
///         _ => println!("nobody leads"),
///     }
///     # break;
/// }
/// # assert_eq!(observer.holder().holder().map(|leader| leader.name()), Some("pod-7"));
/// # Ok(())
/// # }
/// ```
pub struct LeaseObserver {
    shared: Arc<Shared>,
    answers: Answers,
}

type Answers = Pin<Box<dyn Stream<Item = ObservedHolder> + Send + Sync>>;

/// All clones of an observer have this. The background task ends when it is dropped.
struct Shared {
    lease: LeaseName,
    channel: watch::Receiver<ObservedHolder>,
    _stop: DropGuard,
}

/// The observers of one lock, which share one watch.
#[derive(Default)]
pub(crate) struct Observers(Mutex<Weak<Shared>>);

/// How expiry is decided: the duration of a record that has none of its own, and how far wall clocks may differ.
#[derive(Clone, Copy)]
pub(crate) struct ExpiryRule {
    pub fallback_duration: Duration,
    pub max_clock_skew: Option<Duration>,
}

impl LeaseObserver {
    /// Observes the Lease `name` in the namespace of the client. It sends the first request in the background. The Lease need not
    /// exist.
    ///
    /// # Errors
    ///
    /// [`ObserveError::Invalid`] if no Lease can have this name, and [`ObserveError::NoRuntime`] outside of a tokio runtime. Later
    /// errors are part of the answer: see [`ObservedHolder::Unknown`].
    pub fn new(client: kube::Client, name: impl Into<String>) -> Result<Self, ObserveError> {
        Self::build(client, name.into(), Options::default())
    }

    /// Observes the Lease `name` in this namespace, as [`new`](Self::new) does in the namespace of the client.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: kube::Client) -> Result<(), kube_lease_lock::ObserveError> {
    /// use kube_lease_lock::LeaseObserver;
    ///
    /// let observer = LeaseObserver::in_namespace(client, "kube-system", "kube-controller-manager")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_namespace(
        client: kube::Client,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Result<Self, ObserveError> {
        let options = Options { namespace: Some(namespace.into()), ..Options::default() };
        Self::build(client, name.into(), options)
    }

    fn build(client: kube::Client, name: String, options: Options) -> Result<Self, ObserveError> {
        let settings = options.validate(name, client.default_namespace())?;
        let client = Arc::new(LeaseClient::new(client, &settings));
        let rule = ExpiryRule {
            fallback_duration: settings.timings.lease_duration,
            max_clock_skew: settings.max_clock_skew,
        };
        let shared = Shared::start(client, Clock::system(), Random::system().fork(), rule)?;
        Ok(Self::from_shared(Arc::new(shared)))
    }

    fn from_shared(shared: Arc<Shared>) -> Self {
        // The copy in `shared` has not seen any answer.
        let unseen = shared.channel.clone();
        let answers = stream::unfold(unseen, |mut channel| async {
            channel.changed().await.ok()?;
            let answer = channel.borrow_and_update().clone();
            Some((answer, channel))
        });
        Self { shared, answers: Box::pin(answers) }
    }

    /// The Lease that is observed.
    #[must_use]
    pub fn lease(&self) -> &LeaseName {
        &self.shared.lease
    }

    /// Who holds the Lease, as far as is known now. It answers at once, and sends no request.
    ///
    /// The times in it are those of the last renewal: a renewal does not count as a change.
    ///
    /// # Example
    ///
    /// ```
    /// # use kube_lease_lock::{LeaseObserver, ObservedHolder};
    /// /// Where to send a request now.
    /// fn leader(observer: &LeaseObserver) -> Option<String> {
    ///     let answer = observer.holder();
    ///     answer.last_known().map(|leader| leader.name().to_owned())
    /// }
    /// ```
    #[must_use]
    pub fn holder(&self) -> ObservedHolder {
        self.shared.channel.borrow().clone()
    }

    /// Waits until the answer is another one, and returns it. `None` if the runtime in which the observer was made has ended.
    ///
    /// The first call returns the present answer as soon as there is one, so it never returns
    /// [`Pending`](ObservedHolder::Pending). A renewal is no change. If changes come faster than calls, a call
    /// returns only the last one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no change is lost.
    pub async fn changed(&mut self) -> Option<ObservedHolder> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for LeaseObserver {
    type Item = ObservedHolder;

    /// As [`changed`](LeaseObserver::changed). The stream ends when the runtime in which the observer was made has ended.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ObservedHolder>> {
        let answer = ready!(self.answers.as_mut().poll_next(context));
        if answer.is_none() {
            // A stream that has ended may be polled again.
            self.answers = Box::pin(stream::empty());
        }
        Poll::Ready(answer)
    }
}

impl Clone for LeaseObserver {
    fn clone(&self) -> Self {
        Self::from_shared(self.shared.clone())
    }
}

impl fmt::Debug for LeaseObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseObserver")
            .field("lease", self.lease())
            .field("holder", &self.holder())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Starts the background task.
    fn start(
        client: Arc<LeaseClient>,
        clock: Clock,
        rng: fastrand::Rng,
        rule: ExpiryRule,
    ) -> Result<Self, ObserveError> {
        let lease = client.lease().clone();
        let runtime = Handle::try_current().map_err(|_| ObserveError::NoRuntime(lease.clone()))?;
        let (publisher, channel) = Publisher::new(lease.clone(), clock.clone());
        let stop = CancellationToken::new();
        runtime.spawn(task::run(client, clock, rng, rule, publisher, stop.clone()));
        Ok(Self { lease, channel, _stop: stop.drop_guard() })
    }

    /// Whether the runtime of the background task has not ended.
    fn is_alive(&self) -> bool {
        self.channel.has_changed().is_ok()
    }
}

impl Observers {
    /// An observer that shares the watch of all the others. The first one starts it.
    pub(crate) fn observe(
        &self,
        client: &Arc<LeaseClient>,
        clock: &Clock,
        random: &Random,
        rule: ExpiryRule,
    ) -> Result<LeaseObserver, ObserveError> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(alive) = shared.upgrade().filter(|shared| shared.is_alive()) {
            return Ok(LeaseObserver::from_shared(alive));
        }
        let started = Arc::new(Shared::start(client.clone(), clock.clone(), random.fork(), rule)?);
        *shared = Arc::downgrade(&started);
        Ok(LeaseObserver::from_shared(started))
    }
}

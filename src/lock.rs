//! The lock: everything a user can ask of it.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument, Span};

use crate::acquisition::{acquisition, give_back};
use crate::builder::LeaseLockBuilder;
use crate::clock::Clock;
use crate::contend::{Patience, Setback};
use crate::error::{AcquireError, BuildError, RequestError, ShutdownError, TryAcquireError, WithError};
use crate::guard::LeaseGuard;
use crate::held::Held;
use crate::identity;
use crate::lease::{LeaseHolder, LeaseName};
use crate::line::Line;
use crate::protocol::{Judge, Terms};
use crate::queue::Ticket;
use crate::session::{Leash, Progress, Session};
use crate::settings::Settings;
use crate::store::Store;
use crate::turn::{Entry, Turn, Turns};
use crate::watcher::Watcher;

/// A distributed async mutex over one Kubernetes Lease.
///
/// Cheap to clone. Clones share one fair (first come, first served) queue, so any number of tasks of one
/// process are one contender at the API server. Two locks built separately exclude each other as two processes
/// do, also with the same identity.
///
/// Not reentrant: a task that holds the lock and acquires it again waits for itself.
///
/// # Example
///
/// ```
/// # async fn rebuild_index() {}
/// # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use kube_lease_lock::LeaseLock;
///
/// let lock = LeaseLock::new(client, "index")?;
/// let guard = lock.acquire().await?;
/// let lost = guard.token();
/// tokio::select! {
///     biased;
///     () = lost.cancelled() => eprintln!("stopped half way: {}", guard.lost().await),
///     () = rebuild_index() => guard.release().await?,
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LeaseLock(Arc<Lock>);

struct Lock {
    settings: Settings,
    terms: Terms,
    store: Arc<Store>,
    clock: Clock,
    rng: StdMutex<fastrand::Rng>,
    turns: Turns,
    progress: Arc<Progress>,
    releases: TaskTracker,
    closing: CancellationToken,
}

impl LeaseLock {
    /// A lock on the Lease `name` in the client's namespace, with all defaults.
    ///
    /// # Errors
    ///
    /// [`BuildError`] if the name is none that a Lease can have.
    pub fn new(client: kube::Client, name: impl Into<String>) -> Result<Self, BuildError> {
        Self::builder(client, name).build()
    }

    /// Sets up a lock on the Lease `name`.
    pub fn builder(client: kube::Client, name: impl Into<String>) -> LeaseLockBuilder {
        LeaseLockBuilder::new(client, name.into())
    }

    pub(crate) fn from_settings(
        client: kube::Client,
        settings: Settings,
        clock: Clock,
        mut rng: fastrand::Rng,
    ) -> Self {
        let judge = Judge::new(settings.terms.lease_duration, settings.max_clock_skew);
        // Timers fire up to their granularity late; the token must not.
        let renew_deadline = settings.terms.renew_deadline.saturating_sub(Clock::GRANULARITY);
        let store = Arc::new(Store::new(client, &settings));
        let line = Line::new(Ticket(rng.u64(..)));
        Self(Arc::new(Lock {
            terms: Terms { renew_deadline, ..settings.terms },
            turns: Turns::new(Turn::new(judge, Watcher::new(store.clone()), line)),
            store,
            clock,
            rng: StdMutex::new(rng),
            progress: Arc::default(),
            releases: TaskTracker::new(),
            closing: CancellationToken::new(),
            settings,
        }))
    }

    /// Waits until the Lease is free, and takes it.
    ///
    /// Tasks of this process are served in the order in which they called, and hand the lock on among themselves with
    /// one write each; while other processes wait, 16 times in a row at most. Processes queue too, for as long as the
    /// queue has room (16 of them). A free Lease costs one read and one write. While it waits, the lock watches the
    /// Lease, and takes over one round trip after a release, or `lease_duration` after the last renewal of a
    /// holder that crashed. Failures that may pass are retried.
    ///
    /// # Errors
    ///
    /// [`AcquireError`], at once for what no waiting will change: missing permissions, a missing namespace, a
    /// Lease that must not be created. A lock that has never reached an API server gives up after one
    /// `lease_duration`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe at every point: the place in the queue is given up, and a claim already on its way to the
    /// API server is withdrawn in the background.
    pub async fn acquire(&self) -> Result<LeaseGuard, AcquireError> {
        self.check_open()?;
        let runtime = self.runtime()?;
        let entry = self.0.turns.enter().await;
        match self.start(&runtime, entry, Patience::Forever).await {
            Ok(guard) => Ok(guard),
            Err(Setback::Hopeless(error)) => Err(error),
            // With endless patience there is no other setback.
            Err(Setback::Held(_) | Setback::Request(_)) => Err(AcquireError::TaskEnded(self.lease().clone())),
        }
    }

    /// Takes the Lease if it is free now.
    ///
    /// It does not queue, but leaves a free Lease to processes that do: for 50 ms each, 800 ms at most.
    ///
    /// A holder that crashed is recognised from the second call on: the first sees its record for the first
    /// time, and only a call at least its `leaseDurationSeconds` later can tell that it has not changed.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError::Held`], which says by whom; otherwise what went wrong. Nothing is retried.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`acquire`](Self::acquire).
    pub async fn try_acquire(&self) -> Result<LeaseGuard, TryAcquireError> {
        self.check_open()?;
        let Some(turn) = self.0.turns.try_enter() else {
            let holder = self.holder().await.map_err(TryAcquireError::Request)?;
            return Err(TryAcquireError::Held { lease: self.lease().clone(), holder: holder.map(Box::new) });
        };
        let runtime = self.runtime()?;
        self.start(&runtime, Entry::Turn(turn), Patience::OneTry).await.map_err(|setback| match setback {
            Setback::Held(holder) => TryAcquireError::Held { lease: self.lease().clone(), holder },
            Setback::Request(error) => TryAcquireError::Request(error),
            Setback::Hopeless(error) => TryAcquireError::Acquire(error),
        })
    }

    /// Like [`acquire`](Self::acquire), but gives up after `patience`.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], which says who was last seen to hold the Lease and whether requests failed;
    /// otherwise as [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, like [`acquire`](Self::acquire).
    pub async fn acquire_timeout(&self, patience: Duration) -> Result<LeaseGuard, AcquireError> {
        if Handle::try_current().is_err() {
            return Err(AcquireError::NoRuntime(self.lease().clone()));
        }
        tokio::time::timeout(patience, self.acquire()).await.unwrap_or_else(|_| {
            let (holder, last) = self.0.progress.get();
            Err(AcquireError::TimedOut {
                lease: self.lease().clone(),
                waited: patience,
                holder: holder.map(Box::new),
                last,
            })
        })
    }

    /// Runs a future under the lock: acquires, runs, drops the future if the lock is lost, releases.
    ///
    /// The closure gets a view of the hold, for its fencing token and the like. A release that cannot be
    /// confirmed is logged, and does not take the result away.
    ///
    /// # Errors
    ///
    /// [`WithError`] tells apart what was never started, what was lost on the way, and what failed by itself.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping it drops the future that runs under the lock, then releases.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn charge_customers(_: u64) -> Result<u32, std::io::Error> { Ok(3) }
    /// # async fn example(lock: kube_lease_lock::LeaseLock) -> Result<(), Box<dyn std::error::Error>> {
    /// use kube_lease_lock::WithError;
    ///
    /// match lock.with(|held| charge_customers(held.fencing_token().into())).await {
    ///     Ok(charged) => println!("charged {charged} customers"),
    ///     Err(WithError::Lost(reason)) => println!("stopped half way: {reason}"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn with<F, W, T, E>(&self, work: F) -> Result<T, WithError<E>>
    where
        F: FnOnce(Held) -> W,
        W: Future<Output = Result<T, E>>,
    {
        let guard = self.acquire().await?;
        let result = {
            let work = work(guard.held().clone());
            let lost = guard.token();
            tokio::select! {
                biased;
                () = lost.cancelled() => None,
                result = work => Some(result),
            }
        };
        match result.filter(|_| guard.is_held()) {
            None => Err(WithError::Lost(guard.lost().await)),
            Some(result) => {
                // The outcome is logged where it is known.
                let _ = guard.release().await;
                result.map_err(WithError::Failed)
            }
        }
    }

    /// Who holds the Lease now, by one read; `None` if it is free or does not exist.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if the read failed; it is not retried.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn holder(&self) -> Result<Option<LeaseHolder>, RequestError> {
        let seen = self.0.store.get(Duration::MAX).await.map_err(|failure| failure.error().clone())?;
        Ok(seen.as_ref().and_then(LeaseHolder::of))
    }

    /// Shuts the lock and its clones down: acquiring ends and fails from now on with
    /// [`AcquireError::ShutDown`], and the releases that dropped guards left under way are waited for.
    ///
    /// What `main` awaits last, when everything that held the lock has been dropped. Guards that still live keep
    /// their hold, and are not waited for.
    ///
    /// # Errors
    ///
    /// [`ShutdownError`] if a release took longer than the time that its hold had left, `renew_deadline` at the
    /// most. The Lease then expires by itself.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it can be called again.
    pub async fn shutdown(&self) -> Result<(), ShutdownError> {
        self.0.closing.cancel();
        self.0.releases.close();
        let waited = match Handle::try_current() {
            Ok(_) => self.0.settings.terms.renew_deadline,
            // Without a runtime there is no waiting.
            Err(_) => Duration::ZERO,
        };
        let done = !waited.is_zero() && tokio::time::timeout(waited, self.0.releases.wait()).await.is_ok();
        match self.0.releases.len() {
            pending if !done && pending > 0 => {
                Err(ShutdownError { lease: self.lease().clone(), pending, waited })
            }
            _ => Ok(()),
        }
    }

    /// The Lease of this lock.
    #[must_use]
    pub fn lease(&self) -> &LeaseName {
        &self.0.settings.lease
    }

    /// Waits until the turns that were asked for before are over, or the lock is shut down. Whatever becomes of the
    /// caller, what was handed on to nobody meanwhile is given back.
    pub(crate) async fn last_turn_over(&self) {
        let Ok(runtime) = self.runtime() else { return };
        let (lock, (over, is_over)) = (self.clone(), oneshot::channel::<()>());
        self.spawn(&runtime, async move {
            lock.0.turns.last_over().await;
            let _pending = lock.pending();
            if let Some(turn) = lock.0.turns.abandoned() {
                give_back(lock.session(lock.identity())(turn)).await;
            }
            drop(over);
        });
        self.0.closing.run_until_cancelled(is_over).await;
    }

    pub(crate) fn check_open(&self) -> Result<(), AcquireError> {
        if self.0.closing.is_cancelled() { Err(AcquireError::ShutDown(self.lease().clone())) } else { Ok(()) }
    }

    /// Starts a session, and waits until it has claimed the Lease.
    async fn start(&self, runtime: &Handle, entry: Entry, patience: Patience) -> Result<LeaseGuard, Setback> {
        let me = self.identity();
        let span = self.span_of(&me);
        let (mut leash, stop) = Leash::new(self.0.releases.clone());
        let (claimed, outcome) = oneshot::channel();
        let acquisition = acquisition(entry, self.session(me), patience, claimed, stop);
        self.spawn(runtime, acquisition.instrument(span));
        let held = tokio::select! {
            biased;
            () = self.0.closing.cancelled() => return Err(AcquireError::ShutDown(self.lease().clone()).into()),
            outcome = outcome => outcome.map_err(|_| AcquireError::TaskEnded(self.lease().clone()))??,
        };
        leash.acquired();
        Ok(LeaseGuard::new(held, leash))
    }

    pub(crate) fn runtime(&self) -> Result<Handle, AcquireError> {
        Handle::try_current().map_err(|_| AcquireError::NoRuntime(self.lease().clone()))
    }

    /// Runs a task in the background, on the lock's machine.
    pub(crate) fn spawn(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let (clock, task) = (self.0.clock.clone(), Box::pin(task));
        runtime.spawn(async move { clock.run(task).await });
    }

    /// A source of chance of one's own.
    pub(crate) fn rng(&self) -> fastrand::Rng {
        self.0.rng.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }

    /// The span of what concerns the lock beyond a single acquisition.
    pub(crate) fn span(&self) -> Span {
        self.span_of(&self.0.settings.identity)
    }

    fn span_of(&self, identity: &str) -> Span {
        let lease = self.lease();
        tracing::info_span!("lease_lock", namespace = lease.namespace(), lease = lease.name(), identity)
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.0.progress
    }

    /// `shutdown` waits until it is dropped.
    pub(crate) fn pending(&self) -> TaskTrackerToken {
        self.0.releases.token()
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    /// A holder identity for one acquisition.
    fn identity(&self) -> String {
        identity::draw(&self.0.settings.identity, &mut self.rng())
    }

    /// What an acquisition works with, once it has its turn.
    fn session(&self, me: String) -> impl FnOnce(OwnedMutexGuard<Turn>) -> Session + use<> {
        let (lock, rng) = (self.0.clone(), self.rng());
        move |turn| Session {
            store: lock.store.clone(),
            clock: lock.clock.clone(),
            terms: lock.terms,
            create_mode: lock.settings.creation.mode,
            me,
            rng,
            progress: lock.progress.clone(),
            turns: lock.turns.clone(),
            turn,
        }
    }
}

impl std::fmt::Debug for LeaseLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaseLock").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

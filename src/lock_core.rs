//! The state and the operations behind a lock, which [`LeaseLock`](crate::LeaseLock) and
//! [`Election`](crate::Election) share.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument, Span};

use crate::check::{self, CheckReport};
use crate::clock::Clock;
pub(crate) use crate::driver::BackgroundTask;
use crate::driver::{self, Admission, Context, Exclusive, Fifo, NotAcquired, Progress, StopHandle};
use crate::error::{
    AcquireError, BreakHoldError, CheckError, ObserveError, RequestError, ShutdownError, TryAcquireError,
};
use crate::guard::LeaseGuard;
use crate::kubernetes::LeaseClient;
use crate::lease::{LeaseHolder, LeaseName};
use crate::log::log;
use crate::observer::{ExpiryRule, LeaseObserver, Observers};
use crate::protocol::{BreakState, Instant, Mode, Record, identity};
use crate::random::Random;
use crate::settings::Settings;
use crate::work::Works;

/// One lock of a process.
pub(crate) struct LockCore {
    settings: Settings,
    client: Arc<LeaseClient>,
    clock: Clock,
    random: Random,
    fifo: Fifo<Exclusive>,
    progress: Arc<Progress>,
    works: Arc<Works>,
    observers: Observers,
    /// The acquisitions and releases for which `shutdown` waits.
    pending: TaskTracker,
    closing: CancellationToken,
}

impl LockCore {
    pub(crate) fn new(client: kube::Client, settings: Settings, clock: Clock, random: Random) -> Self {
        let client = Arc::new(LeaseClient::new(client, &settings));
        let exclusive = Exclusive::new(client.clone(), &settings, random.number());
        Self {
            settings,
            client,
            clock,
            random,
            fifo: Fifo::new(exclusive),
            progress: Arc::default(),
            works: Arc::default(),
            observers: Observers::default(),
            pending: TaskTracker::new(),
            closing: CancellationToken::new(),
        }
    }

    pub(crate) fn lease(&self) -> &LeaseName {
        &self.settings.lease
    }

    pub(crate) async fn acquire(&self) -> Result<LeaseGuard, AcquireError> {
        self.acquire_in(self.context()).await
    }

    /// Acquires the Lease for the work of this key, unless the Lease says that the work is done.
    pub(crate) async fn acquire_for(&self, key: &str) -> Result<LeaseGuard, NotAcquired> {
        self.check_open()?;
        let runtime = self.runtime()?;
        let mut context = self.context();
        context.key = Some(key.to_owned());
        self.start(&runtime, context, self.fifo.enqueue(), Mode::Wait).await
    }

    /// Acquires the lock for an election, which gives way to the choice of a coordinator.
    pub(crate) async fn acquire_to_lead(&self) -> Result<LeaseGuard, AcquireError> {
        let mut context = self.context();
        context.yields = true;
        self.acquire_in(context).await
    }

    async fn acquire_in(&self, context: Box<Context>) -> Result<LeaseGuard, AcquireError> {
        self.check_open()?;
        let runtime = self.runtime()?;
        match self.start(&runtime, context, self.fifo.enqueue(), Mode::Wait).await {
            Ok(guard) => Ok(guard),
            Err(NotAcquired::Fatal(error)) => Err(error),
            // These belong to `Mode::Try`, and to the work of a key.
            Err(_) => Err(AcquireError::TaskEnded(self.lease().clone())),
        }
    }

    pub(crate) async fn try_acquire(&self) -> Result<LeaseGuard, TryAcquireError> {
        self.check_open()?;
        let held = |holder: Option<Box<LeaseHolder>>| TryAcquireError::Held {
            lease: self.lease().clone(),
            expired_for: self.expired_for(holder.as_deref()),
            holder,
        };
        let Some(exclusive) = self.fifo.try_take() else {
            let holder = self.holder().await.map_err(TryAcquireError::Request)?;
            return Err(held(holder.map(Box::new)));
        };
        let runtime = self.runtime()?;
        let admission = Admission::Admitted(exclusive);
        self.start(&runtime, self.context(), admission, Mode::Try).await.map_err(|not_acquired| {
            match not_acquired {
                NotAcquired::Held(holder) => held(holder),
                NotAcquired::Failed(error) => TryAcquireError::Request(error),
                NotAcquired::Fatal(error) => TryAcquireError::Acquire(error),
                // These belong to the work of a key.
                NotAcquired::AlreadyDone(_) | NotAcquired::DoneUnreadable(_) => {
                    AcquireError::TaskEnded(self.lease().clone()).into()
                }
            }
        })
    }

    pub(crate) async fn acquire_timeout(&self, timeout: Duration) -> Result<LeaseGuard, AcquireError> {
        self.runtime()?;
        let mut context = self.context();
        // The caller has said how long to wait.
        context.timings.startup_timeout = Duration::MAX;
        tokio::time::timeout(timeout, self.acquire_in(context)).await.unwrap_or_else(|_| {
            let (holder, last) = self.progress.get();
            Err(AcquireError::TimedOut {
                lease: self.lease().clone(),
                waited: timeout,
                expired_for: self.expired_for(holder.as_ref()),
                holder: holder.map(Box::new),
                local_holder: self.progress.hold().map(|hold| hold.holder_identity().to_owned()),
                last,
            })
        })
    }

    fn expired_for(&self, holder: Option<&LeaseHolder>) -> Option<Duration> {
        holder?.expired_for(self.clock.wall())
    }

    pub(crate) async fn holder(&self) -> Result<Option<LeaseHolder>, RequestError> {
        let seen = self.client.get(Duration::MAX).await.map_err(|failure| failure.error().clone())?;
        Ok(seen.as_ref().and_then(LeaseHolder::of))
    }

    pub(crate) async fn break_hold(&self, holder: &LeaseHolder) -> Result<(), BreakHoldError> {
        let deadline = self.clock.now() + self.settings.renew_deadline;
        let state = BreakState::new(holder.hold_id(), deadline, &self.settings.timings);
        let mut rng = self.fork_rng();
        let span = self.span();
        driver::break_hold(&self.client, &self.clock, state, deadline, &mut rng)
            .instrument(span.clone())
            .await?;
        span.in_scope(|| log!(warn, self.lease(), holder = holder.identity, "hold broken"));
        Ok(())
    }

    pub(crate) fn observe(&self) -> Result<LeaseObserver, ObserveError> {
        let Settings { timings, max_clock_skew, .. } = self.settings;
        let rule = ExpiryRule { fallback_duration: timings.lease_duration, max_clock_skew };
        self.observers.observe(&self.client, &self.clock, &self.random, rule)
    }

    pub(crate) async fn check(&self) -> Result<CheckReport, CheckError> {
        let Settings { timings, identity, .. } = &self.settings;
        let record = Record::claim(identity, timings.lease_duration, None, self.clock.wall());
        check::check(&self.client, &self.settings, &self.clock, &record).await
    }

    pub(crate) async fn shutdown(&self) -> Result<(), ShutdownError> {
        self.closing.cancel();
        self.pending.close();
        let waited = match Handle::try_current() {
            Ok(runtime) => {
                if self.fifo.orphan().is_some() {
                    // It may be that nobody drives the runtime of the task that has left something to do.
                    let (context, pending) = (self.context(), self.pending());
                    self.spawn(&runtime, async move {
                        driver::finish_orphans(context).await;
                        drop(pending);
                    });
                }
                self.settings.renew_deadline
            }
            // Without a runtime nothing can be waited for.
            Err(_) => Duration::ZERO,
        };
        let done = !waited.is_zero() && tokio::time::timeout(waited, self.pending.wait()).await.is_ok();
        let pending = if done { 0 } else { self.pending.len() };
        let held = self.progress.hold().is_some();
        let unconfirmed = self.progress.is_unreleased(self.clock.now());
        if held || pending > 0 || unconfirmed {
            let lease = self.lease().clone();
            return Err(ShutdownError { lease, held, pending, unconfirmed, waited });
        }
        Ok(())
    }

    /// Starts an acquisition in the background, and waits for its outcome.
    async fn start(
        &self,
        runtime: &Handle,
        context: Box<Context>,
        admission: Admission<Exclusive>,
        mode: Mode,
    ) -> Result<LeaseGuard, NotAcquired> {
        let span = self.span_of(&context.me);
        let (mut stop_handle, stop) = StopHandle::new(self.pending.clone());
        let (acquired, outcome) = oneshot::channel();
        let task = driver::run(admission, context, mode, acquired, stop);
        stop_handle.stops(self.spawn(runtime, task.instrument(span)));
        let hold = tokio::select! {
            biased;
            () = self.closing.cancelled() => return Err(AcquireError::ShutDown(self.lease().clone()).into()),
            outcome = outcome => outcome.map_err(|_| AcquireError::TaskEnded(self.lease().clone()))??,
        };
        stop_handle.acquired();
        Ok(LeaseGuard::new(hold, stop_handle, self.works.clone()))
    }

    /// Waits until every acquisition that has begun is over, or the lock is shut down. Even if the caller drops the future,
    /// a hold that was handed off to nobody meanwhile is released.
    pub(crate) async fn drained(self: &Arc<Self>) {
        let Ok(runtime) = self.runtime() else { return };
        let (core, (done, drained)) = (self.clone(), oneshot::channel::<()>());
        self.spawn(&runtime, async move {
            core.fifo.drained().await;
            let _pending = core.pending();
            driver::finish_orphans(core.context()).await;
            drop(done);
        });
        self.closing.run_until_cancelled(drained).await;
    }

    /// Fails after [`shutdown`](Self::shutdown).
    pub(crate) fn check_open(&self) -> Result<(), AcquireError> {
        if self.closing.is_cancelled() { Err(AcquireError::ShutDown(self.lease().clone())) } else { Ok(()) }
    }

    pub(crate) fn runtime(&self) -> Result<Handle, AcquireError> {
        Handle::try_current().map_err(|_| AcquireError::NoRuntime(self.lease().clone()))
    }

    /// Runs a task in the background, on the lock's machine.
    pub(crate) fn spawn(
        &self,
        runtime: &Handle,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> BackgroundTask {
        // Boxed, because a future that is passed on takes up its size in each frame.
        let (clock, task) = (self.clock.clone(), Box::pin(task));
        BackgroundTask::spawn(runtime, async move { clock.run(task).await })
    }

    /// A new source of randomness.
    pub(crate) fn fork_rng(&self) -> fastrand::Rng {
        self.random.fork()
    }

    /// The span of events that concern the lock, and not a single acquisition.
    pub(crate) fn span(&self) -> Span {
        self.span_of(&self.settings.identity)
    }

    fn span_of(&self, identity: &str) -> Span {
        let lease = self.lease();
        tracing::error_span!(target: "lease_lock", "lease_lock", namespace = lease.namespace(), lease = lease.name(), identity)
    }

    pub(crate) fn renew_deadline(&self) -> Duration {
        self.settings.renew_deadline
    }

    /// Whether an API server has ever answered, and accepted this client.
    pub(crate) fn reached(&self) -> bool {
        self.client.reached()
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The work that runs under holds of this lock.
    pub(crate) fn works(&self) -> &Arc<Works> {
        &self.works
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// `shutdown` waits until the token is dropped.
    pub(crate) fn pending(&self) -> TaskTrackerToken {
        self.pending.token()
    }

    /// Cancelled by `shutdown`.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// The context of a new acquisition. Boxed, because thousands of tasks may wait with one each.
    fn context(&self) -> Box<Context> {
        let me = identity::generate(&self.settings.identity, self.random.nonce());
        Box::new(Context {
            client: self.client.clone(),
            clock: self.clock.clone(),
            timings: self.settings.timings,
            create_mode: self.settings.create_mode,
            yields: false,
            me,
            key: None,
            asked: self.clock.now(),
            rng: self.fork_rng(),
            progress: self.progress.clone(),
            fifo: self.fifo.clone(),
        })
    }
}

impl std::fmt::Debug for LockCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockCore").field("settings", &self.settings).finish_non_exhaustive()
    }
}

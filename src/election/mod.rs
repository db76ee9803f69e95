//! Leader election: a background task acquires the lock again and again, and publishes on a watch channel whether this
//! process leads.

mod lead;
mod receiver;
mod state;
mod status;
mod task;

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{AcquireError, ReleaseError};
use crate::guard::LeaseGuard;
use crate::hold::Hold;
use crate::lock::LeaseLock;
use crate::lock_core::BackgroundTask;
pub use lead::Leadership;
pub use receiver::LeadershipReceiver;
use state::ElectionState;
pub use status::ElectionStatus;
use task::ElectionTask;

/// Stands for election until it is stopped or dropped, or the lock is shut down: whenever no other process leads, it tries to lead.
///
/// [`LeaseLock::elect`] makes it. There are two ways to follow it, which may be used together: receivers from
/// [`subscribe`](Self::subscribe), for any number of tasks, and [`changed`](Self::changed), for the owner. To run work whenever
/// this process leads, [`LeaseLock::lead`] is all in one call. Share an election between tasks in an [`Arc`].
///
/// Both lag behind by the time that the runtime takes to schedule a task. The work of a leader has to obey the
/// [`token`](Hold::token) of the [`Hold`] that comes with leadership: it is cancelled first, and before any other process can lead. To ask at any
/// time, call [`is_leader`](Self::is_leader), which reads the clock.
///
/// # Drop
///
/// Dropping it ends the election. If this process leads, the drop cancels the token and releases the Lease in the background,
/// as dropping a [`LeaseGuard`] does: on any thread, with or without a runtime. Await [`LeaseLock::shutdown`] before the
/// process ends. Dropping receivers ends nothing.
///
/// # Example
///
/// ```
/// # use kube_lease_lock::testing::LeaseServer;
/// # use kube_lease_lock::{Hold, LeaseLock};
/// # async fn reconcile(_: Hold) {}
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = LeaseServer::new().connect().client();
/// let lock = LeaseLock::new(client, "controller")?;
/// let mut election = lock.elect()?;
///
/// if let Some(hold) = election.changed().await? {
///     println!("leading, with fencing token {}", hold.fencing_token());
///     let lost = hold.token();
///     tokio::select! {
///         biased;
///         () = lost.cancelled() => println!("no longer leading"),
///         () = reconcile(hold) => {}
///     }
/// }
/// election.stop().await?;
/// # assert!(lock.holder().await?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping the election at once ends it at once"]
pub struct Election {
    state: Arc<ElectionState>,
    task: BackgroundTask,
    channel: watch::Receiver<Option<Hold>>,
    leads: watch::Receiver<bool>,
    /// The receiver of the owner.
    receiver: LeadershipReceiver,
}

impl LeaseLock {
    /// Stands for election from now on, in the background. This process leads whenever no other process does, until the
    /// [`Election`] is stopped or dropped, or the lock is shut down.
    ///
    /// To lead is to hold this lock. So an election competes with everything else that acquires the lock, in this process and
    /// in others.
    ///
    /// # Errors
    ///
    /// [`AcquireError::NoRuntime`] outside of a tokio runtime, [`AcquireError::ShutDown`] after [`shutdown`](Self::shutdown).
    /// The election itself reports later errors.
    pub fn elect(&self) -> Result<Election, AcquireError> {
        let core = self.core();
        core.check_open()?;
        let runtime = core.runtime()?;
        let ((sender, channel), (leads_sender, leads)) = (watch::channel(None), watch::channel(false));
        let state = Arc::new(ElectionState::new(core.clone()));
        let task = core.spawn(&runtime, ElectionTask::new(state.clone(), sender, leads_sender).run());
        let receiver = LeadershipReceiver::new(state.clone(), channel.clone(), Some(false));
        Ok(Election { state, task, channel, leads, receiver })
    }
}

impl Election {
    /// A receiver that tells whether this process leads, for another task.
    ///
    /// Its first [`changed`](LeadershipReceiver::changed) returns the present state. When the election ends, its calls return an
    /// error.
    #[must_use]
    pub fn subscribe(&self) -> LeadershipReceiver {
        LeadershipReceiver::new(self.state.clone(), self.channel.clone(), None)
    }

    /// A watch channel with `true` while this process leads, for code that wants no more than that.
    ///
    /// Its present value counts as not yet seen. When the election ends, the channel is closed with `false` in it. It lags behind
    /// the loss by the time that the runtime takes to schedule a task: work that must not go on has to obey the
    /// [`token`](Hold::token) of the hold.
    #[must_use]
    pub fn subscribe_bool(&self) -> watch::Receiver<bool> {
        let mut leads = self.leads.clone();
        leads.mark_changed();
        leads
    }

    /// Waits until this process begins to lead, or ceases to lead.
    ///
    /// The first call waits for leadership, or returns at once if this process leads already. If changes come faster than
    /// calls, a call returns only the last change. A new leadership may then follow an old one without a `None` between them;
    /// the token of the old one is cancelled.
    ///
    /// # Errors
    ///
    /// [`AcquireError::ShutDown`] or [`AcquireError::TaskEnded`] if the election has ended for good, because the lock was shut
    /// down or the runtime has ended. An error that may pass, such as a missing permission, is no error here: see
    /// [`last_error`](Self::last_error).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no change is lost.
    pub async fn changed(&mut self) -> Result<Option<Hold>, AcquireError> {
        self.receiver.changed().await
    }

    /// Whether this process leads at this very moment, by this machine's clock, like [`Hold::is_held`].
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.hold().is_some()
    }

    /// The hold of this process while it leads.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.state.hold()
    }

    /// Why this process cannot lead: the error of the last attempt, if it does not pass by itself, such as a missing
    /// permission. Credentials that are not accepted and exceeded quotas are told with the first refusal too, although they
    /// may pass.
    ///
    /// A missing permission to write is met while another process leads too. `None` again when this process leads, or when the
    /// server accepts that it queues behind the holder. The election goes on: it tries again after 100
    /// milliseconds, then less and less often, in the end every 30 seconds. Errors that may pass, such as an unavailable API
    /// server, are tried again as by [`LeaseLock::acquire`], and only logged.
    #[must_use]
    pub fn last_error(&self) -> Option<AcquireError> {
        // The channel is closed when the background task has ended.
        let has_ended = self.channel.has_changed().is_err();
        if has_ended { Some(self.state.end_error()) } else { self.state.refusal() }
    }

    /// What this election does now: whether it leads, whom it waits for, and what comes in its way.
    #[must_use]
    pub fn status(&self) -> ElectionStatus {
        let (state, core) = (&self.state, self.state.core());
        if self.channel.has_changed().is_err() || state.has_ended() {
            return ElectionStatus::Ended(state.end_error());
        }
        if let Some(hold) = state.hold() {
            return ElectionStatus::Leading(hold);
        }
        if let Some(refusal) = state.refusal() {
            return ElectionStatus::Refused(refusal);
        }
        if state.has_stepped_down() {
            return ElectionStatus::SteppedDown;
        }
        let now = core.now();
        match core.progress().since() {
            (_, Some((error, since))) => ElectionStatus::Failing { error, elapsed: since.until(now) },
            (Some((leader, since)), _) => ElectionStatus::Following { leader, elapsed: since.until(now) },
            (None, None) => ElectionStatus::Candidate,
        }
    }

    /// Gives up leadership, waits for the outcome of the release, and stands for election again later.
    ///
    /// The token is cancelled first. Waiters that watch the Lease take over one round trip after the release. This process
    /// stands again 5 seconds after the release, so that processes that poll get their chance too. If there is no other
    /// candidate, no process leads during that time. If this process does not lead, nothing happens.
    ///
    /// # Errors
    ///
    /// As [`LeaseGuard::release`]. The election goes on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: after the first poll the release goes on in the background even if the future is dropped.
    pub async fn step_down(&self) -> Result<(), ReleaseError> {
        match self.state.step_down() {
            Some(guard) => guard.release().await,
            None => Ok(()),
        }
    }

    /// Ends the election. If this process leads, it releases the Lease and waits for the outcome.
    ///
    /// # Errors
    ///
    /// As [`LeaseGuard::release`]. The election has ended all the same.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the election ends when this method is called, and a release goes on in the background, even if the future is
    /// dropped.
    pub fn stop(&self) -> impl Future<Output = Result<(), ReleaseError>> + Send + 'static {
        // This cancels the token. Only then does the channel change.
        let released = self.state.end().map(LeaseGuard::release);
        self.end();
        async move {
            match released {
                Some(released) => released.await,
                None => Ok(()),
            }
        }
    }

    fn end(&self) {
        drop(self.state.end());
        self.state.stopped().cancel();
        // The task gives up what it waits for now, even if nobody drives its runtime.
        self.task.poll_once();
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.end();
    }
}

//! Leader election: a background task acquires the lock again and again, and publishes on a watch channel whether this
//! process leads.

mod leadership;
mod task;

use std::mem::replace;
use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{AcquireError, ReleaseError};
use crate::guard::LeaseGuard;
use crate::hold::Hold;
use crate::lock::LeaseLock;
use crate::lock_core::BackgroundTask;
use leadership::Leadership;
use task::ElectionTask;

/// Stands for election until it is stopped or dropped, or the lock is shut down: whenever no other process leads, it tries to lead.
///
/// [`LeaseLock::elect`] makes it. There are two ways to follow it, which may be used together: watch channels from
/// [`subscribe`](Self::subscribe), for any number of tasks, and [`changed`](Self::changed), for the owner.
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
    leadership: Arc<Leadership>,
    task: BackgroundTask,
    channel: watch::Receiver<Option<Hold>>,
    /// Whether the last value that `changed` returned was `Some`.
    returned_some: bool,
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
        let (sender, channel) = watch::channel(None);
        let leadership = Arc::new(Leadership::new(core.clone()));
        let task = core.spawn(&runtime, ElectionTask::new(leadership.clone(), sender).run());
        Ok(Election { leadership, task, channel, returned_some: false })
    }
}

impl Election {
    /// A channel with `Some` while this process leads, and `None` while it does not.
    ///
    /// Its present value counts as not yet seen: the first `changed()` of the receiver returns at once. When the election
    /// ends, the channel is closed with `None` in it.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn lead(_: kube_lease_lock::Hold) {}
    /// # async fn example(election: kube_lease_lock::Election) {
    /// let mut leadership = election.subscribe();
    /// while leadership.changed().await.is_ok() {
    ///     let hold = leadership.borrow_and_update().clone();
    ///     if let Some(hold) = hold {
    ///         let lost = hold.token();
    ///         tokio::select! {
    ///             biased;
    ///             () = lost.cancelled() => {}
    ///             () = lead(hold) => {}
    ///         }
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Hold>> {
        let mut channel = self.channel.clone();
        channel.mark_changed();
        channel
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
        loop {
            if self.channel.changed().await.is_err() {
                return Err(self.leadership.end_error());
            }
            let hold = self.channel.borrow_and_update().clone().filter(Hold::is_held);
            let leading = hold.is_some();
            if replace(&mut self.returned_some, leading) || leading {
                return Ok(hold);
            }
        }
    }

    /// Whether this process leads at this very moment, by this machine's clock, like [`Hold::is_held`].
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.hold().is_some()
    }

    /// The hold of this process while it leads.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.leadership.hold()
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
        if has_ended { Some(self.leadership.end_error()) } else { self.leadership.refusal() }
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
        match self.leadership.step_down() {
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
    /// Cancel safe: the election ends, and a release goes on in the background, even if the future is dropped.
    pub async fn stop(self) -> Result<(), ReleaseError> {
        let guard = self.leadership.end();
        // This cancels the token. Only then does the channel change.
        let released = guard.map(LeaseGuard::release);
        drop(self);
        match released {
            Some(released) => released.await,
            None => Ok(()),
        }
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        drop(self.leadership.end());
        self.leadership.stopped().cancel();
        // The task gives up what it waits for now, even if nobody drives its runtime.
        self.task.poll_once();
    }
}

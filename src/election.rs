//! Leader election: the lock, acquired again and again by a background task, published on a watch channel.

use std::mem::replace;
use std::sync::Arc;

use tokio::sync::watch;

use crate::candidate::Candidate;
use crate::error::{AcquireError, ReleaseError};
use crate::guard::LeaseGuard;
use crate::held::Held;
use crate::lock::LeaseLock;
use crate::office::Office;

/// Stands for election until it is stopped or dropped: whenever nobody leads, it tries to.
///
/// Made by [`LeaseLock::elect`]. There are two ways to follow it, and both may be used at once: watch channels by
/// [`subscribe`](Self::subscribe), for any number of tasks, and [`changed`](Self::changed), for the owner.
///
/// Both lag behind by the time that the runtime takes to schedule a task. What the work of a leader must obey is
/// the [`token`](Held::token) of the [`Held`] that comes with leadership: it fires first, and never late. Whoever
/// only asks, by [`is_leader`](Self::is_leader), is answered from the clock.
///
/// # Drop
///
/// Dropping it ends the election and, if it leads, fires the token and releases the Lease in the background, as
/// dropping a [`LeaseGuard`] does: on any thread, with or without a runtime. Await
/// [`LeaseLock::shutdown`] before the process ends. Dropped receivers end nothing.
///
/// # Example
///
/// ```
/// # use kube_lease_lock::testing::LeaseServer;
/// # use kube_lease_lock::{Held, LeaseLock};
/// # async fn reconcile(_: Held) {}
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = LeaseServer::new().connect().client();
/// let lock = LeaseLock::new(client, "controller")?;
/// let mut election = lock.elect()?;
///
/// if let Some(held) = election.changed().await? {
///     println!("leading, with fencing token {}", held.fencing_token());
///     let lost = held.token();
///     tokio::select! {
///         biased;
///         () = lost.cancelled() => println!("no longer leading"),
///         () = reconcile(held) => {}
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
    office: Arc<Office>,
    news: watch::Receiver<Option<Held>>,
    /// Whether `changed` last told that this process leads.
    told_leading: bool,
}

impl LeaseLock {
    /// Stands for election from now on, in the background: leads whenever nobody else does, until the [`Election`] is
    /// stopped or dropped.
    ///
    /// Leading is holding this lock: an election competes with all others that acquire it, in this process and
    /// elsewhere.
    ///
    /// # Errors
    ///
    /// [`AcquireError::NoRuntime`] outside of a tokio runtime, [`AcquireError::ShutDown`] after
    /// [`shutdown`](Self::shutdown). What goes wrong later is told by the election.
    pub fn elect(&self) -> Result<Election, AcquireError> {
        self.check_open()?;
        let runtime = self.runtime()?;
        let (sender, news) = watch::channel(None);
        let office = Arc::new(Office::new(self.clone()));
        self.spawn(&runtime, Candidate::new(office.clone(), sender).run());
        Ok(Election { office, news, told_leading: false })
    }
}

impl Election {
    /// A channel with `Some` while this process leads, `None` while it does not.
    ///
    /// Its present value counts as not yet seen: the first `changed()` of the receiver returns at once. It is
    /// closed, with `None` in it, when the election ends.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn lead(_: kube_lease_lock::Held) {}
    /// # async fn example(election: kube_lease_lock::Election) {
    /// let mut leadership = election.subscribe();
    /// while leadership.changed().await.is_ok() {
    ///     let held = leadership.borrow_and_update().clone();
    ///     if let Some(held) = held {
    ///         let lost = held.token();
    ///         tokio::select! {
    ///             biased;
    ///             () = lost.cancelled() => {}
    ///             () = lead(held) => {}
    ///         }
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Held>> {
        let mut news = self.news.clone();
        news.mark_changed();
        news
    }

    /// Waits until this process begins to lead, or ceases to.
    ///
    /// The first call waits for leadership, or returns at once where there is some already. Of changes that come
    /// faster than calls, only the last is told: a new leadership may follow an old one with no `None` between,
    /// the token of the old one having fired.
    ///
    /// # Errors
    ///
    /// [`AcquireError::ShutDown`] or [`AcquireError::TaskEnded`] once the election is over for good: because the
    /// lock was shut down, or the runtime. What may still change, as permissions do, is no error here; see
    /// [`last_error`](Self::last_error).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no change is lost.
    pub async fn changed(&mut self) -> Result<Option<Held>, AcquireError> {
        loop {
            if self.news.changed().await.is_err() {
                return Err(self.office.over());
            }
            let held = self.news.borrow_and_update().clone().filter(Held::is_held);
            let leading = held.is_some();
            if replace(&mut self.told_leading, leading) || leading {
                return Ok(held);
            }
        }
    }

    /// Whether this process leads at this very moment, by this machine's clock, like [`Held::is_held`].
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.held().is_some()
    }

    /// What this process holds while it leads.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        self.office.held()
    }

    /// Why this process cannot lead: the refusal that the last attempt met, where it was one that does not pass
    /// by itself, such as a missing permission.
    ///
    /// `None` again once it leads or waits for another's Lease. The election goes on: it tries again after 100
    /// milliseconds, then less and less often, every 30 seconds in the end. Failures that may pass, such as an
    /// unavailable API server, are retried as by [`LeaseLock::acquire`], and only logged.
    #[must_use]
    pub fn last_error(&self) -> Option<AcquireError> {
        // Closed once the background task has ended.
        if self.news.has_changed().is_err() { Some(self.office.over()) } else { self.office.refusal() }
    }

    /// Ceases to lead, letting others go first, and waits for the outcome; then stands for election again.
    ///
    /// The token fires first. Waiters that watch the Lease take over one round trip after the release. So that
    /// those that poll have their chance too, this process stands again only 5 seconds after it; if there is no
    /// other candidate, nobody leads for so long. Where this process does not lead, nothing happens.
    ///
    /// # Errors
    ///
    /// As [`LeaseGuard::release`]. The election goes on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: once polled, it goes on in the background even if the future is dropped.
    pub async fn step_down(&self) -> Result<(), ReleaseError> {
        match self.office.step_down() {
            Some(guard) => guard.release().await,
            None => Ok(()),
        }
    }

    /// Ends the election: releases the Lease if this process leads, and waits for the outcome.
    ///
    /// # Errors
    ///
    /// As [`LeaseGuard::release`]. The election has ended all the same.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the election ends, and a release goes on in the background, even if the future is dropped.
    pub async fn stop(self) -> Result<(), ReleaseError> {
        let guard = self.office.close();
        // Fires the token; only then is the channel told.
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
        drop(self.office.close());
        self.office.stopped().cancel();
    }
}

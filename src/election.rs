//! Leader election: the lock, acquired again and again by one background task, published on a watch channel.

use std::mem::{discriminant, replace};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{AcquireError, ReleaseError};
use crate::guard::LeaseGuard;
use crate::held::Held;
use crate::lock::LeaseLock;
use crate::pace::Backoff;

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
        match &*self.office.seat() {
            Seat::Taken(guard) => Some(guard.held().clone()).filter(Held::is_held),
            Seat::Vacant | Seat::Yielded | Seat::Closed => None,
        }
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
        self.office.stopped.cancel();
    }
}

/// What an [`Election`] shares with its background task.
#[derive(Debug)]
struct Office {
    lock: LeaseLock,
    seat: Mutex<Seat>,
    refusal: Mutex<Option<AcquireError>>,
    stopped: CancellationToken,
}

/// Who leads, as far as this process is concerned. The guard is here, not with the background task, so that
/// giving leadership up does not depend on that task.
#[derive(Debug)]
enum Seat {
    Vacant,
    Taken(LeaseGuard),
    /// Left to others for a while.
    Yielded,
    /// Never to be taken again.
    Closed,
}

impl Office {
    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closed, it gives the guard back to be dropped.
    fn take(&self, guard: LeaseGuard) -> Result<(), LeaseGuard> {
        let mut seat = self.seat();
        match *seat {
            Seat::Closed => Err(guard),
            Seat::Vacant | Seat::Taken(_) | Seat::Yielded => {
                *seat = Seat::Taken(guard);
                Ok(())
            }
        }
    }

    /// Clears what is left of a leadership that is over. Whether it was yielded to others.
    fn vacate(&self) -> bool {
        let mut seat = self.seat();
        let left = match *seat {
            Seat::Closed => return false,
            Seat::Vacant | Seat::Taken(_) | Seat::Yielded => replace(&mut *seat, Seat::Vacant),
        };
        drop(seat);
        matches!(left, Seat::Yielded)
    }

    fn step_down(&self) -> Option<LeaseGuard> {
        let mut seat = self.seat();
        match *seat {
            Seat::Taken(_) => replace(&mut *seat, Seat::Yielded).guard(),
            Seat::Vacant | Seat::Yielded | Seat::Closed => None,
        }
    }

    fn close(&self) -> Option<LeaseGuard> {
        replace(&mut *self.seat(), Seat::Closed).guard()
    }

    fn is_closed(&self) -> bool {
        matches!(*self.seat(), Seat::Closed)
    }

    fn refusal(&self) -> Option<AcquireError> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Whoever waits for another is not refused any more.
        refusal.filter(|_| self.lock.progress().get().0.is_none())
    }

    fn set_refusal(&self, refusal: Option<AcquireError>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// Why the election has ended, if not by its owner's wish.
    fn over(&self) -> AcquireError {
        let ended = || AcquireError::TaskEnded(self.lock.lease().clone());
        self.lock.check_open().err().unwrap_or_else(ended)
    }
}

impl Seat {
    fn guard(self) -> Option<LeaseGuard> {
        match self {
            Seat::Taken(guard) => Some(guard),
            Seat::Vacant | Seat::Yielded | Seat::Closed => None,
        }
    }
}

/// The background task of an [`Election`].
pub(crate) struct Candidate {
    office: Arc<Office>,
    news: watch::Sender<Option<Held>>,
    backoff: Backoff,
    rng: fastrand::Rng,
}

/// Longer than anybody polls who cannot watch: 2 s in this crate, 4.4 s in client-go with its defaults.
const STAND_BACK: Duration = Duration::from_secs(5);

/// The longest pause after a refusal.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Candidate {
    pub(crate) fn new(lock: LeaseLock, rng: fastrand::Rng) -> (Self, Election) {
        let (sender, news) = watch::channel(None);
        let office = Arc::new(Office {
            lock,
            seat: Mutex::new(Seat::Vacant),
            refusal: Mutex::new(None),
            stopped: CancellationToken::new(),
        });
        let backoff = Backoff::new(LONGEST_PAUSE);
        let candidate = Self { office: office.clone(), news: sender, backoff, rng };
        (candidate, Election { office, news, told_leading: false })
    }

    /// Stands for election until it is stopped or the lock is shut down.
    pub(crate) async fn run(mut self) {
        let stopped = self.office.stopped.clone();
        stopped.run_until_cancelled(self.stand()).await;
    }

    async fn stand(&mut self) {
        let lock = self.office.lock.clone();
        while !self.office.is_closed() {
            match lock.acquire().await {
                Ok(guard) => self.lead(guard).await,
                Err(AcquireError::ShutDown(_)) => return,
                Err(refusal) => self.refused(refusal).await,
            }
        }
    }

    async fn lead(&mut self, guard: LeaseGuard) {
        self.backoff.succeeded();
        self.office.set_refusal(None);
        let held = guard.held().clone();
        let lost = held.token();
        if self.office.take(guard).is_err() {
            return;
        }
        self.news.send_replace(Some(held));
        lost.cancelled().await;
        self.publish_none();
        if self.office.vacate() {
            self.stand_back().await;
        }
    }

    /// Lets others go first: not only until the release is over.
    async fn stand_back(&self) {
        if let Ok(turn) = self.office.lock.queue().await {
            drop(turn);
            self.pause(STAND_BACK).await;
        }
    }

    async fn refused(&mut self, refusal: AcquireError) {
        let pause = self.backoff.failed(None, &mut self.rng);
        let known = self.office.refusal();
        if known.is_none_or(|known| discriminant(&known) != discriminant(&refusal)) {
            self.office
                .lock
                .span()
                .in_scope(|| tracing::error!(error = %refusal, ?pause, "election refused"));
        }
        // Whom it waited for before says nothing any more.
        self.office.lock.progress().saw(None);
        self.office.set_refusal(Some(refusal));
        self.pause(pause).await;
    }

    async fn pause(&self, pause: Duration) {
        self.office.lock.closing().run_until_cancelled(tokio::time::sleep(pause)).await;
    }

    fn publish_none(&self) {
        self.news.send_if_modified(|held| held.take().is_some());
    }
}

impl Drop for Candidate {
    /// However the task ends, in a panic or with its runtime, nobody is left to lead unattended.
    fn drop(&mut self) {
        drop(self.office.close());
        self.publish_none();
    }
}

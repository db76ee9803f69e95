//! One acquisition, from the first look at the Lease to the end of the hold, as one background task.
//!
//! A background task, so that dropping whatever a user holds, an unfinished `acquire()` or a guard, at any
//! point and on any thread, leaves somebody behind who puts the Lease in order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::clock::Clock;
use crate::contend::{self, Patience, Setback};
use crate::error::{ReleaseError, RequestError};
use crate::held::Held;
use crate::hold;
use crate::lease::LeaseHolder;
use crate::pace::Spread;
use crate::protocol::{Contention, Judge, Terms};
use crate::record::Snapshot;
use crate::release;
use crate::settings::CreateMode;
use crate::store::Store;

/// What one acquisition works with.
pub(crate) struct Session {
    pub store: Arc<Store>,
    pub clock: Clock,
    pub terms: Terms,
    pub create_mode: CreateMode,
    /// The holder identity, unique to this acquisition.
    pub me: String,
    pub rng: fastrand::Rng,
    pub progress: Arc<Progress>,
    /// The lock's turn in this process; passed on when the session ends.
    pub turn: OwnedMutexGuard<Turn>,
}

/// What one process remembers about the Lease from one acquisition to the next. Whoever has it locked is the
/// one task of this process that contends for, or holds, the Lease.
pub(crate) struct Turn {
    pub judge: Judge,
    /// The state that our own last release left: a claim may build on it without looking first.
    pub left_free: Option<Snapshot>,
    pub spread: Spread,
    /// Whether this lock has created the Lease.
    pub created: bool,
    /// Whether it was said already that watching is forbidden.
    pub warned: bool,
}

impl Turn {
    pub(crate) fn new(judge: Judge) -> Self {
        Self { judge, left_free: None, spread: Spread::default(), created: false, warned: false }
    }

    /// Says it once.
    pub(crate) fn warn_forbidden_watch(&mut self, error: &RequestError) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(%error, "watching the Lease is forbidden: waiters poll, holders learn of a takeover by their next renewal; grant the verb watch");
        }
    }
}

/// What a waiting caller may be told.
#[derive(Default)]
pub(crate) struct Progress(Mutex<(Option<LeaseHolder>, Option<RequestError>)>);

impl Progress {
    pub(crate) fn saw(&self, holder: Option<LeaseHolder>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (holder, None);
    }

    pub(crate) fn failed(&self, error: RequestError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(error);
    }

    pub(crate) fn get(&self) -> (Option<LeaseHolder>, Option<RequestError>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where to report how a release went.
pub(crate) type Done = oneshot::Sender<Result<(), ReleaseError>>;

/// The order to stop: to give up contending, or to release.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Who wants to know how it went.
    pub done: Option<Done>,
    /// Lets `shutdown` wait for the end of it.
    _pending: TaskTrackerToken,
}

/// The user's end of a session: dropping it gives the order to stop.
#[derive(Debug)]
pub(crate) struct Leash {
    stop: Option<oneshot::Sender<Stop>>,
    releases: TaskTracker,
    /// From the start to the handing over of the guard: `shutdown` waits for acquisitions too.
    acquiring: Option<TaskTrackerToken>,
}

impl Leash {
    pub(crate) fn new(releases: TaskTracker) -> (Self, oneshot::Receiver<Stop>) {
        let (stop, stopped) = oneshot::channel();
        let acquiring = Some(releases.token());
        (Self { stop: Some(stop), releases, acquiring }, stopped)
    }

    /// The guard is handed over: from now on only the order to stop is waited for.
    pub(crate) fn acquired(&mut self) {
        self.acquiring = None;
    }

    /// Gives the order to stop, once. If the session is over already, `done` is dropped.
    pub(crate) fn order(&mut self, done: Option<Done>) {
        if let Some(stop) = self.stop.take() {
            // Fails where the session is over: then there is nothing left to stop.
            let _ = stop.send(Stop { done, _pending: self.releases.token() });
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.order(None);
    }
}

impl Session {
    /// Runs the session. `claimed` is told how the claim went.
    pub(crate) async fn run(
        mut self,
        patience: Patience,
        claimed: oneshot::Sender<Result<Held, Setback>>,
        mut stop: oneshot::Receiver<Stop>,
    ) {
        let left = self.turn.left_free.take();
        let mut contention = Contention::new(self.me.clone(), self.terms, left);
        let outcome = tokio::select! {
            biased;
            order = &mut stop => Err(order.ok()),
            outcome = contend::contend(&mut self, &mut contention, patience) => Ok(outcome),
        };
        match outcome {
            Ok(Ok(claim)) => hold::hold(self, claim, claimed, stop).await,
            Ok(Err(setback)) => {
                // Fails where nobody waits for it any more.
                let _ = claimed.send(Err(setback));
                release::withdraw(&mut self, contention).await;
            }
            Err(order) => {
                tracing::debug!("gave up waiting");
                release::withdraw(&mut self, contention).await;
                // Only now: `shutdown` waits for the end of the order.
                drop(order);
            }
        }
    }

    /// The longest pause between two tries of a failing request.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.terms.renew_interval / 4
    }
}

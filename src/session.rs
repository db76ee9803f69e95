//! What one acquisition works with, and what it shares with its user and with the acquisitions after it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::clock::Clock;
use crate::error::{ReleaseError, RequestError};
use crate::lease::LeaseHolder;
use crate::protocol::Terms;
use crate::settings::CreateMode;
use crate::store::Store;
use crate::turn::{Turn, Turns};
use crate::watch::News;

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
    pub turns: Turns,
    /// The lock's turn in this process; passed on when the session ends.
    pub turn: OwnedMutexGuard<Turn>,
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
    /// Draws the consequences of news for the watch that told it.
    pub(crate) fn heard(&mut self, news: &News) {
        if let News::Forbidden(error) = news {
            self.turn.warn_forbidden_watch(error);
        }
        self.turn.watcher.heard(news, self.clock.now(), &mut self.rng);
    }

    /// The longest pause between two tries of a failing request.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.terms.renew_interval / 4
    }
}

//! The stop request that a guard, or a dropped `acquire()`, sends to its background task.

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::background::BackgroundTask;
use crate::error::ReleaseError;
use crate::protocol::{AcquireState, HoldState};

/// The channel on which the background task reports the outcome of a release.
pub(crate) type ReportRelease = oneshot::Sender<Result<Released, ReleaseError>>;

/// The outcome of a release that was confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Released {
    /// The Lease was released or handed off. If there was a key to mark as done, the Lease shows it.
    Done,
    /// The Lease was released, but does not show the key that was to be marked.
    Unmarked,
}

/// The request to stop: to give up acquiring, or to release.
#[derive(Debug)]
pub(crate) struct StopRequest {
    /// `None` if nobody waits for the outcome.
    report: Option<ReportRelease>,
    /// The key to mark as done.
    pub(super) done_key: Option<String>,
    /// `shutdown` waits until the request is dropped, which is when it has been carried out.
    _pending: TaskTrackerToken,
}

impl StopRequest {
    /// Tells the outcome of a release. It comes back if nobody waits for it.
    pub(super) fn tell(
        &mut self,
        released: Option<Result<Released, ReleaseError>>,
    ) -> Option<Result<Released, ReleaseError>> {
        match (self.report.take(), released) {
            (Some(report), Some(released)) => report.send(released).err(),
            (_, released) => released,
        }
    }
}

/// The work that a stopped acquisition has left to do, and the request that asked for it.
pub(crate) struct Unfinished {
    pub state: Box<Stopped>,
    pub request: Option<StopRequest>,
}

/// An acquisition that was stopped.
#[allow(clippy::large_enum_variant, reason = "it is always boxed")]
pub(crate) enum Stopped {
    /// It is to release the Lease.
    Holding(HoldState),
    /// It is to withdraw a claim that may have been made.
    Acquiring(AcquireState),
}

/// The user's end of the channel. Dropping it requests the stop.
#[derive(Debug)]
pub(crate) struct StopHandle {
    stop: Option<oneshot::Sender<StopRequest>>,
    task: Option<BackgroundTask>,
    pending: TaskTracker,
    /// `shutdown` also waits for acquisitions, from their start until the guard is handed over.
    acquiring: Option<TaskTrackerToken>,
}

impl StopHandle {
    pub(crate) fn new(pending: TaskTracker) -> (Self, oneshot::Receiver<StopRequest>) {
        let (stop, requested) = oneshot::channel();
        let acquiring = Some(pending.token());
        (Self { stop: Some(stop), task: None, pending, acquiring }, requested)
    }

    /// The task that stops on request.
    pub(crate) fn stops(&mut self, task: BackgroundTask) {
        self.task = Some(task);
    }

    /// The guard is handed over: from now on `shutdown` waits only for the stop request.
    pub(crate) fn acquired(&mut self) {
        self.acquiring = None;
    }

    /// Requests the stop, once, and lets the background task begin with it on this thread. If the task has ended already,
    /// `report` is dropped. The releasing write marks `done_key` as done.
    pub(crate) fn request_stop(&mut self, report: Option<ReportRelease>, done_key: Option<String>) {
        if let Some(stop) = self.stop.take() {
            // Sending fails if the task has ended. Then there is nothing left to stop.
            let _ = stop.send(StopRequest { report, done_key, _pending: self.pending.token() });
            if let Some(task) = self.task.take() {
                task.poll_once();
            }
        }
    }
}

impl Drop for StopHandle {
    fn drop(&mut self) {
        self.request_stop(None, None);
    }
}

//! The health of a lock, for the probes of a Pod.

use crate::error::{EndReason, LossReason};
use crate::lock_core::LockCore;

/// The health of a lock, for the probes of a Pod: see [`LeaseLock::health`](crate::LeaseLock::health).
///
/// | state | live | ready |
/// |---|---|---|
/// | [`Idle`](Self::Idle): nothing is held, and nothing has failed | yes | yes |
/// | [`Holds`](Self::Holds): the lock is held, and its last renewal is recent | yes | yes |
/// | [`Unreached`](Self::Unreached): no API server has ever answered | yes | no |
/// | [`Failing`](Self::Failing): the last request failed or was refused, after others have succeeded | yes | yes |
/// | [`Stopping`](Self::Stopping): the lock is lost, and its work may still stop in time | yes | no |
/// | [`Overdue`](Self::Overdue): the lock is lost, and its work still runs after [`Hold::stop_by`](crate::Hold::stop_by) | no | no |
/// | [`TaskEnded`](Self::TaskEnded): the background task of the last hold has ended with its runtime or in a panic | no | no |
/// | [`ShutDown`](Self::ShutDown): the lock was shut down | yes | no |
///
/// A process that only waits is healthy: to restart it would not help. So is one whose requests fail, because an API server that is away
/// must not take all replicas out of their Service. Only a process whose work does not stop has to be killed. After a takeover that is so
/// for the moment until the work is dropped: let the probe fail twice before it counts.
///
/// The lock knows the work that [`LeaseGuard::run`](crate::LeaseGuard::run), [`LeaseLock::with`](crate::LeaseLock::with) and its
/// relatives, and [`LeaseLock::lead`](crate::LeaseLock::lead) run. It does not know what a task does beside a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Nothing is held, and nothing has failed.
    Idle,
    /// The lock is held. A renewal has succeeded within `renew_deadline`.
    Holds,
    /// No API server has ever answered.
    Unreached,
    /// The last request failed or was refused, after others have succeeded.
    Failing,
    /// The lock is lost. Its work still runs, and may do so for a moment.
    Stopping,
    /// The lock is lost. Its work still runs, although another process may hold the lock.
    Overdue,
    /// The background task of the last hold has ended.
    TaskEnded,
    /// The lock was shut down.
    ShutDown,
}

impl Health {
    /// Whether the process should go on. If not, Kubernetes should restart it.
    #[must_use]
    pub fn is_live(self) -> bool {
        !matches!(self, Self::Overdue | Self::TaskEnded)
    }

    /// Whether the process can do what it is there for.
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Idle | Self::Holds | Self::Failing)
    }

    pub(crate) fn of(core: &LockCore) -> Self {
        let (progress, works) = (core.progress(), core.works());
        let last = progress.last_hold();
        if works.is_overdue() {
            Self::Overdue
        } else if core.check_open().is_err() {
            Self::ShutDown
        } else if last.as_ref().is_some_and(|hold| hold.end_reason() == TASK_ENDED) {
            Self::TaskEnded
        } else if last.is_some_and(|hold| hold.is_held()) {
            Self::Holds
        } else if works.is_running() {
            Self::Stopping
        } else if !progress.is_failing() {
            Self::Idle
        } else if core.reached() {
            Self::Failing
        } else {
            Self::Unreached
        }
    }
}

const TASK_ENDED: Option<EndReason> = Some(EndReason::Lost(LossReason::TaskEnded));

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Idle => "the lock is not held",
            Self::Holds => "the lock is held",
            Self::Unreached => "no API server has ever answered",
            Self::Failing => "the last request failed",
            Self::Stopping => "the lock is lost, and its work stops",
            Self::Overdue => "the lock is lost, and its work has not stopped in time",
            Self::TaskEnded => "the background task of the lock has ended",
            Self::ShutDown => "the lock was shut down",
        })
    }
}

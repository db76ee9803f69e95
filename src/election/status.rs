//! What an election does now, for a status page or a log.

use std::time::Duration;

use crate::error::{AcquireError, RequestError};
use crate::hold::Hold;
use crate::lease::LeaseHolder;

/// What an [`Election`](super::Election) does now: see [`Election::status`](super::Election::status).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ElectionStatus {
    /// This process leads. [`Hold::remaining`] tells for how long, if no further renewal succeeds.
    Leading(Hold),
    /// This process waits for another one that leads.
    #[non_exhaustive]
    Following {
        /// The holder that was seen last.
        leader: LeaseHolder,
        /// How long this process has seen it as the holder.
        elapsed: Duration,
    },
    /// This process tries to lead, and knows of no leader: it has just begun, or the Lease is free.
    Candidate,
    /// The last request of this process failed. The election tries again.
    #[non_exhaustive]
    Failing {
        /// The error of the last request.
        error: RequestError,
        /// How long requests have failed.
        elapsed: Duration,
    },
    /// This process cannot lead until somebody acts: see [`Election::last_error`](super::Election::last_error). The election
    /// tries again now and then.
    Refused(AcquireError),
    /// This process has stepped down, and stands again in a few seconds.
    SteppedDown,
    /// The election was stopped or dropped, the lock was shut down, or the runtime has ended.
    Ended(AcquireError),
}

impl std::fmt::Display for ElectionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Leading(hold) => write!(f, "leads for {:.1?} at least", hold.remaining()),
            Self::Following { leader, elapsed } => {
                write!(f, "follows {:?}, which has led for {elapsed:.1?} at least", leader.identity)
            }
            Self::Candidate => write!(f, "stands for election"),
            Self::Failing { error, elapsed } => write!(f, "requests have failed for {elapsed:.1?}: {error}"),
            Self::Refused(error) => write!(f, "cannot lead: {error}"),
            Self::SteppedDown => write!(f, "has stepped down for a few seconds"),
            Self::Ended(error) => write!(f, "the election has ended: {error}"),
        }
    }
}

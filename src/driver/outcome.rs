//! Requests in flight, and what their failures mean to a machine.

use futures::future::{BoxFuture, Fuse};

use super::progress::Progress;
use crate::error::AcquireError;
use crate::kubernetes::{Denial, Failure, LeaseClient};
use crate::protocol::Outcome;

/// A request in flight. It is ready once with the answer; without a request it is never ready.
pub(super) type InFlight = Fuse<BoxFuture<'static, Result<Outcome, Failure>>>;

/// Notes whether requests succeed, for those who ask for the health of the lock.
pub(super) fn note(progress: &Progress, answer: &Result<Outcome, Failure>) {
    progress.answered(matches!(answer, Ok(_) | Err(Failure::Conflict(_))));
}

/// The outcome of a request that failed.
pub(super) fn outcome_of(failure: &Failure, client: &LeaseClient) -> Outcome {
    match failure {
        Failure::Conflict(_) => Outcome::Conflict,
        Failure::Unknown { error, retry_after } => Outcome::InDoubt {
            retry_after: *retry_after,
            server_known: client.reached(),
            refused: AcquireError::of_refusal(error).is_some(),
        },
        Failure::Denied(denial) => Outcome::Denied { any_write: !matches!(denial, Denial::Refused(_)) },
    }
}

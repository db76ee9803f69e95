//! Requests in flight, and the pauses between failing ones.

use std::time::Duration;

use futures::future::{BoxFuture, Fuse};

use crate::backoff::Backoff;
use crate::kubernetes::Failure;
use crate::protocol::Outcome;

/// A request in flight. It is ready once with the answer; without a request it is never ready.
pub(super) type InFlight<T> = Fuse<BoxFuture<'static, Result<T, Failure>>>;

/// The pause before the lock finds out what became of the request. There is none after a first conflict.
pub(super) fn pause_after(failure: &Failure, backoff: &mut Backoff, rng: &mut fastrand::Rng) -> Duration {
    let first_conflict = matches!(failure, Failure::Conflict(_)) && backoff.is_fresh();
    let pause = backoff.failed(failure.retry_after(), rng);
    if first_conflict { Duration::ZERO } else { pause }
}

/// The outcome of a request that failed during a hold or a release. However long the server asks the client to wait, half
/// of the time that is `left` remains for another try.
pub(super) fn outcome_of(
    failure: &Failure,
    left: Duration,
    backoff: &mut Backoff,
    rng: &mut fastrand::Rng,
) -> Outcome {
    Outcome::Unknown { pause: pause_after(failure, backoff, rng).min(left / 2) }
}

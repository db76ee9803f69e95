//! Ends the hold of another process by force: drives a [`BreakState`] with reads and writes.

use super::outcome::outcome_of;
use crate::clock::Clock;
use crate::error::BreakHoldError;
use crate::kubernetes::{Failure, LeaseClient};
use crate::lease::LeaseHolder;
use crate::log::log;
use crate::protocol::{BreakOutcome, BreakState, BreakStep, Instant, Outcome};

/// Empties the holder, if the Lease is in the hold of `state`. Nothing is sent after `deadline`.
pub(crate) async fn break_hold(
    client: &LeaseClient,
    clock: &Clock,
    mut state: BreakState,
    deadline: Instant,
    rng: &mut fastrand::Rng,
) -> Result<(), BreakHoldError> {
    let lease = client.lease();
    let mut last_failure = None;
    loop {
        let now = clock.now();
        let left = now.until(deadline);
        let answer = match state.step(now, clock.wall()) {
            BreakStep::Read => client.get(left).await.map(Outcome::Read),
            BreakStep::Write(write) => client.write(&write, left).await.map(Outcome::Written),
            BreakStep::Wait(until) => {
                clock.sleep_until(until).await;
                continue;
            }
            BreakStep::End(end) => {
                return match (end, last_failure) {
                    (BreakOutcome::Broken, _) => Ok(()),
                    (BreakOutcome::Changed(seen), _) => {
                        let holder = seen.as_ref().and_then(LeaseHolder::of).map(Box::new);
                        Err(BreakHoldError::Changed { lease: lease.clone(), holder })
                    }
                    (_, Some(Failure::Denied(denial))) => Err(BreakHoldError::Denied(denial.into())),
                    (_, Some(failure)) => Err(BreakHoldError::Request(failure.error().clone())),
                    (_, None) => Err(BreakHoldError::TimedOut(lease.clone())),
                };
            }
        };
        let outcome = match answer {
            Ok(outcome) => outcome,
            Err(failure) => {
                log!(debug, client.lease(), error = %failure.error(), "the hold is not broken yet");
                let outcome = outcome_of(&failure, client);
                last_failure = Some(failure);
                outcome
            }
        };
        state.answered(outcome, clock.now(), rng);
    }
}

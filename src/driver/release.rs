//! Ends a hold or withdraws a claim: drives a [`ReleaseState`] with requests.
//!
//! The loop asks the machine for a step, sends the request that it wants, and reports the outcome, until the machine ends.

use super::loss;
use super::outcome::outcome_of;
use super::session::Session;
use super::stop::Released;
use crate::error::{ReleaseError, RequestError};
use crate::log::log;
use crate::protocol::{
    AcquireState, HoldState, HoldStop, Outcome, ReleaseOutcome, ReleaseState, ReleaseStep,
};

/// Whether a hold can be handed off, if a task of this process waits for it. This takes no request.
pub(super) fn may_hand_off(session: &Session, hold: &HoldState) -> bool {
    hold.may_hand_off(&session.exclusive.memory, session.context.now())
}

/// Ends a hold: hands the Lease off to the next task of this process, if one waits, or releases it.
pub(super) async fn release(
    session: &mut Session,
    hold: HoldState,
    waited_for: bool,
) -> Result<Released, ReleaseError> {
    let Session { context, exclusive } = session;
    let release = match hold.stop(waited_for, &mut exclusive.memory, context.now()) {
        HoldStop::Release(release) => *release,
        HoldStop::HandedOff => {
            log!(info, context.client.lease(), "handed off within the process");
            return Ok(Released::Done);
        }
    };
    let lease = context.client.lease().clone();
    let (outcome, last_failure) = Box::pin(drive(session, release)).await;
    let error = match outcome {
        ReleaseOutcome::Done(left) => {
            session.exclusive.memory.released(left, session.context.now());
            log!(info, lease, "released");
            return Ok(Released::Done);
        }
        ReleaseOutcome::Unmarked(left) => {
            session.exclusive.memory.released(Some(left), session.context.now());
            log!(warn, lease, "released, but the key is not marked as done");
            return Ok(Released::Unmarked);
        }
        ReleaseOutcome::Lost(loss) => ReleaseError::Lost { lease, reason: loss::reason(loss) },
        ReleaseOutcome::Unconfirmed => {
            ReleaseError::Unconfirmed { lease, last_failure: last_failure.map(|error| error.to_string()) }
        }
    };
    log!(warn, session.context.client.lease(), %error, "release failed");
    Err(error)
}

/// Ensures that no claim of an acquisition that was given up holds the Lease.
pub(super) async fn withdraw(session: &mut Session, acquire: AcquireState) {
    let Session { context, exclusive } = session;
    let creating = acquire.may_have_created();
    if let Some(release) = acquire.withdraw(&mut exclusive.memory, context.now()) {
        let (outcome, _) = Box::pin(drive(session, release)).await;
        log!(debug, session.context.client.lease(), ?outcome, "withdrew an unanswered claim");
        session.exclusive.memory.created |= creating && matches!(outcome, ReleaseOutcome::Done(Some(_)));
    }
}

/// Drives the release to its end, and returns the last request too, if it failed.
///
/// Its future is large and short-lived. Callers box it, so that a lock that is held or waited for stays small.
async fn drive(session: &mut Session, mut release: ReleaseState) -> (ReleaseOutcome, Option<RequestError>) {
    let Session { context, exclusive } = session;
    let mut last_failure = None;
    loop {
        let now = context.now();
        let left = now.until(release.deadline());
        let answer = match release.step(now, context.clock.wall()) {
            ReleaseStep::End(end) => return (end, last_failure),
            ReleaseStep::Wait(until) => {
                context.clock.sleep_until(until).await;
                continue;
            }
            ReleaseStep::Read => context.client.get(left).await.map(Outcome::Read),
            ReleaseStep::Write(write) => {
                // After a suspend, the deadline may have passed before the runtime knows that time has.
                let (clock, deadline) = (context.clock.clone(), release.deadline());
                let may_send = || clock.now() < deadline;
                context.client.write_while(&write, left, &may_send).await.map(Outcome::Written)
            }
        };
        let now = context.now();
        last_failure = answer.as_ref().err().map(|failure| failure.error().clone());
        let outcome = answer.unwrap_or_else(|failure| outcome_of(&failure, &context.client));
        release.answered(outcome, now, &mut context.rng);
        // After an answer, the events are for the next acquisition.
        while last_failure.is_some()
            && let Some(event) = exclusive.watcher.ready()
        {
            exclusive.memory.told(&event, now, &mut context.rng);
            release.watched(event);
        }
    }
}

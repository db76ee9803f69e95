//! Ends a hold or withdraws a claim: drives a [`ReleaseState`] with requests.
//!
//! The loop asks the machine for a step, sends the request that it wants, and reports the outcome, until the machine ends.

use super::loss;
use super::retry::outcome_of;
use super::session::Session;
use crate::backoff::Backoff;
use crate::error::ReleaseError;
use crate::protocol::{
    AcquireState, Carryover, HoldState, Outcome, ReleaseOutcome, ReleaseState, ReleaseStep,
};

/// How often in a row a Lease is handed off within one process while other processes wait.
const MAX_HAND_OFFS: u32 = 16;

/// Whether a hold can be handed off, if a task of this process waits for it. This takes no request.
pub(super) fn may_hand_off(session: &Session, hold: &HoldState) -> bool {
    let others_first = !hold.queue().is_empty() && session.memory.hand_offs >= MAX_HAND_OFFS;
    !others_first && hold.may_hand_off(session.context.now())
}

/// Ends a hold: hands the Lease off to the next task of this process, if one waits, or releases it.
pub(super) async fn release(
    session: &mut Session,
    hold: HoldState,
    waited_for: bool,
) -> Result<(), ReleaseError> {
    let hands_off = waited_for && may_hand_off(session, &hold);
    let Session { context, memory } = session;
    if hands_off {
        memory.carryover = hold.hand_off();
        memory.hand_offs += 1;
        tracing::info!("handed off within the process");
        return Ok(());
    }
    memory.hand_offs = 0;
    let release = match memory.queue_policy.rejoining(waited_for) {
        Some(ticket) => hold.release().rejoining(ticket),
        None => hold.release(),
    };
    let lease = context.client.lease().clone();
    let error = match Box::pin(drive(session, release)).await {
        ReleaseOutcome::Done(left) => {
            session.memory.carryover = left.map_or(Carryover::Unknown, Carryover::Free);
            session.memory.queue_policy.released(session.context.now());
            tracing::info!("released");
            return Ok(());
        }
        ReleaseOutcome::Lost(loss) => ReleaseError::Lost { lease, reason: loss::reason(loss) },
        ReleaseOutcome::Unconfirmed => ReleaseError::Unconfirmed { lease },
    };
    tracing::warn!(%error, "release failed");
    Err(error)
}

/// Ensures that no claim of an acquisition that was given up holds the Lease.
pub(super) async fn withdraw(session: &mut Session, acquire: AcquireState) {
    let creating = acquire.may_have_created();
    if let Some(release) = acquire.withdraw(session.context.now()) {
        let outcome = Box::pin(drive(session, release)).await;
        tracing::debug!(?outcome, "withdrew an unanswered claim");
        session.memory.created |= creating && matches!(outcome, ReleaseOutcome::Done(Some(_)));
    }
}

/// Its future is large and short-lived. Callers box it, so that a lock that is held or waited for stays small.
async fn drive(session: &mut Session, mut release: ReleaseState) -> ReleaseOutcome {
    let context = &mut session.context;
    let mut backoff = Backoff::new(context.max_pause());
    loop {
        let now = context.now();
        let left = now.until(release.deadline());
        let answer = match release.step(now, context.clock.wall()) {
            ReleaseStep::End(end) => return end,
            ReleaseStep::Wait(until) => {
                context.clock.sleep_until(until).await;
                continue;
            }
            ReleaseStep::Read => context.client.get(left).await.map(Outcome::Read),
            ReleaseStep::Write(write) => context.client.write(&write, left).await.map(Outcome::Written),
        };
        let now = context.now();
        let left = now.until(release.deadline());
        let outcome =
            answer.unwrap_or_else(|failure| outcome_of(&failure, left, &mut backoff, &mut context.rng));
        release.answered(outcome, now);
    }
}

//! The end of a hold: hands the Lease on, or gives it back by driving a [`Release`] with requests.

use std::time::Duration;

use crate::error::{LossReason, ReleaseError};
use crate::pace::Backoff;
use crate::protocol::{Answer, Contention, Holder, Left, Loss, Release, ReleaseStep, Released};
use crate::session::Session;
use crate::store::Failure;

/// How often in a row a Lease is handed on within one process while others wait for it.
const PASSES: u32 = 16;

/// Ends a hold, and reports the outcome: hands the Lease on to the next task of this process, or releases it.
pub(crate) async fn let_go(session: &mut Session, holder: Holder) -> Result<(), ReleaseError> {
    let waited_for = session.turns.is_waited_for();
    let others_first = !holder.queue().is_empty() && session.turn.passes >= PASSES;
    if waited_for && !others_first && holder.may_pass(session.clock.now()) {
        session.turn.left = holder.pass();
        session.turn.passes += 1;
        tracing::info!("handed on within the process");
        return Ok(());
    }
    session.turn.passes = 0;
    let release = match session.turn.line.rejoining(waited_for) {
        Some(ticket) => holder.release().rejoining(ticket),
        None => holder.release(),
    };
    let lease = session.store.lease().clone();
    let error = match Box::pin(drive(session, release)).await {
        Released::Done(left) => {
            session.turn.left = left.map_or(Left::Unknown, Left::Free);
            session.turn.line.releases(session.clock.now());
            tracing::info!("released");
            return Ok(());
        }
        Released::Lost(loss) => ReleaseError::Lost { lease, reason: reason(loss) },
        Released::Unconfirmed => ReleaseError::Unconfirmed { lease },
    };
    tracing::warn!(%error, "release failed");
    Err(error)
}

/// Makes sure that no claim of a contention that nobody waits for any more holds the Lease.
pub(crate) async fn withdraw(session: &mut Session, contention: Contention) {
    let creating = contention.may_have_created();
    if let Some(release) = contention.withdraw(session.clock.now()) {
        let outcome = Box::pin(drive(session, release)).await;
        tracing::debug!(?outcome, "withdrew an unanswered claim");
        session.turn.created |= creating && matches!(outcome, Released::Done(Some(_)));
    }
}

/// Large, and over soon: to be boxed, so that a lock that is held or waited for does not carry it along.
async fn drive(session: &mut Session, mut release: Release) -> Released {
    let mut backoff = Backoff::new(session.longest_pause());
    loop {
        let now = session.clock.now();
        let left = now.until(release.deadline());
        let answer = match release.step(now, session.clock.wall()) {
            ReleaseStep::End(end) => return end,
            ReleaseStep::Wait(until) => {
                session.clock.sleep_until(until).await;
                continue;
            }
            ReleaseStep::Look => session.store.get(left).await.map(Answer::Seen),
            ReleaseStep::Write(write) => session.store.write(&write, left).await.map(Answer::Written),
        };
        let now = session.clock.now();
        let left = now.until(release.deadline());
        let answer =
            answer.unwrap_or_else(|failure| answer_to(&failure, left, &mut backoff, &mut session.rng));
        release.answered(answer, now);
    }
}

/// What a failure means to the protocol. However long the server asks to be left alone, half of the time that is
/// `left` is for trying again.
pub(crate) fn answer_to(
    failure: &Failure,
    left: Duration,
    backoff: &mut Backoff,
    rng: &mut fastrand::Rng,
) -> Answer {
    Answer::Unknown { pause: failure.pause(backoff, rng).min(left / 2) }
}

/// A loss as users see it.
pub(crate) fn reason(loss: Loss) -> LossReason {
    match loss {
        Loss::Deadline => LossReason::DeadlinePassed { last_failure: None },
        Loss::TakenOver { by } => LossReason::TakenOver { by },
        Loss::Cleared => LossReason::Cleared,
        Loss::Deleted => LossReason::Deleted,
    }
}

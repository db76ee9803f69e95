//! Gives a Lease back: drives [`Release`] with requests.

use crate::contend::UnsettledClaim;
use crate::error::{LossReason, ReleaseError};
use crate::pace::Backoff;
use crate::protocol::{Answer, Loss, Release, ReleaseStep, Released};
use crate::session::Session;
use crate::store::Failure;

/// Releases a hold, and reports the outcome.
pub(crate) async fn release(session: &mut Session, release: Release) -> Result<(), ReleaseError> {
    let lease = session.store.lease().clone();
    match drive(session, release).await {
        Released::Done(left) => {
            session.turn.left_free = left;
            tracing::info!("released");
            Ok(())
        }
        Released::Lost(loss) => {
            let reason = reason(loss);
            tracing::warn!(%reason, "there was nothing left to release");
            Err(ReleaseError::Lost { lease, reason })
        }
        Released::Unconfirmed => {
            tracing::warn!(
                "the release was not confirmed in time; the Lease is released, or expires"
            );
            Err(ReleaseError::Unconfirmed { lease })
        }
    }
}

/// Makes sure that a claim nobody waits for any more does not hold the Lease.
pub(crate) async fn withdraw(session: &mut Session, unsettled: Option<UnsettledClaim>) {
    let Some(claim) = unsettled else { return };
    let deadline = claim.sent + session.terms.renew_deadline;
    let outcome = drive(
        session,
        Release::of_claim(session.me.clone(), claim.on, deadline),
    )
    .await;
    tracing::debug!(?outcome, "withdrew an unanswered claim");
}

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
            ReleaseStep::Write(write) => {
                session.store.write(&write, left).await.map(Answer::Written)
            }
        };
        let answer =
            answer.unwrap_or_else(|failure| answer_to(&failure, &mut backoff, &mut session.rng));
        release.answered(answer, session.clock.now());
    }
}

/// What a failure means to the protocol.
pub(crate) fn answer_to(
    failure: &Failure,
    backoff: &mut Backoff,
    rng: &mut fastrand::Rng,
) -> Answer {
    tracing::debug!(error = %failure.error(), "request failed");
    match failure {
        Failure::Conflict(_) => Answer::Conflict,
        _ => Answer::Unknown {
            pause: backoff.failed(failure.retry_after(), rng),
        },
    }
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

//! Why a hold was lost, in the words of the public API.

use std::time::Duration;

use super::session::Context;
use crate::error::LossReason;
use crate::hold::Hold;
use crate::kubernetes::{Denial, Failure};
use crate::log::log;
use crate::protocol::{Loss, Record};

/// A deadline that is noticed later tells of a process that stood still, and not of a silent server.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// The reason for a loss, as far as the protocol knows it.
pub(super) fn reason(loss: Loss) -> LossReason {
    match loss {
        Loss::Deadline => LossReason::DeadlinePassed { last_failure: None },
        Loss::TakenOver { by } => LossReason::TakenOver { by },
        Loss::Cleared => LossReason::Cleared,
        Loss::NotPreferred { preferred } => LossReason::NotPreferred { preferred },
        Loss::Deleted => LossReason::Deleted,
    }
}

/// Ends a lost hold: cancels its token, finds out the full reason, and tells it.
pub(super) async fn report(
    context: &Context,
    hold: &Hold,
    record: &Record,
    loss: Loss,
    last_failure: Option<Failure>,
    late: Duration,
) {
    // No timer is that late while the process runs: the process or its machine stood still.
    let stood_still = (loss == Loss::Deadline && late > STOOD_STILL).then(|| tracing::field::debug(late));

    // The token first: to find out the reason can take a request, and the token must not wait for that.
    let known = reason(loss);
    hold.cancel(known.leaves_the_record());
    let reason = match (known, last_failure) {
        (LossReason::Deleted, _) if context.client.namespace_gone(record, Duration::MAX).await => {
            LossReason::NamespaceGone
        }
        (LossReason::DeadlinePassed { .. }, Some(Failure::Denied(Denial::Forbidden(error)))) => {
            LossReason::Forbidden { message: error.to_string() }
        }
        (LossReason::DeadlinePassed { .. }, Some(failure)) => {
            LossReason::DeadlinePassed { last_failure: Some(failure.error().to_string()) }
        }
        (reason, _) => reason,
    };
    log!(warn, hold.lease(), %reason, stood_still, "lost");
    hold.end(reason.into());
}

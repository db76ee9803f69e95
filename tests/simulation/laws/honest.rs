//! The reason of a loss is one that happened, and nothing is granted that is lost by itself.

use std::sync::atomic::Ordering;

use kube_lease_lock::{EndReason, LossReason};

use super::Case;
use crate::story::HoldTrace;

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    let ours = case.told.holds.iter().filter(|hold| hold.node.is_some());
    let broken = ours.filter_map(|hold| match &hold.reason {
        reason if !is_true(case, hold) => Some(format!("{} was told a lie: {reason:?}", hold.identity)),
        // What the watch tells first may be that the hold is over.
        Some(EndReason::Lost(LossReason::TakenOver { .. } | LossReason::Cleared | LossReason::Deleted)) => {
            None
        }
        _ => is_stillborn(hold).then(|| format!("{} was over when it was granted", hold.identity)),
    });
    broken.collect()
}

fn is_true(case: &Case<'_>, hold: &HoldTrace) -> bool {
    let mut later = case.states.iter().filter(|state| state.revision > hold.fencing_token);
    let Some(EndReason::Lost(reason)) = &hold.reason else { return true };
    match reason {
        LossReason::TakenOver { by, .. } => later.any(|state| state.holder() == by),
        LossReason::Cleared => later.any(|state| state.lease.is_some() && state.holder().is_empty()),
        LossReason::Deleted => later.any(|state| state.lease.is_none()),
        LossReason::TaskEnded => hold.node.as_ref().is_some_and(|node| node.ailing.load(Ordering::Relaxed)),
        LossReason::NamespaceGone => false,
        _ => true,
    }
}

fn is_stillborn(hold: &HoldTrace) -> bool {
    !hold.live_at_first && hold.node.as_ref().is_some_and(|node| !node.has_stood_still())
}

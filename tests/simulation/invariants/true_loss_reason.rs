//! The reason of each loss is true, and no hold is over when it is granted.

use std::sync::atomic::Ordering;

use kube_lease_lock::{EndReason, LossReason};

use super::Run;
use crate::trace::HoldRecord;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    let ours = run.trace.holds.iter().filter(|hold| hold.node.is_some());
    let violations = ours.filter_map(|hold| match &hold.reason {
        reason if !is_true(run, hold) => Some(format!("{} got a false reason: {reason:?}", hold.identity)),
        // The first event of the watch can be the loss.
        Some(EndReason::Lost(LossReason::TakenOver { .. } | LossReason::Cleared | LossReason::Deleted)) => {
            None
        }
        _ => is_over_when_granted(hold).then(|| format!("{} was over when it was granted", hold.identity)),
    });
    violations.collect()
}

fn is_true(run: &Run<'_>, hold: &HoldRecord) -> bool {
    let mut later = run.states.iter().filter(|state| state.revision > hold.fencing_token);
    let Some(EndReason::Lost(reason)) = &hold.reason else { return true };
    match reason {
        LossReason::TakenOver { by, .. } => later.any(|state| state.holder() == by),
        LossReason::Cleared => later.any(|state| state.lease.is_some() && state.holder().is_empty()),
        LossReason::Deleted => later.any(|state| state.lease.is_none()),
        LossReason::TaskEnded => {
            hold.node.as_ref().is_some_and(|node| node.may_have_panicked.load(Ordering::Relaxed))
        }
        LossReason::NamespaceGone => false,
        _ => true,
    }
}

fn is_over_when_granted(hold: &HoldRecord) -> bool {
    !hold.live_when_granted && hold.node.as_ref().is_some_and(|node| !node.was_frozen())
}

//! If nothing goes wrong but crashes and single requests, no process loses its hold.

use std::time::Duration;

use kube_lease_lock::EndReason;

use super::Run;
use crate::node::Node;
use crate::scenario::FaultProfile;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if !run.scenario.profile.preserves_holds() && run.scenario.profile != FaultProfile::Contention {
        return Vec::new();
    }
    let ours =
        run.trace.holds.iter().filter(|hold| hold.node.as_ref().is_some_and(|node| has_time(run, node)));
    let lost = ours.filter(|hold| !matches!(hold.reason, None | Some(EndReason::Released)));
    lost.map(|hold| format!("{} was lost: {:?}", hold.identity, hold.reason)).collect()
}

/// Whether a renewal is still possible after a failed request and some conflicts.
fn has_time(run: &Run<'_>, node: &Node) -> bool {
    run.scenario.profile != FaultProfile::RareFailures || node.config.renew_deadline >= Duration::from_secs(5)
}

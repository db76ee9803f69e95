//! Where hardly anything goes wrong, what was released, on whatever thread, is free soon after.

use std::time::Duration;

use kube_lease_lock::EndReason;

use super::Run;
use crate::node::Node;
use crate::scenario::FaultProfile;
use crate::trace::HoldRecord;

/// Some requests without faults, one of them late.
const ROUND_TRIPS: Duration = Duration::from_secs(2);

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if !run.scenario.profile.preserves_holds() {
        return Vec::new();
    }
    let ours = run.trace.holds.iter().filter_map(|hold| Some((hold, hold.node.as_ref()?)));
    ours.filter_map(|(hold, node)| kept(run, hold, node)).collect()
}

fn kept(run: &Run<'_>, hold: &HoldRecord, node: &Node) -> Option<String> {
    let cancelled_at =
        hold.cancelled_at.filter(|_| hold.reason == Some(EndReason::Released) && !node.was_frozen())?;
    // One request may fail on the way.
    let timeout = match run.scenario.profile {
        FaultProfile::CrashesOnly => Duration::ZERO,
        _ => node.config.renew_deadline.mul_f64(0.31),
    };
    let due = cancelled_at + timeout + ROUND_TRIPS;
    let sent = run.writes_of(hold).filter_map(|state| Some(run.request_for(state)?.at)).max()?;
    if due >= sent + node.config.renew_deadline.mul_f64(0.99) {
        return None; // It expires anyway.
    }
    let mut later = run.states.iter().filter(|state| state.revision > hold.fencing_token);
    let freed = later.any(|state| state.at <= due && state.holder() != hold.identity);
    (!freed).then(|| {
        format!(
            "{} was released at {:.3} s, and not free soon after",
            hold.identity,
            run.seconds(cancelled_at)
        )
    })
}

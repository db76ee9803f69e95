//! If nothing goes wrong but crashes and single requests, a released Lease is soon free, on whatever thread the release
//! happened.

use std::time::Duration;

use kube_lease_lock::EndReason;

use super::Run;
use crate::node::Node;
use crate::scenario::FaultProfile;
use crate::trace::HoldRecord;

/// The longest that some requests without faults take, one of them late.
const MAX_RELEASE_TIME: Duration = Duration::from_secs(2);

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if !run.scenario.profile.preserves_holds() {
        return Vec::new();
    }
    let ours = run.trace.holds.iter().filter_map(|hold| Some((hold, hold.node.as_ref()?)));
    ours.filter_map(|(hold, node)| not_freed(run, hold, node)).collect()
}

fn not_freed(run: &Run<'_>, hold: &HoldRecord, node: &Node) -> Option<String> {
    let cancelled_at =
        hold.cancelled_at.filter(|_| hold.reason == Some(EndReason::Released) && !node.was_frozen())?;
    // One request of the release may fail.
    let timeout = match run.scenario.profile {
        FaultProfile::CrashesOnly => Duration::ZERO,
        FaultProfile::SlowServer => node.config.write_time,
        _ => node.config.renew_deadline.mul_f64(0.31),
    };
    let due = cancelled_at + timeout + MAX_RELEASE_TIME;
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

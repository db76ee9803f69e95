//! Where hardly anything goes wrong, what was released, on whatever thread, is free soon after.

use std::time::Duration;

use kube_lease_lock::EndReason;

use super::Case;
use crate::node::Node;
use crate::plan::Weather;
use crate::story::HoldTrace;

/// Some requests without faults, one of them late.
const ROUND_TRIPS: Duration = Duration::from_secs(2);

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    if !case.plan.weather.is_gentle() {
        return Vec::new();
    }
    let ours = case.told.holds.iter().filter_map(|hold| Some((hold, hold.node.as_ref()?)));
    ours.filter_map(|(hold, node)| kept(case, hold, node)).collect()
}

fn kept(case: &Case<'_>, hold: &HoldTrace, node: &Node) -> Option<String> {
    let fired = hold.fired.filter(|_| hold.reason == Some(EndReason::Released) && !node.has_stood_still())?;
    // One request may fail on the way.
    let timeout = match case.plan.weather {
        Weather::Calm => Duration::ZERO,
        _ => node.plan.renew_deadline.mul_f64(0.31),
    };
    let due = fired + timeout + ROUND_TRIPS;
    let sent = case.written_by(hold).filter_map(|state| Some(case.request_of(state)?.at)).max()?;
    if due >= sent + node.plan.renew_deadline.mul_f64(0.99) {
        return None; // It expires anyway.
    }
    let mut later = case.states.iter().filter(|state| state.revision > hold.fencing_token);
    let freed = later.any(|state| state.at <= due && state.holder() != hold.identity);
    (!freed).then(|| {
        format!("{} was released at {:.3} s, and not free soon after", hold.identity, case.seconds(fired))
    })
}

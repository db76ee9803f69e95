//! The token fires by the sending of the last write that was made, plus `renew_deadline`.

use std::time::Duration;

use super::Case;
use crate::node::Node;
use crate::story::HoldTrace;

/// The granularity of tokio's timers, twice.
const GRANULARITY: Duration = Duration::from_millis(2);

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    let ours = case.told.holds.iter().filter_map(|hold| Some((hold, hold.node.as_ref()?)));
    ours.filter_map(|(hold, node)| late(case, hold, node)).collect()
}

fn late(case: &Case<'_>, hold: &HoldTrace, node: &Node) -> Option<String> {
    let sent = case.written_by(hold).filter_map(|state| Some(case.request_of(state)?.at)).max();
    let Some(sent) = sent else {
        return Some(format!("{} was granted without a claim", hold.identity));
    };
    let trust = node.plan.renew_deadline.div_f64(node.plan.rate);
    let due = node.awake_from(sent + trust)? + GRANULARITY;
    let (last, due_at) = (case.seconds(sent), case.seconds(due));
    match hold.fired {
        Some(fired) if fired <= due => None,
        Some(fired) => Some(format!(
            "{} sent its last renewal at {last:.3} s, and its token fired at {:.3} s instead of {due_at:.3} s",
            hold.identity,
            case.seconds(fired),
        )),
        None => Some(format!("{} sent its last renewal at {last:.3} s and still holds", hold.identity)),
    }
}

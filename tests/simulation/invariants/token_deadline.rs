//! The token is cancelled within `renew_deadline` of the sending of the last write that the server made.

use std::time::Duration;

use super::Run;
use crate::node::Node;
use crate::trace::HoldRecord;

/// Twice the granularity of tokio's timers.
const GRANULARITY: Duration = Duration::from_millis(2);

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    let ours = run.trace.holds.iter().filter_map(|hold| Some((hold, hold.node.as_ref()?)));
    ours.filter_map(|(hold, node)| late_cancellation(run, hold, node)).collect()
}

fn late_cancellation(run: &Run<'_>, hold: &HoldRecord, node: &Node) -> Option<String> {
    let sent = run.writes_of(hold).filter_map(|state| Some(run.request_for(state)?.at)).max();
    let Some(sent) = sent else {
        return Some(format!("{} was granted without a claim", hold.identity));
    };
    let believed = node.config.renew_deadline.div_f64(node.config.rate);
    let due = node.first_awake_from(sent + believed)? + GRANULARITY;
    let (last, due_at) = (run.seconds(sent), run.seconds(due));
    match hold.cancelled_at {
        Some(cancelled_at) if cancelled_at <= due => None,
        Some(cancelled_at) => Some(format!(
            "{} sent its last renewal at {last:.3} s, and its token was cancelled at {:.3} s instead of {due_at:.3} s",
            hold.identity,
            run.seconds(cancelled_at),
        )),
        None => Some(format!("{} sent its last renewal at {last:.3} s and still holds", hold.identity)),
    }
}

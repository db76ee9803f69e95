//! Where requests get through, a holder that the administrator took the Lease from learns of it at once, and puts its
//! duration right before others take it to have expired.

use std::time::Duration;

use tokio::time::Instant;

use super::Run;
use crate::history::State;
use crate::scenario::FaultProfile;
use crate::trace::HoldRecord;

/// A watch that was just opened, after the pause between two of them.
const AT_ONCE: Duration = Duration::from_millis(200);

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if run.scenario.profile != FaultProfile::LeaseEdits {
        return Vec::new();
    }
    let late = run.states.windows(2).filter_map(|pair| learns_late(run, &pair[0], &pair[1]));
    // Who may not watch has to wait for the answer to a renewal.
    let late = late.filter(|(hold, _)| hold.node.as_ref().is_none_or(|node| !node.config.watch_forbidden));
    let late = late.map(|(hold, at)| {
        format!("{} did not learn at once of what happened at {:.3} s", hold.identity, run.seconds(at))
    });
    late.chain(run.states.windows(2).filter_map(|pair| left_short(run, &pair[0], &pair[1]))).collect()
}

fn left_short(run: &Run<'_>, old: &State, new: &State) -> Option<String> {
    if old.holder() != new.holder() || !run.is_admin_edit(new) {
        return None;
    }
    let hold = run.trace.holds.iter().find(|hold| hold.identity == old.holder())?;
    let node = hold.node.as_ref().filter(|node| !node.config.watch_forbidden && !node.is_frozen())?;
    let promised = Some(node.config.lease_duration);
    if new.lease.as_ref()?.duration >= promised {
        return None;
    }
    let due = new.at + 2 * AT_ONCE;
    let over = hold.cancelled_at.is_some_and(|at| at <= due);
    let right = run.states.iter().any(|state| {
        let own = state.revision > new.revision && !run.is_admin_edit(state);
        own && state.at <= due && state.lease.as_ref().is_some_and(|record| record.duration >= promised)
    });
    (!over && !right)
        .then(|| format!("{} left the duration short at {:.3} s", node.name, run.seconds(new.at)))
}

/// The hold that ended with the administrator's `new` state, and when, if its owner did not learn of it at once.
pub(super) fn learns_late<'a>(
    run: &'a Run<'_>,
    old: &State,
    new: &State,
) -> Option<(&'a HoldRecord, Instant)> {
    if old.holder() == new.holder() || !run.is_admin_edit(new) {
        return None;
    }
    let hold = run.trace.holds.iter().find(|hold| hold.identity == old.holder())?;
    let unaware =
        !hold.node.as_ref()?.is_frozen() && hold.cancelled_at.is_none_or(|at| at > new.at + AT_ONCE);
    unaware.then_some((hold, new.at))
}

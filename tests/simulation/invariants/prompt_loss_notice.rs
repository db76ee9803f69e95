//! If requests succeed, a holder learns at once that the administrator took the Lease from it, from the first second of its
//! hold on. It also corrects an edited duration before contenders take the Lease for expired.

use std::time::Duration;

use tokio::time::Instant;

use super::Run;
use crate::history::State;
use crate::scenario::FaultProfile;
use crate::trace::HoldRecord;

/// The longest that the pause between two watches and a new watch take.
const MAX_REACTION_TIME: Duration = Duration::from_millis(200);
/// For how long after its claim a hold may have no watch, by the slowest clock.
const MAX_UNWATCHED_TIME: Duration = Duration::from_millis(1_011);

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if run.scenario.profile != FaultProfile::LeaseEdits {
        return Vec::new();
    }
    let late = run.states.windows(2).filter_map(|pair| learns_late(run, &pair[0], &pair[1]));
    // A node without a watch learns of it from the answer to a renewal.
    let late = late.filter(|(hold, _)| hold.node.as_ref().is_none_or(|node| !node.config.watch_forbidden));
    let late = late.map(|(hold, at)| {
        format!("{} did not notice at once the edit at {:.3} s", hold.identity, run.seconds(at))
    });
    late.chain(run.states.windows(2).filter_map(|pair| short_duration(run, &pair[0], &pair[1]))).collect()
}

fn short_duration(run: &Run<'_>, old: &State, new: &State) -> Option<String> {
    if old.holder() != new.holder() || !run.is_admin_edit(new) {
        return None;
    }
    let hold = run.trace.holds.iter().find(|hold| hold.identity == old.holder())?;
    let node = hold.node.as_ref().filter(|node| !node.config.watch_forbidden && !node.is_frozen())?;
    let promised = Some(node.config.lease_duration);
    if new.lease.as_ref()?.duration >= promised {
        return None;
    }
    let due = watched_from(run, hold, new.at) + 2 * MAX_REACTION_TIME;
    let over = hold.cancelled_at.is_some_and(|at| at <= due);
    let corrected = run.states.iter().any(|state| {
        let own = state.revision > new.revision && !run.is_admin_edit(state);
        own && state.at <= due && state.lease.as_ref().is_some_and(|record| record.duration >= promised)
    });
    (!over && !corrected).then(|| {
        format!("{} did not correct the short duration written at {:.3} s", node.name, run.seconds(new.at))
    })
}

/// The hold that the administrator's state `new` ended, and when, if its owner did not learn of it at once.
pub(super) fn learns_late<'a>(
    run: &'a Run<'_>,
    old: &State,
    new: &State,
) -> Option<(&'a HoldRecord, Instant)> {
    if old.holder() == new.holder() || !run.is_admin_edit(new) {
        return None;
    }
    let hold = run.trace.holds.iter().find(|hold| hold.identity == old.holder())?;
    let due = watched_from(run, hold, new.at) + MAX_REACTION_TIME;
    let unaware = !hold.node.as_ref()?.is_frozen() && hold.cancelled_at.is_none_or(|at| at > due);
    unaware.then_some((hold, new.at))
}

/// The first instant from `at` on at which the hold has a watch.
fn watched_from(run: &Run<'_>, hold: &HoldRecord, at: Instant) -> Instant {
    let claimed = run.writes_of(hold).next().map(|claim| claim.at);
    claimed.map_or(at, |claimed| at.max(claimed + MAX_UNWATCHED_TIME))
}

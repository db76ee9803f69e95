//! Where requests get through, a holder that the administrator took the Lease from learns of it at once, and puts its
//! duration right before others take it to have expired.

use std::time::Duration;

use tokio::time::Instant;

use super::Case;
use crate::history::State;
use crate::plan::Weather;
use crate::story::HoldTrace;

/// A watch that was just opened, after the pause between two of them.
const AT_ONCE: Duration = Duration::from_millis(200);

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    if case.plan.weather != Weather::Meddled {
        return Vec::new();
    }
    let late = case.states.windows(2).filter_map(|pair| learns_late(case, &pair[0], &pair[1]));
    // Who may not watch has to wait for the answer to a renewal.
    let late = late.filter(|(hold, _)| hold.node.as_ref().is_none_or(|node| !node.plan.blind));
    let late = late.map(|(hold, at)| {
        format!("{} did not learn at once of what happened at {:.3} s", hold.identity, case.seconds(at))
    });
    late.chain(case.states.windows(2).filter_map(|pair| left_short(case, &pair[0], &pair[1]))).collect()
}

fn left_short(case: &Case<'_>, old: &State, new: &State) -> Option<String> {
    if old.holder() != new.holder() || !case.is_the_administrators(new) {
        return None;
    }
    let hold = case.told.holds.iter().find(|hold| hold.identity == old.holder())?;
    let node = hold.node.as_ref().filter(|node| !node.plan.blind && !node.stands_still())?;
    let promised = Some(node.plan.lease_duration);
    if new.lease.as_ref()?.duration >= promised {
        return None;
    }
    let due = new.at + 2 * AT_ONCE;
    let over = hold.fired.is_some_and(|at| at <= due);
    let right = case.states.iter().any(|state| {
        let own = state.revision > new.revision && !case.is_the_administrators(state);
        own && state.at <= due && state.lease.as_ref().is_some_and(|record| record.duration >= promised)
    });
    (!over && !right)
        .then(|| format!("{} left the duration short at {:.3} s", node.name, case.seconds(new.at)))
}

/// The hold that ended with the administrator's `new` state, and when, if its owner did not learn of it at once.
pub(super) fn learns_late<'a>(
    case: &'a Case<'_>,
    old: &State,
    new: &State,
) -> Option<(&'a HoldTrace, Instant)> {
    if old.holder() == new.holder() || !case.is_the_administrators(new) {
        return None;
    }
    let hold = case.told.holds.iter().find(|hold| hold.identity == old.holder())?;
    let unaware = !hold.node.as_ref()?.stands_still() && hold.fired.is_none_or(|at| at > new.at + AT_ONCE);
    unaware.then_some((hold, new.at))
}

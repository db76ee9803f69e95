//! Where requests get through, a holder that the administrator took the Lease from learns of it at once.

use std::time::Duration;

use super::Case;
use crate::history::State;
use crate::plan::Weather;

/// A watch that was just opened, after the pause between two of them.
const AT_ONCE: Duration = Duration::from_millis(200);

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    if case.plan.weather != Weather::Meddled {
        return Vec::new();
    }
    case.states.windows(2).filter_map(|pair| slow(case, &pair[0], &pair[1])).collect()
}

fn slow(case: &Case<'_>, old: &State, new: &State) -> Option<String> {
    if old.holder() == new.holder() || !case.is_the_administrators(new) {
        return None;
    }
    let hold = case.told.holds.iter().find(|hold| hold.identity == old.holder())?;
    let unaware = !hold.node.as_ref()?.stands_still() && hold.fired.is_none_or(|at| at > new.at + AT_ONCE);
    let at = case.seconds(new.at);
    unaware.then(|| format!("{} did not learn at once of what happened at {at:.3} s", hold.identity))
}

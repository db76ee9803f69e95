//! Where nothing goes wrong but that watches fall silent, a waiter is late by one time that a silent watch is
//! believed, and the holder by one renewal; after that a new watch is open, and nobody is late any more.

use std::time::Duration;

use super::Case;
use super::prompt::learns_late;
use crate::history::State;
use crate::plan::Weather;
use crate::story::Wait;

/// How long a watch that tells nothing is believed, at the slowest of clocks, and a request.
const SILENCE: Duration = Duration::from_millis(30_500);
/// Some collisions included. Sooner than anybody polls.
const AT_ONCE: Duration = Duration::from_secs(1);

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    if case.plan.weather != Weather::Deaf {
        return Vec::new();
    }
    let pairs = || case.states.windows(2);
    let waiters = pairs().filter_map(|pair| late(case, &pair[0], &pair[1]));
    let holders = pairs().filter_map(|pair| {
        let (hold, at) = learns_late(case, &pair[0], &pair[1])?;
        let node = hold.node.as_ref()?;
        let reopened = 2 * node.plan.renew_interval.mul_f64(1.01) + AT_ONCE;
        let began = case.written_by(hold).next().map(|claim| claim.at);
        // A watch that fell silent before is doubted soon after the claim.
        let deaf = node.last_mute(at).is_some_and(|mute| at < mute + reopened)
            || began.is_some_and(|began| at < began + 2 * AT_ONCE);
        (!deaf).then(|| format!("{} never learned what happened at {:.3} s", hold.identity, case.seconds(at)))
    });
    let unasked = case.told.waits.iter().filter_map(|wait| believes_too_long(case, wait));
    waiters.chain(holders).chain(unasked).collect()
}

/// Whether a waiter that nothing is told any more does not ask by itself, where it is the only one on its node.
fn believes_too_long(case: &Case<'_>, wait: &Wait) -> Option<String> {
    let (node, to) = (&wait.by, wait.to?);
    let settled = wait.from + AT_ONCE;
    let mute = node.mutes().into_iter().find(|mute| settled < *mute && *mute + SILENCE < to)?;
    let alone = node.plan.tasks == 1 && !node.has_stood_still();
    let asked = node
        .link
        .requests()
        .iter()
        .any(|request| mute < request.received && request.received <= mute + SILENCE);
    (alone && !asked)
        .then(|| format!("{} believed a watch silent from {:.3} s", node.name, case.seconds(mute)))
}

fn late(case: &Case<'_>, old: &State, new: &State) -> Option<String> {
    if !old.holder().is_empty() || new.holder().is_empty() || case.is_the_administrators(old) {
        return None;
    }
    let held = case.states.iter().rfind(|state| state.revision < old.revision)?;
    let mut waits = case.told.waits.iter();
    let patient = |wait: &&Wait| {
        let began = wait.from + AT_ONCE < held.at;
        let due = old.at + patience(case, wait, old);
        began && new.at > due && wait.to.is_some_and(|to| to > due)
    };
    let wait = waits.find(patient)?;
    let (free, taken) = (case.seconds(old.at), case.seconds(new.at));
    Some(format!("{} waited on for a Lease free at {free:.3} s, taken at {taken:.3} s", wait.by.name))
}

/// How late a node may be to notice that the Lease was freed in `state`.
///
/// What the watch does not tell shows that it is silent, when a look that it was doubted for finds it. The first
/// such change may be found by another look, after a claim made in vain. A wait may begin with a watch that has been
/// silent since the last one.
fn patience(case: &Case<'_>, wait: &Wait, state: &State) -> Duration {
    let Some(mute) = wait.by.last_mute(state.at) else {
        return AT_ONCE;
    };
    let deaf_from = mute.max(wait.from);
    let telling = case.states.iter().filter(|state| state.at > deaf_from).nth(1);
    let doubted = telling.is_some_and(|change| change.at + SILENCE < state.at);
    if doubted { AT_ONCE } else { SILENCE }
}

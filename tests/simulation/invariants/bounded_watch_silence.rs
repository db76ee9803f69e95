//! If nothing goes wrong but that watches fall silent, a waiter is late at most by the time for which a silent watch is
//! believed. A holder is late at most by one renewal. After that a new watch is open, and no process is late any more.

use std::time::Duration;

use super::Run;
use super::prompt_loss_notice::learns_late;
use crate::history::State;
use crate::scenario::FaultProfile;
use crate::trace::Wait;

/// The longest that a silent watch is believed, by the slowest clock, and one request.
const MAX_SILENCE: Duration = Duration::from_millis(30_500);
/// Includes some collisions, and is shorter than any poll interval.
const MAX_REACTION_TIME: Duration = Duration::from_secs(1);

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if run.scenario.profile != FaultProfile::SilentWatches {
        return Vec::new();
    }
    let pairs = || run.states.windows(2);
    let waiters = pairs().filter_map(|pair| late_takeover(run, &pair[0], &pair[1]));
    let holders = pairs().filter_map(|pair| {
        let (hold, at) = learns_late(run, &pair[0], &pair[1])?;
        let node = hold.node.as_ref()?;
        let reopened = 2 * node.config.renew_interval.mul_f64(1.01) + MAX_REACTION_TIME;
        let began = run.writes_of(hold).next().map(|claim| claim.at);
        // A holder whose watch was silent before its claim reads soon after the claim.
        let silent = node.last_watch_silence(at).is_some_and(|silenced| at < silenced + reopened)
            || began.is_some_and(|began| at < began + 2 * MAX_REACTION_TIME);
        (!silent)
            .then(|| format!("{} did not notice in time the edit at {:.3} s", hold.identity, run.seconds(at)))
    });
    let silent_waits = run.trace.waits.iter().filter_map(|wait| believes_silence_too_long(run, wait));
    waiters.chain(holders).chain(silent_waits).collect()
}

/// Finds a waiter that hears nothing from its watch and does not read. Only if it is the one waiter on its node.
fn believes_silence_too_long(run: &Run<'_>, wait: &Wait) -> Option<String> {
    let (node, to) = (&wait.by, wait.to?);
    let settled = wait.from + MAX_REACTION_TIME;
    let silenced = node
        .watch_silences()
        .into_iter()
        .find(|silenced| settled < *silenced && *silenced + MAX_SILENCE < to)?;
    let alone = node.config.tasks == 1 && !node.was_frozen();
    let asked = run
        .log(node)
        .iter()
        .any(|request| silenced < request.received && request.received <= silenced + MAX_SILENCE);
    (alone && !asked)
        .then(|| format!("{} believed a watch silent from {:.3} s", node.name, run.seconds(silenced)))
}

fn late_takeover(run: &Run<'_>, old: &State, new: &State) -> Option<String> {
    if !old.holder().is_empty() || new.holder().is_empty() || run.is_admin_edit(old) {
        return None;
    }
    let held = run.states.iter().rfind(|state| state.revision < old.revision)?;
    let mut waits = run.trace.waits.iter();
    let waits_on = |wait: &&Wait| {
        let began = wait.from + MAX_REACTION_TIME < held.at;
        let due = old.at + max_delay(run, wait, old);
        began && new.at > due && wait.to.is_some_and(|to| to > due)
    };
    let wait = waits.find(waits_on)?;
    let (free, taken) = (run.seconds(old.at), run.seconds(new.at));
    Some(format!("{} waited on for a Lease free at {free:.3} s, taken at {taken:.3} s", wait.by.name))
}

/// How late a node may notice that the Lease became free in `state`.
///
/// A read finds a change that the watch did not report, and shows that the watch is silent. Another read, after a
/// failed claim, may find the first such change. A wait may begin with a watch that has been silent since the wait
/// before.
fn max_delay(run: &Run<'_>, wait: &Wait, state: &State) -> Duration {
    let Some(silenced) = wait.by.last_watch_silence(state.at) else {
        return MAX_REACTION_TIME;
    };
    let silent_from = silenced.max(wait.from);
    let changes = run.states.iter().filter(|state| state.at > silent_from).nth(1);
    let doubted = changes.is_some_and(|change| change.at + MAX_SILENCE < state.at);
    if doubted { MAX_REACTION_TIME } else { MAX_SILENCE }
}

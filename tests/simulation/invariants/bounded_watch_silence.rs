//! Where nothing goes wrong but that watches fall silent, a waiter is late by one time that a silent watch is
//! believed, and the holder by one renewal; after that a new watch is open, and nobody is late any more.

use std::time::Duration;

use super::Run;
use super::prompt_loss_notice::learns_late;
use crate::history::State;
use crate::scenario::FaultProfile;
use crate::trace::Wait;

/// How long a watch that tells nothing is believed, at the slowest of clocks, and a request.
const SILENCE: Duration = Duration::from_millis(30_500);
/// Some collisions included. Sooner than anybody polls.
const AT_ONCE: Duration = Duration::from_secs(1);

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if run.scenario.profile != FaultProfile::SilentWatches {
        return Vec::new();
    }
    let pairs = || run.states.windows(2);
    let waiters = pairs().filter_map(|pair| late(run, &pair[0], &pair[1]));
    let holders = pairs().filter_map(|pair| {
        let (hold, at) = learns_late(run, &pair[0], &pair[1])?;
        let node = hold.node.as_ref()?;
        let reopened = 2 * node.config.renew_interval.mul_f64(1.01) + AT_ONCE;
        let began = run.writes_of(hold).next().map(|claim| claim.at);
        // A watch that fell silent before is doubted soon after the claim.
        let silent = node.last_watch_silence(at).is_some_and(|mute| at < mute + reopened)
            || began.is_some_and(|began| at < began + 2 * AT_ONCE);
        (!silent)
            .then(|| format!("{} never learned what happened at {:.3} s", hold.identity, run.seconds(at)))
    });
    let unasked = run.trace.waits.iter().filter_map(|wait| believes_too_long(run, wait));
    waiters.chain(holders).chain(unasked).collect()
}

/// Whether a waiter that nothing is told any more does not ask by itself, where it is the only one on its node.
fn believes_too_long(run: &Run<'_>, wait: &Wait) -> Option<String> {
    let (node, to) = (&wait.by, wait.to?);
    let settled = wait.from + AT_ONCE;
    let mute = node.watch_silences().into_iter().find(|mute| settled < *mute && *mute + SILENCE < to)?;
    let alone = node.config.tasks == 1 && !node.was_frozen();
    let asked = node
        .link
        .requests()
        .iter()
        .any(|request| mute < request.received && request.received <= mute + SILENCE);
    (alone && !asked)
        .then(|| format!("{} believed a watch silent from {:.3} s", node.name, run.seconds(mute)))
}

fn late(run: &Run<'_>, old: &State, new: &State) -> Option<String> {
    if !old.holder().is_empty() || new.holder().is_empty() || run.is_admin_edit(old) {
        return None;
    }
    let held = run.states.iter().rfind(|state| state.revision < old.revision)?;
    let mut waits = run.trace.waits.iter();
    let patient = |wait: &&Wait| {
        let began = wait.from + AT_ONCE < held.at;
        let due = old.at + patience(run, wait, old);
        began && new.at > due && wait.to.is_some_and(|to| to > due)
    };
    let wait = waits.find(patient)?;
    let (free, taken) = (run.seconds(old.at), run.seconds(new.at));
    Some(format!("{} waited on for a Lease free at {free:.3} s, taken at {taken:.3} s", wait.by.name))
}

/// How late a node may be to notice that the Lease was freed in `state`.
///
/// What the watch does not tell shows that it is silent, when a look that it was doubted for finds it. The first
/// such change may be found by another look, after a claim made in vain. A wait may begin with a watch that has been
/// silent since the last one.
fn patience(run: &Run<'_>, wait: &Wait, state: &State) -> Duration {
    let Some(mute) = wait.by.last_watch_silence(state.at) else {
        return AT_ONCE;
    };
    let silent_from = mute.max(wait.from);
    let telling = run.states.iter().filter(|state| state.at > silent_from).nth(1);
    let doubted = telling.is_some_and(|change| change.at + SILENCE < state.at);
    if doubted { AT_ONCE } else { SILENCE }
}

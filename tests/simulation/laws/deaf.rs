//! Where nothing goes wrong but that watches fall silent, a waiter is late by one time that a silent watch is
//! believed, and the holder by one renewal; after that a new watch is open, and nobody is late any more.

use std::time::Duration;

use super::Case;
use super::prompt::learns_late;
use crate::history::State;
use crate::node::Node;
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
        let deaf = node.last_mute(at).is_some_and(|mute| at < mute + reopened);
        (!deaf).then(|| format!("{} never learned what happened at {:.3} s", hold.identity, case.seconds(at)))
    });
    waiters.chain(holders).collect()
}

fn late(case: &Case<'_>, old: &State, new: &State) -> Option<String> {
    if !old.holder().is_empty() || new.holder().is_empty() || case.is_the_administrators(old) {
        return None;
    }
    let held = case.states.iter().rfind(|state| state.revision < old.revision)?;
    let promised = held.lease.as_ref()?.duration?;
    let mut waits = case.told.waits.iter();
    let patient = |wait: &&Wait| {
        let began = wait.from + AT_ONCE < held.at;
        let due = old.at + patience(case, &wait.by, old, promised);
        began && new.at > due && wait.to.is_some_and(|to| to > due)
    };
    let wait = waits.find(patient)?;
    let (free, taken) = (case.seconds(old.at), case.seconds(new.at));
    Some(format!("{} waited on for a Lease free at {free:.3} s, taken at {taken:.3} s", wait.by.name))
}

/// How late a node may be to notice that the Lease was freed in `state`.
fn patience(case: &Case<'_>, node: &Node, state: &State, promised: Duration) -> Duration {
    // As long as nothing changes, a silent watch looks like any other: an intruder does not renew.
    let longest = case.plan.nodes.iter().map(|node| node.lease_duration).max().unwrap_or_default();
    let reopened = SILENCE.min(promised) + longest + SILENCE;
    match node.last_mute(state.at) {
        Some(mute) if state.at < mute + reopened => SILENCE,
        _ => AT_ONCE,
    }
}

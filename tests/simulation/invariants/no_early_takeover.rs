//! No process overwrites the hold of another process before it has expired.

use std::sync::Arc;
use std::time::Duration;

use kube_lease_lock::testing::Verb;

use super::Run;
use super::sent_write::SentWrite;
use crate::history::State;

const GRANULARITY: Duration = Duration::from_millis(2);

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    let pairs = run.states.windows(2).map(|pair| (&pair[0], &pair[1]));
    let ours = pairs.filter(|(_, new)| !run.is_admin_edit(new));
    let violations = ours.filter_map(|(old, new)| {
        let sent = run.request_for(new)?;
        let waited = (new.at - run.unchanged_since(old)).mul_f64(sent.by.config.rate) + GRANULARITY;
        early_write(run, old, new, sent, waited)
    });
    violations.collect()
}

fn early_write(
    run: &Run<'_>,
    old: &State,
    new: &State,
    sent: &SentWrite,
    waited: Duration,
) -> Option<String> {
    let Some(before) = &old.lease else {
        let recreated = sent.verb != Verb::Update;
        return recreated.then(|| format!("{} was created by an apply", new.revision));
    };
    // If the record does not say how long, each contender waits for its own lease duration.
    let promised = before.duration.unwrap_or(sent.by.config.lease_duration);
    let expired = before.holder.is_empty() || waited >= promised || run.scenario.max_clock_skew.is_some();
    // A process withdraws a claim without an answer by clearing the holder.
    let own = match new.holder() {
        "" => run.has_claimed(&sent.by, &before.holder),
        holder => before.holder == holder || handed_off(run, &before.holder, sent),
    };
    (!own && !expired).then(|| {
        let SentWrite { by, .. } = sent;
        format!("{}: {} overwrote the hold of {} after {waited:?}", new.revision, by.name, before.holder)
    })
}

/// Whether `holder` is a hold of the same node that had ended when this was sent, or a claim of it that never became a hold.
fn handed_off(run: &Run<'_>, holder: &str, sent: &SentWrite) -> bool {
    let hold = run.trace.holds.iter().find(|hold| hold.identity == holder);
    if hold.is_none() && run.has_claimed(&sent.by, holder) {
        return true;
    }
    let own = hold.filter(|hold| hold.node.as_ref().is_some_and(|node| Arc::ptr_eq(node, &sent.by)));
    own.is_some_and(|hold| hold.cancelled_at.is_some_and(|over| over <= sent.at))
}

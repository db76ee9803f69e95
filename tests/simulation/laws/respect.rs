//! Nobody writes over what is somebody else's before it has expired.

use std::sync::Arc;
use std::time::Duration;

use kube_lease_lock::testing::Verb;

use super::{Case, Sent};
use crate::history::State;

const GRANULARITY: Duration = Duration::from_millis(2);

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    let pairs = case.states.windows(2).map(|pair| (&pair[0], &pair[1]));
    let ours = pairs.filter(|(_, new)| !case.is_the_administrators(new));
    let broken = ours.filter_map(|(old, new)| {
        let sent = case.request_of(new)?;
        let waited = (new.at - case.known_since(old)).mul_f64(sent.by.plan.rate) + GRANULARITY;
        fault(case, old, new, sent, waited)
    });
    broken.collect()
}

fn fault(case: &Case<'_>, old: &State, new: &State, sent: &Sent, waited: Duration) -> Option<String> {
    let Some(before) = &old.lease else {
        let recreated = sent.verb != Verb::Update;
        return recreated.then(|| format!("{} was created by an apply", new.revision));
    };
    // Where a holder does not say how long, everybody goes by his own duration.
    let promised = before.duration.unwrap_or(sent.by.plan.lease_duration);
    let expired = before.holder.is_empty() || waited >= promised || case.plan.skew.is_some();
    // An unanswered claim on what has expired is taken back by freeing it.
    let own = match new.holder() {
        "" => case.has_claimed(&sent.by, &before.holder),
        holder => before.holder == holder || handed_on(case, &before.holder, sent),
    };
    (!own && !expired).then(|| {
        let Sent { by, .. } = sent;
        format!("{}: {} wrote over what is {}'s after {waited:?}", new.revision, by.name, before.holder)
    })
}

/// A hold of the same node that was over when this was sent.
fn handed_on(case: &Case<'_>, holder: &str, sent: &Sent) -> bool {
    let hold = case.told.holds.iter().find(|hold| hold.identity == holder);
    let own = hold.filter(|hold| hold.node.as_ref().is_some_and(|node| Arc::ptr_eq(node, &sent.by)));
    own.is_some_and(|hold| hold.fired.is_some_and(|over| over <= sent.at))
}

//! Nobody writes over what is somebody else's before it has expired.

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
        holder => before.holder == holder,
    };
    (!own && !expired).then(|| {
        let Sent { by, .. } = sent;
        format!("{}: {} wrote over what is {}'s after {waited:?}", new.revision, by.name, before.holder)
    })
}

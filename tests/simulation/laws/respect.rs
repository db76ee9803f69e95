//! Nobody writes over what is somebody else's before it has expired.

use std::time::Duration;

use kube_lease_lock::testing::Verb;

use super::{Case, Sent};
use crate::history::State;

const GRANULARITY: Duration = Duration::from_millis(2);

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    // When the record became what it was before the state in question.
    let mut since = case.states.first().map(|state| state.at);
    for pair in case.states.windows(2) {
        let (old, new) = (&pair[0], &pair[1]);
        if let (Some(since), Some(sent)) = (since, case.request_of(new))
            && !case.is_the_administrators(new)
        {
            let waited = (new.at - since).mul_f64(sent.by.plan.rate) + GRANULARITY;
            broken.extend(fault(case, old, new, sent, waited));
        }
        if old.lease != new.lease {
            since = Some(new.at);
        }
    }
    broken
}

fn fault(case: &Case<'_>, old: &State, new: &State, sent: &Sent, waited: Duration) -> Option<String> {
    let Some(before) = &old.lease else {
        let recreated = sent.verb != Verb::Update;
        return recreated.then(|| format!("{} was created by an apply", new.revision));
    };
    let own = before.holder.starts_with(&format!("{}_", sent.by.name));
    if new.holder().is_empty() {
        let cleared = !own && !before.holder.is_empty();
        return cleared.then(|| format!("{}: {} cleared {}", new.revision, sent.by.name, before.holder));
    }
    let expired = before.holder.is_empty() || waited >= before.duration || case.plan.skew.is_some();
    let taken = before.holder != new.holder() && !expired;
    taken.then(|| {
        format!("{}: {} took over from {} after {waited:?}", new.revision, new.holder(), before.holder)
    })
}

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

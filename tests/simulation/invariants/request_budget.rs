//! Colliding waiters spread out: of five claims, two are granted.

use kube_lease_lock::testing::Verb;

use super::Run;
use crate::history::State;
use crate::scenario::FaultProfile;

/// How many claims may be refused before the waiters have spread out.
const MAX_REFUSED: usize = 16;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if run.scenario.profile != FaultProfile::CrashesOnly
        || run.scenario.client_go > 0
        || run.scenario.max_label_interval_ms.is_some()
    {
        return Vec::new();
    }
    let all = run.logs.iter().flatten();
    let claims = all.filter(|request| {
        [Verb::Apply, Verb::Update].contains(&request.verb) && request.body["spec"]["holderIdentity"] != ""
    });
    let refused = claims.filter(|claim| matches!(claim.status, Some(409 | 422))).count();
    let taken_over = |pair: &&[State]| pair[0].holder() != pair[1].holder() && !pair[1].holder().is_empty();
    let granted = run.states.windows(2).filter(taken_over).count();
    let wasteful = refused > granted * 3 / 2 + MAX_REFUSED;
    wasteful.then(|| format!("{refused} claims were refused, and {granted} granted")).into_iter().collect()
}

//! Waiters that collide spread out: of five claims, two are granted.

use kube_lease_lock::testing::Verb;

use super::Case;
use crate::history::State;
use crate::plan::Weather;

/// Until they have spread out.
const COLLISIONS: usize = 16;

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    if case.plan.weather != Weather::Calm || case.plan.client_go > 0 || case.plan.labelled.is_some() {
        return Vec::new();
    }
    let all = case.nodes.iter().flat_map(|node| node.link.requests());
    let claims = all.filter(|request| {
        [Verb::Apply, Verb::Update].contains(&request.verb) && request.body["spec"]["holderIdentity"] != ""
    });
    let refused = claims.filter(|claim| matches!(claim.status, Some(409 | 422))).count();
    let taken_over = |pair: &&[State]| pair[0].holder() != pair[1].holder() && !pair[1].holder().is_empty();
    let granted = case.states.windows(2).filter(taken_over).count();
    let wasteful = refused > granted * 3 / 2 + COLLISIONS;
    wasteful.then(|| format!("{refused} claims were refused, and {granted} granted")).into_iter().collect()
}

//! Under steady contention the nodes send at most three claims per hold on average, however slow the server and however
//! many the nodes.

use kube_lease_lock::testing::{Request, Verb};

use super::Run;
use crate::scenario::FaultProfile;

const MAX_CLAIMS_PER_HOLD: usize = 3;
/// The claims that collide at the start, when no node is in the queue yet.
const MAX_COLLISIONS: usize = 16;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if run.scenario.profile != FaultProfile::Contention {
        return Vec::new();
    }
    // No hold lasts until its first renewal.
    let is_claim = |request: &Request| {
        let holder = request.body["spec"]["holderIdentity"].as_str();
        matches!(request.verb, Verb::Apply | Verb::Update) && holder.is_some_and(|holder| !holder.is_empty())
    };
    let claims = run.logs.iter().flatten().filter(|request| is_claim(request)).count();
    let (holds, collisions) = (run.trace.holds.len(), run.nodes.len() + MAX_COLLISIONS);
    (claims > MAX_CLAIMS_PER_HOLD * holds + collisions)
        .then(|| format!("{claims} claims for {holds} holds of {} nodes", run.nodes.len()))
        .into_iter()
        .collect()
}

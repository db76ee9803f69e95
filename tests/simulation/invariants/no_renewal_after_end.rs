//! After the end of a hold its owner sends no further renewal. After a confirmed release the hold never comes back.

use super::Run;
use crate::history::State;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for hold in &run.trace.holds {
        if let Some(released) = hold.released_at
            && let Some(state) = run.writes_of(hold).find(|state| state.at > released && !is_created(state))
        {
            violations.push(format!("{} holds again in {} after its release", hold.identity, state.revision));
        }
        let (Some(cancelled_at), Some(_)) = (hold.cancelled_at, &hold.node) else {
            continue;
        };
        let renewals = run.claims.get(hold.identity.as_str()).into_iter().flatten();
        if let Some(late) = renewals.map(|(at, _)| *at).filter(|at| *at > cancelled_at).min() {
            let at = run.seconds(late);
            violations.push(format!("{} sent a renewal at {at:.3} s, after its end", hold.identity));
        }
    }
    violations
}

/// After a deletion the server may still make a creation that was given up. It does not become a hold.
fn is_created(state: &State) -> bool {
    state.replaced.is_none()
}

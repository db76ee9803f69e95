//! Once over, a hold is over: its owner sends no further renewal, and after a confirmed release it never
//! comes back.

use super::Case;
use crate::history::State;

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    for hold in &case.told.holds {
        if let Some(released) = hold.released
            && let Some(state) = case.written_by(hold).find(|state| state.at > released && !is_created(state))
        {
            broken.push(format!("{} holds again in {} after its release", hold.identity, state.revision));
        }
        let (Some(fired), Some(_)) = (hold.fired, &hold.node) else {
            continue;
        };
        let renewals = case.requests.iter().filter(|((holder, ..), _)| *holder == hold.identity);
        if let Some(late) = renewals.map(|(_, sent)| sent.at).filter(|at| *at > fired).min() {
            let at = case.seconds(late);
            broken.push(format!("{} sent a renewal at {at:.3} s, after its end", hold.identity));
        }
    }
    broken
}

/// A creation that was given up may be made after all when the object has been deleted. No hold comes of it.
fn is_created(state: &State) -> bool {
    state.replaced.is_none()
}

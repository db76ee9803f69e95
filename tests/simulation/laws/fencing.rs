//! Fencing tokens rise, and each is a revision in which its owner is the holder.
//!
//! Holds that were over when they were granted may be late.

use super::Case;
use crate::story::HoldTrace;

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    let holds: Vec<&HoldTrace> = case.told.holds.iter().collect();
    let foreign = holds.iter().filter(|hold| hold.node.is_some()).filter_map(|hold| {
        let mut own = case.states.iter().filter(|state| state.holder() == hold.identity);
        let known = own.any(|state| state.revision == hold.fencing_token);
        (!known).then(|| format!("{} fences with {}, not its own", hold.identity, hold.fencing_token))
    });
    let live: Vec<_> = holds.iter().filter(|hold| hold.live_at_first).collect();
    let falling = live.windows(2).filter_map(|pair| {
        let (old, new) = (pair[0], pair[1]);
        let rises = old.fencing_token < new.fencing_token;
        let excused = case.weakened(new.fencing_token, old.fencing_token);
        (!rises && !excused).then(|| {
            format!("{} fences with {} after {}", new.identity, new.fencing_token, old.fencing_token)
        })
    });
    foreign.chain(falling).collect()
}

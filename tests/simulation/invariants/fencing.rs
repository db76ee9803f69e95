//! Fencing tokens rise, and each is a revision in which its owner is the holder.
//!
//! A hold that was over when it was granted may have an older token.

use super::Run;
use crate::trace::HoldRecord;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    let holds: Vec<&HoldRecord> = run.trace.holds.iter().collect();
    let foreign = holds.iter().filter(|hold| hold.node.is_some()).filter_map(|hold| {
        let mut own = run.states.iter().filter(|state| state.holder() == hold.identity);
        let known = own.any(|state| state.revision == hold.fencing_token);
        (!known).then(|| format!("{} fences with {}, not its own", hold.identity, hold.fencing_token))
    });
    let live: Vec<_> = holds.iter().filter(|hold| hold.live_when_granted).collect();
    let falling = live.windows(2).filter_map(|pair| {
        let (old, new) = (pair[0], pair[1]);
        let rises = old.fencing_token < new.fencing_token;
        let excused = run.weakened_between(new.fencing_token, old.fencing_token);
        (!rises && !excused).then(|| {
            format!("{} fences with {} after {}", new.identity, new.fencing_token, old.fencing_token)
        })
    });
    foreign.chain(falling).collect()
}

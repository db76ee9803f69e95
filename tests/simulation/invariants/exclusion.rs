//! No two processes hold the lock at once.
//!
//! If the administrator gives the Lease to another process, both may believe to hold it until the first one learns of
//! it. It does so by its deadline, which is another invariant.

use super::Run;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    let unexcused = run.trace.overlaps.iter().filter_map(|(one, other, at)| {
        let (one, other) = (&run.trace.holds[*one], &run.trace.holds[*other]);
        // The answer to an older claim can be the later one.
        let in_order = one.fencing_token < other.fencing_token;
        let (old, new) = if in_order { (one, other) } else { (other, one) };
        let last = run.writes_of(old).rfind(|state| state.revision < new.fencing_token);
        let excused = last.is_some_and(|state| run.weakened_between(state.revision, new.fencing_token));
        let at = run.seconds(*at);
        (!excused).then(|| format!("{} and {} both hold at {at:.3} s", old.identity, new.identity))
    });
    unexcused.collect()
}

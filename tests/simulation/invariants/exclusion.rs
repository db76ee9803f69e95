//! No two hold at once.
//!
//! What the administrator takes away and gives to somebody else may be held by both, until the first one learns
//! of it; by his deadline at the latest, which is another law.

use super::Run;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    let unexcused = run.trace.overlaps.iter().filter_map(|(one, other, at)| {
        let (one, other) = (&run.trace.holds[*one], &run.trace.holds[*other]);
        // A claim may be the older one, and its answer the later one.
        let in_order = one.fencing_token < other.fencing_token;
        let (old, new) = if in_order { (one, other) } else { (other, one) };
        let last = run.writes_of(old).rfind(|state| state.revision < new.fencing_token);
        let excused = last.is_some_and(|state| run.weakened_between(state.revision, new.fencing_token));
        let at = run.seconds(*at);
        (!excused).then(|| format!("{} and {} both hold at {at:.3} s", old.identity, new.identity))
    });
    unexcused.collect()
}

//! No two hold at once.
//!
//! What the administrator takes away and gives to somebody else may be held by both, until the first one learns
//! of it; by his deadline at the latest, which is another law.

use super::Case;

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    let unexcused = case.told.overlaps.iter().filter_map(|(old, new, at)| {
        let (old, new) = (&case.told.holds[*old], &case.told.holds[*new]);
        let last = case.written_by(old).rfind(|state| state.revision < new.fencing_token);
        let excused = last.is_some_and(|state| case.weakened(state.revision, new.fencing_token));
        let at = case.seconds(*at);
        (!excused).then(|| format!("{} and {} both hold at {at:.3} s", old.identity, new.identity))
    });
    unexcused.collect()
}

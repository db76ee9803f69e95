//! What others wrote beside the record stays as it is.

use super::Case;

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    let pairs = case.states.windows(2).map(|pair| (&pair[0], &pair[1]));
    let ours = pairs.filter(|(old, new)| case.request_of(new).is_some() && same_object(old, new));
    let touched = ours.filter(|(old, new)| old.labels != new.labels && !case.is_the_administrators(new));
    touched.map(|(_, new)| format!("{} touched the labels", new.revision)).collect()
}

fn same_object(old: &crate::history::State, new: &crate::history::State) -> bool {
    let uid = |state: &crate::history::State| state.lease.as_ref().map(|lease| lease.uid.clone());
    old.lease.is_some() && uid(old) == uid(new)
}

//! What a node writes replaces the very state that it was decided on, or nothing.

use std::collections::HashSet;

use super::Case;

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    // Some of what client-go writes looks like the release of a node.
    if case.plan.client_go > 0 {
        return Vec::new();
    }
    let ours: HashSet<_> = case.requests.keys().map(|(holder, renewed, _)| (holder, renewed)).collect();
    let blind = case.written().filter(|state| {
        let sent =
            state.lease.as_ref().is_some_and(|record| ours.contains(&(&record.holder, &record.renewed)));
        sent && !case.is_the_administrators(state) && case.request_of(state).is_none()
    });
    blind.map(|state| format!("{} was written over what it was not decided on", state.revision)).collect()
}

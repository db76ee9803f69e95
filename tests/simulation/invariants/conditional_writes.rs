//! What a node writes replaces the very state that it was decided on, or nothing.

use std::collections::HashSet;

use super::Run;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    // Some of what client-go writes looks like the release of a node.
    if run.scenario.client_go > 0 {
        return Vec::new();
    }
    let ours: HashSet<_> = run.requests.keys().map(|(holder, renewed, _)| (holder, renewed)).collect();
    let unconditional = run.record_changes().filter(|state| {
        let sent =
            state.lease.as_ref().is_some_and(|record| ours.contains(&(&record.holder, &record.renewed)));
        sent && !run.is_admin_edit(state) && run.request_for(state).is_none()
    });
    unconditional
        .map(|state| format!("{} was written over what it was not decided on", state.revision))
        .collect()
}

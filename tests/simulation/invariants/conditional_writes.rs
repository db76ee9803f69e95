//! A write of a node replaces the state that it was based on, or nothing.

use std::collections::HashSet;

use super::Run;
use super::sent_write::WriteKey;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    // Some writes of client-go look like the release of a node.
    if run.scenario.client_go > 0 {
        return Vec::new();
    }
    let ours: HashSet<_> = run.requests.keys().map(WriteKey::writes).collect();
    let unconditional = run.record_changes().filter(|state| {
        let sent =
            state.lease.as_ref().is_some_and(|record| ours.contains(&(&record.holder, &record.renewed)));
        sent && !run.is_admin_edit(state) && run.request_for(state).is_none()
    });
    unconditional
        .map(|state| format!("{} replaced a state that it was not based on", state.revision))
        .collect()
}

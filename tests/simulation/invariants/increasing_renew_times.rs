//! Every write of a holder has a later second in `renewTime` than the write before, because others compare whole
//! seconds.

use std::collections::HashMap;

use super::Run;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    // For each object, because after a deletion the server may still make a creation that was given up.
    let mut last: HashMap<(&str, &str), i64> = HashMap::new();
    let mut violations = Vec::new();
    for state in run.states.iter().filter(|state| run.request_for(state).is_some()) {
        let Some(record) = state.lease.as_ref().filter(|record| !record.holder.is_empty()) else {
            continue;
        };
        // The administrator's state keeps the time of the write before.
        if run.is_admin_edit(state) {
            continue;
        }
        let second = record.second.unwrap_or_default();
        if let Some(earlier) = last.insert((&record.uid, &record.holder), second)
            && earlier >= second
        {
            violations.push(format!("{}: {} renewed no later than before", state.revision, record.holder));
        }
    }
    violations
}

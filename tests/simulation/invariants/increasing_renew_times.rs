//! Every write of a holder falls into a second of its own, later than those before: others compare whole seconds.

use std::collections::HashMap;

use super::Run;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    // In each object: a creation that was given up may be made after all when the object has been deleted.
    let mut last: HashMap<(&str, &str), i64> = HashMap::new();
    let mut violations = Vec::new();
    for state in run.states.iter().filter(|state| run.request_for(state).is_some()) {
        let Some(record) = state.lease.as_ref().filter(|record| !record.holder.is_empty()) else {
            continue;
        };
        // What was edited and edited back was not written again.
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

//! As long as the Lease exists, no later holder runs work again that a call has reported as done. Work is reported as done only
//! if it came to its end.

use super::Run;
use crate::trace::WorkRun;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    let runs = &run.trace.runs;
    let repeats = |done: &&WorkRun, later: &&WorkRun| {
        let same = done.key == later.key && done.lease_uid == later.lease_uid;
        same && done.confirmed && done.fencing_token < later.fencing_token
    };
    let pairs = runs.iter().flat_map(|done| runs.iter().map(move |later| (done, later)));
    let repeated = pairs.filter(|(done, later)| repeats(done, later)).map(|(done, later)| {
        format!("{} repeats the work of {}, which {} has done", later.by, done.key, done.by)
    });
    let invented = run
        .trace
        .already_done
        .iter()
        .filter(|(key, by)| !runs.iter().any(|done| done.ended && done.key == *key && done.by == *by));
    let invented = invented.map(|(key, by)| format!("{by} is said to have done the work of {key}"));
    repeated.chain(invented).collect()
}

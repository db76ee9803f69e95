//! If nothing goes wrong but crashes and single requests, no claim of a dropped acquisition stays in the Lease.

use std::time::Duration;

use super::Run;
use crate::history::State;
use crate::scenario::FaultProfile;

/// The longest that a withdrawal takes if no request fails.
const MAX_WITHDRAWAL_TIME: Duration = Duration::from_millis(500);

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if !run.scenario.profile.preserves_holds() {
        return Vec::new();
    }
    run.states.iter().filter_map(|state| leftover(run, state)).collect()
}

fn leftover(run: &Run<'_>, held: &State) -> Option<String> {
    let sent = run.request_for(held)?;
    let mut later = run.record_changes().filter(|state| state.revision > held.revision);
    let next = later.find(|state| !run.is_admin_edit(state))?;
    let granted = run.trace.holds.iter().any(|hold| hold.identity == held.holder());
    // One request may fail, and a read then finds out whether the server made the write.
    let failures = match run.scenario.profile {
        FaultProfile::CrashesOnly => Duration::ZERO,
        FaultProfile::SlowServer => sent.by.config.write_time,
        _ => sent.by.config.renew_deadline.mul_f64(0.65) + MAX_WITHDRAWAL_TIME,
    };
    // The same acquisition may claim again over a claim that arrived too late to become a hold.
    let own = next.holder().is_empty() || (next.holder() == held.holder() && !failures.is_zero());
    let withdrawn = next.at <= held.at + MAX_WITHDRAWAL_TIME + failures && own;
    let left_over = !held.holder().is_empty() && !granted && !withdrawn && !sent.by.is_frozen();
    left_over.then(|| {
        format!("{}: {} is a claim that was given up and not withdrawn", held.revision, held.holder())
    })
}

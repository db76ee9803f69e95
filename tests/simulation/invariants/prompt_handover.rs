//! If nothing goes wrong but crashes, a waiter takes over as soon as the Lease is free.

use std::time::Duration;

use super::Run;
use crate::history::State;
use crate::scenario::FaultProfile;
use crate::trace::Wait;

/// The rate of the slowest clock.
const SLOWEST_RATE: f64 = 0.99;
/// The longest that colliding waiters need to spread out and to read again, behind the tickets of two that crashed.
const MAX_COLLISION_TIME: Duration = Duration::from_secs(1);
/// The longest from the call of a waiter to its open watch.
const MAX_SETUP_TIME: Duration = Duration::from_millis(500);

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if run.scenario.profile != FaultProfile::CrashesOnly || run.scenario.client_go > 0 {
        return Vec::new();
    }
    run.states.windows(2).filter_map(|pair| late_takeover(run, &pair[0], &pair[1])).collect()
}

fn late_takeover(run: &Run<'_>, old: &State, new: &State) -> Option<String> {
    let before = old.lease.as_ref()?;
    if new.holder().is_empty() || new.holder() == before.holder {
        return None;
    }
    // A waiter counts from the moment at which it learned of the last renewal.
    let wait = if before.holder.is_empty() { Duration::ZERO } else { before.duration.unwrap_or_default() };
    let (known, free) = (old.at, old.at + wait.div_f64(SLOWEST_RATE));
    // A waiter without a watch polls, and is slow.
    let waits = |wait: &Wait| {
        !wait.by.config.watch_forbidden
            && wait.from + MAX_SETUP_TIME < known
            && wait.to.is_some_and(|to| to > free)
    };
    let late = new.at > free + MAX_COLLISION_TIME && run.trace.waits.iter().any(waits);
    late.then(|| {
        let (free, taken) = (run.seconds(free), run.seconds(new.at));
        format!("free at {free:.3} s, and taken over by {} only at {taken:.3} s", new.holder())
    })
}

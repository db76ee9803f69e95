//! If the holder crashes while many nodes wait, few of them read the Lease when it expires, and one of them takes it over
//! promptly.

use std::time::Duration;

use kube_lease_lock::testing::{Request, Verb};

use super::Run;
use crate::history::State;
use crate::scenario::FaultProfile;

const MAX_READS: usize = 20;
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if run.scenario.profile != FaultProfile::CrashInCrowd {
        return Vec::new();
    }
    run.states.windows(2).flat_map(|pair| stampede(run, &pair[0], &pair[1])).collect()
}

fn stampede(run: &Run<'_>, old: &State, new: &State) -> Vec<String> {
    let hold = run.trace.holds.iter().find(|hold| hold.identity == old.holder());
    let crashed = hold.and_then(|hold| hold.node.as_ref()).is_some_and(|node| node.is_crashed());
    let Some(record) = old.lease.as_ref().filter(|_| crashed && new.holder() != old.holder()) else {
        return Vec::new();
    };
    // In these worlds all clocks have the same rate.
    let free = run.unchanged_since(old) + record.duration.unwrap_or_default();
    let requests = run.logs.iter().flatten();
    let is_read = |r: &&Request| r.verb == Verb::Get && free <= r.received && r.received < free + SECOND;
    let reads = requests.filter(is_read).count();
    let mut violations = Vec::new();
    if reads > MAX_READS {
        violations.push(format!("{reads} reads of {} nodes at {:.3} s", run.nodes.len(), run.seconds(free)));
    }
    // The first node in the queue may be far away: it hears of the last renewal late, reads and claims.
    let farthest = run.nodes.iter().map(|node| node.config.distance).max().unwrap_or_default();
    if new.at > free + SECOND + 6 * farthest {
        let (free, taken) = (run.seconds(free), run.seconds(new.at));
        violations.push(format!("free at {free:.3} s, and taken over only at {taken:.3} s"));
    }
    violations
}

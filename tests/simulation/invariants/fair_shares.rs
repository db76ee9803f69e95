//! Under steady contention each node gets at least 60 % of its fair share of the holds, at any distance from the server,
//! also if it is throttled or its watch lags. The fair share is its part of all holds, or what it would get alone if that
//! is less. Holds count from the time on at which all have joined the queue: that is when each node has held once, or the first third
//! of the contest is over.

use std::sync::Arc;

use super::Run;
use crate::node::Node;
use crate::scenario::Usage;
use crate::trace::HoldRecord;

const MIN_SHARE: f64 = 0.6;
/// If the fair share is less than this, chance decides.
const MIN_HOLDS: f64 = 5.0;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    let Usage::Steady { hold, rest } = run.scenario.usage else {
        return Vec::new();
    };
    let Some(end) = run.trace.holds.last().map(|last| run.seconds(last.granted_at)) else {
        return vec!["no node ever held".into()];
    };
    let first = |node| run.trace.holds.iter().find(|hold| is_of(hold, node)).map(|hold| hold.granted_at);
    let joined = run.nodes.iter().map(|node| first(node).map_or(f64::MAX, |at| run.seconds(at)));
    let start = joined.fold(0.0, f64::max).min(end / 3.0);
    let holds: Vec<_> = run.trace.holds.iter().filter(|hold| run.seconds(hold.granted_at) > start).collect();
    let equal = number(holds.len()) / number(run.nodes.len());
    let unfair = run.nodes.iter().filter_map(|node| {
        // Alone, it claims and releases with one round trip each.
        let turn = hold + rest + 4 * node.config.distance;
        let fair = equal.min((end - start) / turn.as_secs_f64());
        let got = holds.iter().filter(|hold| is_of(hold, node)).count();
        (fair >= MIN_HOLDS && number(got) < MIN_SHARE * fair)
            .then(|| format!("{} got {got} of {} holds, and {fair:.1} are fair", node.name, holds.len()))
    });
    unfair.collect()
}

fn is_of(hold: &HoldRecord, node: &Arc<Node>) -> bool {
    hold.node.as_ref().is_some_and(|by| Arc::ptr_eq(by, node))
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

//! Under steady contention each node gets at least 60 % of its fair share of the holds, at any distance from the server,
//! also if it is throttled or its watch lags. The fair share is its part of all holds, or what it would get alone if that
//! is less.

use std::sync::Arc;

use super::Run;
use crate::scenario::Usage;

const MIN_SHARE: f64 = 0.6;
/// If the fair share is less than this, chance decides.
const MIN_HOLDS: f64 = 5.0;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    let Usage::Steady { hold, rest } = run.scenario.usage else {
        return Vec::new();
    };
    let holds = &run.trace.holds;
    let Some(span) = holds.last().map(|last| run.seconds(last.granted_at)) else {
        return vec!["no node ever held".into()];
    };
    let equal = number(holds.len()) / number(run.nodes.len());
    let unfair = run.nodes.iter().filter_map(|node| {
        // Alone, it claims and releases with one round trip each.
        let turn = hold + rest + 4 * node.config.distance;
        let fair = equal.min(span / turn.as_secs_f64());
        let of_node = |node| {
            holds.iter().filter(move |hold| hold.node.as_ref().is_some_and(|by| Arc::ptr_eq(by, node)))
        };
        let got = of_node(node).count();
        (fair >= MIN_HOLDS && number(got) < MIN_SHARE * fair)
            .then(|| format!("{} got {got} of {} holds, and {fair:.1} are fair", node.name, holds.len()))
    });
    unfair.collect()
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

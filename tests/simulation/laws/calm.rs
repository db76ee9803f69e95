//! Where nothing goes wrong but crashes, nothing is lost, a waiter takes over at once, and what nobody waits for
//! any more is given back. Nor is anything lost where one request fails now and then.

use std::time::Duration;

use kube_lease_lock::EndReason;

use super::Case;
use crate::history::State;
use crate::node::Node;
use crate::plan::Weather;
use crate::story::Wait;

/// The slowest of clocks.
const RATE: f64 = 0.99;
/// Waiters that collide spread out a little, and look again.
const COLLISIONS: Duration = Duration::from_millis(500);
/// As long as a waiter may take from its call to its watch.
const SETTLED: Duration = Duration::from_millis(500);

pub(super) fn judge(case: &Case<'_>) -> Vec<String> {
    if !case.plan.weather.is_gentle() {
        return Vec::new();
    }
    let ours =
        case.told.holds.iter().filter(|hold| hold.node.as_ref().is_some_and(|node| has_time(case, node)));
    let lost = ours.filter(|hold| !matches!(hold.reason, None | Some(EndReason::Released)));
    let mut broken: Vec<_> =
        lost.map(|hold| format!("{} was lost: {:?}", hold.identity, hold.reason)).collect();
    broken.extend(case.states.iter().filter_map(|state| left_behind(case, state)));
    if case.plan.weather != Weather::Calm {
        return broken;
    }
    if case.plan.client_go == 0 {
        broken.extend(case.states.windows(2).filter_map(|pair| slow(case, &pair[0], &pair[1])));
    }
    broken
}

/// Whether a failed request, and some conflicts besides, leave time for a renewal.
fn has_time(case: &Case<'_>, node: &Node) -> bool {
    case.plan.weather == Weather::Calm || node.plan.renew_deadline >= Duration::from_secs(5)
}

fn slow(case: &Case<'_>, old: &State, new: &State) -> Option<String> {
    let before = old.lease.as_ref()?;
    if new.holder().is_empty() || new.holder() == before.holder {
        return None;
    }
    // A waiter counts from when it learned of the last renewal.
    let wait = if before.holder.is_empty() { Duration::ZERO } else { before.duration.unwrap_or_default() };
    let (known, free) = (old.at, old.at + wait.div_f64(RATE));
    // Who may not watch is slow.
    let waits = |wait: &Wait| {
        !wait.by.plan.blind && wait.from + SETTLED < known && wait.to.is_some_and(|to| to > free)
    };
    let late = new.at > free + COLLISIONS && case.told.waits.iter().any(waits);
    late.then(|| {
        let (free, taken) = (case.seconds(free), case.seconds(new.at));
        format!("free at {free:.3} s, and taken over by {} only at {taken:.3} s", new.holder())
    })
}

fn left_behind(case: &Case<'_>, held: &State) -> Option<String> {
    let sent = case.request_of(held)?;
    let mut later = case.written().filter(|state| state.revision > held.revision);
    let next = later.find(|state| !case.is_the_administrators(state))?;
    let granted = case.told.holds.iter().any(|hold| hold.identity == held.holder());
    // One request may fail, and what became of it be looked for.
    let failures = match case.plan.weather {
        Weather::Calm => Duration::ZERO,
        _ => sent.by.plan.renew_deadline.mul_f64(0.65) + COLLISIONS,
    };
    // A claim that came too late to build on is claimed over.
    let own = next.holder().is_empty() || (next.holder() == held.holder() && !failures.is_zero());
    let given_back = next.at <= held.at + COLLISIONS + failures && own;
    let left = !held.holder().is_empty() && !granted && !given_back && !sent.by.stands_still();
    left.then(|| format!("{}: {} was left behind by a claim given up", held.revision, held.holder()))
}

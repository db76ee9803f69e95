//! While the Lease does not change hands, a waiter makes few requests, whatever an administrator does to the queue. Only
//! the end of its watch costs it more: a read, and a watch that can be refused once because the server has forgotten its
//! revision.

use std::time::Duration;

use tokio::time::Instant;

use super::Run;
use crate::scenario::FaultProfile;
use crate::trace::Wait;

const WINDOW: Duration = Duration::from_secs(60);
const MAX_REQUESTS: usize = 12;
const MAX_REQUESTS_PER_WATCH: usize = 4;

pub(super) fn check(run: &Run<'_>) -> Vec<String> {
    if run.scenario.profile != FaultProfile::QueueEdits {
        return Vec::new();
    }
    run.trace.waits.iter().filter_map(|wait| restless(run, wait)).collect()
}

fn restless(run: &Run<'_>, wait: &Wait) -> Option<String> {
    let node = &wait.by;
    let to = wait.to?.min(first_change_of_hands(run, wait.from)?);
    let times = run.log(node).iter().map(|request| request.received);
    let times: Vec<_> = times.filter(|at| wait.from <= *at && *at < to).collect();
    let within = |from: Instant, at: Instant| from <= at && at < from + WINDOW;
    times.iter().find_map(|from| {
        let requests = times.iter().filter(|at| within(*from, **at)).count();
        // What a watch that ended just before costs is in this window too.
        let ends =
            node.watch_ends().into_iter().filter(|end| within(*from - Duration::from_secs(5), *end)).count();
        (requests > MAX_REQUESTS + MAX_REQUESTS_PER_WATCH * ends).then(|| {
            format!("{} made {requests} requests in the minute from {:.3} s", node.name, run.seconds(*from))
        })
    })
}

/// When the first holder after `from` is replaced.
fn first_change_of_hands(run: &Run<'_>, from: Instant) -> Option<Instant> {
    let held = |pair: &&[crate::history::State]| {
        !pair[0].holder().is_empty() && pair[0].holder() != pair[1].holder()
    };
    run.states.windows(2).filter(held).map(|pair| pair[1].at).find(|at| *at > from)
}

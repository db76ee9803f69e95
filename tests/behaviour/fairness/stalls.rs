//! What it costs two processes that never pause if one of them is late now and then.

use std::time::Duration;

use kube_lease_lock::testing::{Fault, Verb};

use super::contest::{Contender, Limits, contest_with, print};

const MS: Duration = Duration::from_millis(1);
const STALLS: usize = 12;

/// A late process loses its place in the queue, and joins again between the writes of the other one.
const MAX_RECOVERY: Duration = Duration::from_millis(70);

/// One event or request of a process is late now and then, in different phases of a turn.
async fn stall(stall: Duration, fault: fn(Duration) -> Fault) {
    let contender = Contender { distance: MS, hold: Duration::ZERO, rest: Duration::ZERO, tasks: 1 };
    let span = Duration::from_secs(8);
    let limits = Limits { span, turns: 0, min_span: span };
    let outcome = contest_with(&[contender; 2], limits, |links| {
        for number in 1..=STALLS {
            links[0].inject(fault(stall).skip(100 * number).times(1));
        }
    })
    .await;
    print(&format!("{STALLS} stalls of {stall:?}"), &outcome);
    for share in outcome.shares {
        assert!(share.longest_wait <= stall + MAX_RECOVERY, "{:?}", share.longest_wait);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_80_ms_late_costs_little_more_than_that() {
    stall(80 * MS, Fault::delay_events).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_or_a_release_that_is_80_ms_late_costs_little_more_than_that() {
    stall(80 * MS, |late| Fault::delay_before(late).on(Verb::Apply)).await;
}

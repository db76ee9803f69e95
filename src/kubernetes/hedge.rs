//! Requests that are repeated while they are in flight.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until};

use super::classify::Failure;
use crate::protocol::Hedging;

/// What a hedged request needs to know.
pub(super) struct Hedge<'a> {
    pub hedging: &'a Mutex<Hedging>,
    /// The request is given up after this time.
    pub timeout: Duration,
    /// Whether it may still be sent.
    pub may_send: &'a (dyn Fn() -> bool + Sync),
    /// The failure of a request without an answer.
    pub unanswered: &'a (dyn Fn() -> Failure + Sync),
}

/// Sends the request, and sends it again beside the first whenever there is no answer for a while. `repeating` is called before
/// each repetition.
///
/// Success and a conflict settle what became of the request. No other failure does while another copy is in flight, because
/// that one may have been made. After a failure that may pass, the request is repeated soon. After a refusal, or if the server
/// asks for a pause, it is not, and the answers of the other copies are awaited for a grace period.
pub(super) async fn hedged<T, F>(
    hedge: Hedge<'_>,
    send: impl Fn() -> F,
    repeating: impl Fn(Duration),
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>> + Send,
{
    let Hedge { hedging, timeout, may_send, unanswered } = hedge;
    let lock = || hedging.lock().unwrap_or_else(PoisonError::into_inner);
    let copy = || {
        let (answer, start) = (send(), Instant::now());
        Box::pin(async move { (answer.await, start.elapsed()) })
    };
    let start = Instant::now();
    let mut copies = FuturesUnordered::from_iter([copy()]);
    let (mut repeated, mut failures) = (0, 0);
    let mut next = Next::Repeat(start + lock().pause(timeout, repeated));
    let mut failed: Option<Failure> = None;
    loop {
        let over = sleep(timeout.saturating_sub(start.elapsed()));
        let answer = tokio::select! {
            biased;
            answer = copies.next() => answer,
            () = over => return Err(failed.map_or_else(unanswered, in_doubt)),
            () = sleep_until(next.at()) => {
                if matches!(next, Next::GiveUp(_)) {
                    return Err(failed.map_or_else(unanswered, in_doubt));
                }
                repeated += 1;
                if may_send() {
                    repeating(start.elapsed());
                    copies.push(copy());
                }
                next = Next::Repeat(Instant::now() + lock().pause(timeout, repeated));
                continue;
            }
        };
        // There is a copy in flight until the last one has failed.
        let Some((answer, took)) = answer else { continue };
        lock().answered(took);
        let failure = match answer {
            Err(failure) if !matches!(failure, Failure::Conflict(_)) => failure,
            settled => return settled,
        };
        let may_pass = matches!(failure, Failure::Unknown { retry_after: None, .. });
        let failure = match failed.take() {
            Some(earlier) => both(earlier, failure),
            None => failure,
        };
        if copies.is_empty() {
            return Err(failure);
        }
        failed = Some(failure);
        if !may_pass {
            next = Next::GiveUp(Instant::now() + Hedging::GRACE);
        } else if let Next::Repeat(at) = next {
            next = Next::Repeat(at.min(Instant::now() + Hedging::pause_after_failure(failures)));
        }
        failures += 1;
    }
}

/// What comes next if there is no answer.
enum Next {
    Repeat(Instant),
    GiveUp(Instant),
}

impl Next {
    fn at(&self) -> Instant {
        match self {
            Self::Repeat(at) | Self::GiveUp(at) => *at,
        }
    }
}

/// What two failures say together: the request was refused only if both copies were.
fn both(one: Failure, other: Failure) -> Failure {
    match (one, other) {
        (Failure::Unknown { error, retry_after }, Failure::Unknown { retry_after: other, .. }) => {
            Failure::Unknown { error, retry_after: retry_after.max(other) }
        }
        (unknown @ Failure::Unknown { .. }, _) | (_, unknown @ Failure::Unknown { .. }) => unknown,
        (_, denied) => denied,
    }
}

/// A failure beside which another copy has not been answered.
fn in_doubt(failure: Failure) -> Failure {
    match failure {
        Failure::Denied(_) => Failure::Unknown { error: failure.error().clone(), retry_after: None },
        other => other,
    }
}

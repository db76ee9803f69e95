//! Requests that are repeated while they are in flight.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::classify::{Denial, Failure};
use crate::protocol::Hedging;

/// Sends the request, and sends it again beside the first whenever there is no answer for a while. `repeating` is called before
/// each repetition.
///
/// Success and a conflict settle what became of the request. No other failure does while another copy is in flight, because
/// that one may have been made. Its answer decides, if it comes within a grace period. Meanwhile nothing is repeated.
///
/// `timeout` does not end this future: it only says how long its caller waits.
pub(super) async fn hedged<T, F>(
    hedging: &Mutex<Hedging>,
    timeout: Duration,
    send: impl Fn() -> F,
    repeating: impl Fn(Duration),
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>> + Send,
{
    let lock = || hedging.lock().unwrap_or_else(PoisonError::into_inner);
    let copy = || {
        let (answer, start) = (send(), Instant::now());
        Box::pin(async move { (answer.await, start.elapsed()) })
    };
    let start = Instant::now();
    let mut copies = FuturesUnordered::from_iter([copy()]);
    let mut repeated = 0;
    let mut act_at = start + lock().pause(timeout, repeated);
    let mut failed: Option<Failure> = None;
    loop {
        let answer = tokio::select! {
            biased;
            answer = copies.next() => answer,
            () = sleep_until(act_at) => {
                if let Some(failure) = failed {
                    return Err(in_doubt(failure));
                }
                repeating(start.elapsed());
                copies.push(copy());
                repeated += 1;
                act_at = Instant::now() + lock().pause(timeout, repeated);
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
        let failure = match failed.take() {
            Some(earlier) => both(earlier, failure),
            None => failure,
        };
        if copies.is_empty() {
            return Err(failure);
        }
        (failed, act_at) = (Some(failure), Instant::now() + Hedging::GRACE);
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
        Failure::Denied(
            Denial::Forbidden(error)
            | Denial::NamespaceGone(error)
            | Denial::ClientClosed(error)
            | Denial::Refused(error),
        ) => Failure::Unknown { error, retry_after: None },
        other => other,
    }
}

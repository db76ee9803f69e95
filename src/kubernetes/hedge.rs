//! Requests that are repeated while they are in flight.

use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Fuse, FusedFuture};
use tokio::time::{Instant, sleep_until};

use super::classify::Failure;
use crate::protocol::Hedging;

/// Sends the request, and sends it again whenever there is no answer for a while. At most two are in flight: the first, on
/// which a slow server is at work, and the newest. `repeating` is called before each repetition.
///
/// Success and a conflict settle what became of the request. After a repetition, no other failure does: the other request may
/// have been made, and its answer decides.
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
    let request = || {
        let (answer, start) = (send(), Instant::now());
        async move { (answer.await, start.elapsed()) }.boxed().fuse()
    };
    let start = Instant::now();
    let (mut first, mut newest) = (request(), Fuse::terminated());
    let mut repeated = 0;
    let mut repeat_at = start + lock().pause(timeout, repeated);
    let mut in_doubt: Option<Failure> = None;
    loop {
        let (answer, took) = tokio::select! {
            biased;
            answer = &mut first => answer,
            answer = &mut newest => answer,
            () = sleep_until(repeat_at) => {
                repeating(start.elapsed());
                if first.is_terminated() {
                    mem::swap(&mut first, &mut newest);
                }
                newest = request();
                repeated += 1;
                repeat_at = Instant::now() + lock().pause(timeout, repeated);
                continue;
            }
        };
        lock().answered(took);
        match answer {
            Err(failure) if !matches!(failure, Failure::Conflict(_)) => {
                if first.is_terminated() && newest.is_terminated() {
                    return Err(in_doubt.unwrap_or(failure));
                }
                if matches!(failure, Failure::Unknown { .. }) {
                    in_doubt = Some(failure);
                }
            }
            settled => return settled,
        }
    }
}

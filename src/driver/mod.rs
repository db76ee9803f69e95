//! The background task of one acquisition: it waits in the FIFO, acquires, holds and releases.
//!
//! It is a background task so that users may drop whatever they have, an unfinished `acquire()` or a guard, at any point and
//! on any thread. The task then puts the Lease in order.
//!
//! This module starts and ends the acquisition. [`acquire`], [`hold`] and [`release`] are the loops between, each of which
//! drives the machine of the same name in [`protocol`](crate::protocol).

mod acquire;
mod background;
mod fifo;
mod hold;
mod loss;
mod memory;
mod progress;
mod release;
mod retry;
mod session;
mod stop;
mod watcher;

pub(crate) use acquire::{Mode, NotAcquired};
pub(crate) use background::BackgroundTask;
pub(crate) use fifo::{Admission, Fifo};
pub(crate) use memory::Memory;
pub(crate) use progress::Progress;
pub(crate) use session::{Context, Session};
pub(crate) use stop::{ReportRelease, StopHandle};

use std::time::Duration;

use tokio::sync::oneshot;

use crate::backoff::jittered;
use crate::error::{EndReason, LossReason, ReleaseError};
use crate::hold::Hold;
use crate::lease::FencingToken;
use crate::protocol::{Claim, HoldState, Loss};
use hold::HoldEnd;
use stop::StopRequest;

/// How long an idle watch stays open: a task that acquires again within this time finds it.
const IDLE_WATCH_TIMEOUT: Duration = Duration::from_secs(1);

/// The channel for the outcome of the acquisition.
type Acquired = oneshot::Sender<Result<Hold, NotAcquired>>;

/// How an acquisition ended: the stop request, if there was one, and the outcome of the release that it asked for.
#[derive(Default)]
struct Ended {
    request: Option<StopRequest>,
    released: Option<Result<(), ReleaseError>>,
}

/// Runs one acquisition from its place in the FIFO to the end of its hold.
pub(crate) async fn run(
    admission: Admission<Memory>,
    context: Box<Context>,
    mode: Mode,
    acquired: Acquired,
    mut stop: oneshot::Receiver<StopRequest>,
) {
    let memory = match admission {
        Admission::Admitted(memory) => memory,
        Admission::Waiting(mut waiter) => tokio::select! {
            biased;
            request = &mut stop => {
                tracing::debug!("gave up waiting in the FIFO");
                drop(waiter);
                if let Some(memory) = context.fifo.orphaned_hand_off() {
                    Box::pin(release_orphan(Session { context, memory })).await;
                }
                // Dropped last, because `shutdown` waits for it.
                drop(request);
                return;
            }
            memory = waiter.admitted() => memory,
        },
    };
    // Boxed, because thousands of tasks may wait for each one that is admitted.
    Box::pin(run_admitted(Session { context, memory }, mode, acquired, stop)).await;
}

async fn run_admitted(
    mut session: Session,
    mode: Mode,
    acquired: Acquired,
    mut stop: oneshot::Receiver<StopRequest>,
) {
    session.memory.begin(session.context.now());
    let mut state = session.acquire_state();
    let acquiring = tokio::select! {
        biased;
        request = &mut stop => Err(request.ok()),
        outcome = acquire::acquire(&mut session, &mut state, mode) => Ok(outcome),
    };
    let ended = match acquiring {
        Ok(Ok(claim)) => hold_and_release(&mut session, claim, acquired, stop).await,
        Ok(Err(not_acquired)) => {
            // Sending fails if the caller has dropped its future.
            let _ = acquired.send(Err(not_acquired));
            release::withdraw(&mut session, state).await;
            Ended::default()
        }
        Err(request) => {
            tracing::debug!("gave up waiting");
            session.memory.watcher.close();
            release::withdraw(&mut session, state).await;
            Ended { request, released: None }
        }
    };
    end(session, ended).await;
}

/// Hands the won claim over as a hold, keeps it, and ends it.
async fn hold_and_release(
    session: &mut Session,
    claim: Claim,
    acquired: Acquired,
    mut stop: oneshot::Receiver<StopRequest>,
) -> Ended {
    let context = &mut session.context;
    let revision = claim.snapshot.version.revision;
    let record = claim.snapshot.record.clone();
    let first_renewal = claim.sent + jittered(context.timings.renew_interval, &mut context.rng);
    let state = HoldState::new(context.me.clone(), context.timings, claim.sent, claim.snapshot)
        .renewing_from(first_renewal);
    let hold = Hold::new(
        context.client.lease().clone(),
        context.me.clone(),
        FencingToken::from(revision),
        context.clock.clone(),
        state.deadline(),
    );
    // However this task ends, in a panic or with its runtime, the token is cancelled.
    let _cancel_on_exit = scopeguard::guard(hold.clone(), |hold| hold.end(LossReason::TaskEnded.into()));
    context.progress.won(hold.clone());
    tracing::info!(fencing_token = revision, transitions = record.transitions, "acquired");
    // Sending fails if the caller has dropped its future. In that case a stop request has been sent.
    let _ = acquired.send(Ok(hold.clone()));

    match hold::keep(session, state, hold.clone(), &mut stop).await {
        HoldEnd::Lost(loss, last_failure) => {
            // The watch may have missed what it should have told.
            session.memory.watcher.close();
            loss::report(&session.context, &hold, &record, loss, last_failure).await;
            Ended::default()
        }
        HoldEnd::Stopped(state, request) => {
            // The deadline may have passed already: a reader of the clock can see that first, and drop the guard for it.
            let over = state.deadline() <= session.context.now();
            hold.end(if over { loss::reason(Loss::Deadline).into() } else { EndReason::Released });
            let released = release::release(session, *state).await;
            Ended { request, released: Some(released) }
        }
    }
}

/// Ends an acquisition: the next task of the FIFO gets the memory, and a hold that was handed off to nobody is released.
/// Then the outcome is told, and the stop request is dropped, for which `shutdown` waits. An idle watch is closed at last.
async fn end(session: Session, Ended { request, released }: Ended) {
    let Session { context, mut memory } = session;
    let (fifo, progress) = (context.fifo.clone(), context.progress.clone());
    let expires_at = context.now() + context.timings.lease_duration;
    let next_begins = memory.end();
    drop(memory);
    if let Some(memory) = fifo.orphaned_hand_off() {
        release_orphan(Session { context, memory }).await;
    }
    if let Some(mut request) = request {
        let untold = request.tell(released);
        if matches!(untold, Some(Err(ReleaseError::Unconfirmed { .. }))) {
            progress.unreleased(expires_at);
        }
        // `request` is dropped here, because `shutdown` waits for it.
    }
    if tokio::time::timeout(IDLE_WATCH_TIMEOUT, next_begins).await.is_err()
        && let Some(mut memory) = fifo.try_take()
    {
        memory.watcher.close();
    }
}

/// Releases a hold that was handed off to tasks that have all gone.
pub(crate) async fn release_orphan(mut session: Session) {
    let state = session.acquire_state();
    release::withdraw(&mut session, state).await;
}

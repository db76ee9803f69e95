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
mod unfinished;
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
use crate::error::{EndReason, LossReason};
use crate::hold::Hold;
use crate::lease::FencingToken;
use crate::protocol::{Claim, HoldState, Loss};
use hold::HoldEnd;
use stop::{StopRequest, Stopped, Unfinished};
use unfinished::Finished;

/// How long an idle watch stays open: a task that acquires again within this time finds it.
const IDLE_WATCH_TIMEOUT: Duration = Duration::from_secs(1);

/// The channel for the outcome of the acquisition.
type Acquired = oneshot::Sender<Result<Hold, NotAcquired>>;

/// How an acquisition ended.
enum Ended {
    /// Nothing is left to do.
    Done(Option<Finished>),
    /// It has stopped, and something may be left to do.
    Stopped(Unfinished),
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
                Box::pin(finish_orphans(context)).await;
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
    if let Some(finished) = session.finish(true).await {
        finished.tell(&session.context);
    }
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
            let unfinished = Unfinished { state: Box::new(Stopped::Acquiring(state)), request: None };
            return leave(session, unfinished, Some(stop)).await;
        }
        Err(request) => {
            tracing::debug!("gave up waiting");
            session.memory.watcher.close();
            Ended::Stopped(Unfinished { state: Box::new(Stopped::Acquiring(state)), request })
        }
    };
    match ended {
        Ended::Done(finished) => end(session, finished).await,
        Ended::Stopped(unfinished) => leave(session, unfinished, None).await,
    }
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
            Ended::Done(None)
        }
        HoldEnd::Stopped(state, request) => {
            // The deadline may have passed already: a reader of the clock can see that first, and drop the guard for it.
            let over = state.deadline() <= session.context.now();
            hold.end(if over { loss::reason(Loss::Deadline).into() } else { EndReason::Released });
            if session.context.fifo.is_waited_for() && release::may_hand_off(session, &state) {
                let released = Some(release::release(session, *state, true).await);
                return Ended::Done(Some(Finished { request, released }));
            }
            Ended::Stopped(Unfinished { state: Box::new(Stopped::Holding(*state)), request })
        }
    }
}

/// Leaves what is to be done in the memory, and does it if no other task has begun with it in the meantime.
///
/// `told`: the caller has been told an error, and requests a stop when it has received the error.
async fn leave(session: Session, unfinished: Unfinished, told: Option<oneshot::Receiver<StopRequest>>) {
    let Session { context, mut memory } = session;
    memory.unfinished = Some(unfinished);
    drop(memory);
    if let Some(stop) = told
        && let Ok(request) = stop.await
        && let Some(mut memory) = context.fifo.try_take()
        && let Some(unfinished) = &mut memory.unfinished
    {
        unfinished.request.get_or_insert(request);
    }
    // The thread that requested the stop goes no further, and leaves the memory free. The runtime does, if it is driven.
    tokio::task::yield_now().await;
    if let Some(memory) = context.fifo.orphan() {
        let waited_for = context.fifo.is_waited_for();
        let mut session = Session { context, memory };
        let finished = session.finish(waited_for).await;
        end(session, finished).await;
    }
}

/// Ends an acquisition: the next task of the FIFO gets the memory, and what was left to tasks that have gone is finished.
/// Then the outcome is told. An idle watch is closed at last.
async fn end(session: Session, finished: Option<Finished>) {
    let Session { context, mut memory } = session;
    let next_begins = memory.end();
    drop(memory);
    let context = finish_orphans(context).await;
    if let Some(finished) = finished {
        finished.tell(&context);
    }
    if tokio::time::timeout(IDLE_WATCH_TIMEOUT, next_begins).await.is_err()
        && let Some(mut memory) = context.fifo.try_take()
    {
        memory.watcher.close();
        drop(memory);
        finish_orphans(context).await;
    }
}

/// Finishes what was left to tasks that have all gone: a stop, or a hold that was handed off.
pub(crate) async fn finish_orphans(mut context: Box<Context>) -> Box<Context> {
    while context.fifo.orphan().is_some() {
        // As in `leave`.
        tokio::task::yield_now().await;
        let Some(memory) = context.fifo.orphan() else { break };
        let waited_for = context.fifo.is_waited_for();
        let mut session = Session { context, memory };
        let finished = Box::pin(session.finish(waited_for)).await;
        if finished.is_none() {
            let state = session.acquire_state();
            release::withdraw(&mut session, state).await;
        }
        session.memory.watcher.close();
        context = session.context;
        drop(session.memory);
        if let Some(finished) = finished {
            finished.tell(&context);
        }
    }
    context
}

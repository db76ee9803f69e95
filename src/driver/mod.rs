//! The background task of one acquisition: it waits in the FIFO, acquires, holds and releases.
//!
//! It is a background task so that users may drop whatever they have, an unfinished `acquire()` or a guard, at any point and
//! on any thread. The task then puts the Lease in order.
//!
//! This module starts and ends the acquisition. [`acquire`], [`hold`] and [`release`] are the loops between, each of which
//! drives the machine of the same name in [`protocol`](crate::protocol).

mod acquire;
mod background;
mod break_hold;
mod exclusive;
mod fifo;
mod hold;
mod loss;
mod observe;
mod outcome;
mod progress;
mod release;
mod session;
mod stop;
mod unfinished;
mod watcher;

pub(crate) use acquire::NotAcquired;
pub(crate) use background::BackgroundTask;
pub(crate) use break_hold::break_hold;
pub(crate) use exclusive::Exclusive;
pub(crate) use fifo::{Admission, Fifo};
pub(crate) use observe::{Observe, Report};
pub(crate) use progress::Progress;
pub(crate) use session::{Context, Session};
pub(crate) use stop::{Released, ReportRelease, StopHandle};

use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{EndReason, LossReason};
use crate::hold::Hold;
use crate::lease::FencingToken;
use crate::log::log;
use crate::protocol::{Claim, HoldState, Loss, Mode, Version, jittered};
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
    admission: Admission<Exclusive>,
    context: Box<Context>,
    mode: Mode,
    acquired: Acquired,
    mut stop: oneshot::Receiver<StopRequest>,
) {
    let exclusive = match admission {
        Admission::Admitted(exclusive) => exclusive,
        Admission::Waiting(mut waiter) => tokio::select! {
            biased;
            request = &mut stop => {
                log!(debug, context.client.lease(), "gave up waiting in the FIFO");
                drop(waiter);
                Box::pin(finish_orphans(context)).await;
                // Dropped last, because `shutdown` waits for it.
                drop(request);
                return;
            }
            exclusive = waiter.admitted() => exclusive,
        },
    };
    // Boxed, because thousands of tasks may wait for each one that is admitted.
    Box::pin(run_admitted(Session { context, exclusive }, mode, acquired, stop)).await;
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
    let mut state = session.acquire_state(mode);
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
            log!(debug, session.context.client.lease(), "gave up waiting");
            session.exclusive.close_watch();
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
    let Version { uid, revision } = claim.snapshot.version.clone();
    let record = claim.snapshot.record.clone();
    let first_renewal = claim.sent + jittered(context.timings.renew_interval, &mut context.rng);
    let state = HoldState::new(context.me.clone(), context.timings, claim.sent, claim.snapshot)
        .renewing_from(first_renewal)
        .yielding(context.yields);
    let hold = Hold::new(
        context.client.lease().clone(),
        uid,
        context.me.clone(),
        FencingToken::from(revision),
        context.clock.clone(),
        state.deadline(),
        state.grace(),
    );
    // However this task ends, in a panic or with its runtime, the token is cancelled.
    let _cancel_on_exit = scopeguard::guard(hold.clone(), |hold| hold.end(LossReason::TaskEnded.into()));
    let (previous, _) = context.progress.get();
    context.progress.won(hold.clone());
    let (previous, waited) = (previous.map(|holder| holder.identity), context.asked.until(context.now()));
    log!(
        info,
        hold.lease(),
        fencing_token = revision,
        transitions = record.transitions,
        previous,
        ?waited,
        "acquired"
    );
    // Sending fails if the caller has dropped its future. In that case a stop request has been sent.
    let _ = acquired.send(Ok(hold.clone()));

    match hold::keep(session, state, hold.clone(), &mut stop).await {
        HoldEnd::Lost(loss, last_failure, late) => {
            if loss != Loss::Deleted {
                // The watch may have missed what it should have told.
                session.exclusive.close_watch();
            }
            loss::report(&session.context, &hold, &record, loss, last_failure, late).await;
            Ended::Done(None)
        }
        HoldEnd::Stopped(mut state, mut request) => {
            if let Some(key) = request.as_mut().and_then(|request| request.done_key.take()) {
                state.mark_done(key, session.context.clock.wall());
            }
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

/// Leaves what is to be done in the exclusive state, and does it if no other task has begun with it in the meantime.
///
/// `told`: the caller has been told an error, and requests a stop when it has received the error.
async fn leave(session: Session, unfinished: Unfinished, told: Option<oneshot::Receiver<StopRequest>>) {
    let Session { context, mut exclusive } = session;
    exclusive.unfinished = Some(unfinished);
    drop(exclusive);
    if let Some(stop) = told
        && let Ok(request) = stop.await
        && let Some(mut exclusive) = context.fifo.try_take()
        && let Some(unfinished) = &mut exclusive.unfinished
    {
        unfinished.request.get_or_insert(request);
    }
    // The thread that requested the stop goes no further, and leaves that state free. The runtime does, if it is driven.
    tokio::task::yield_now().await;
    if let Some(exclusive) = context.fifo.orphan() {
        let waited_for = context.fifo.is_waited_for();
        let mut session = Session { context, exclusive };
        let finished = session.finish(waited_for).await;
        end(session, finished).await;
    }
}

/// Ends an acquisition: the next task of the FIFO gets the exclusive state, and what was left to tasks that have gone is finished.
/// Then the outcome is told. An idle watch is closed at last.
async fn end(session: Session, finished: Option<Finished>) {
    let Session { context, mut exclusive } = session;
    let next_begins = exclusive.end(context.now());
    drop(exclusive);
    let context = finish_orphans(context).await;
    if let Some(finished) = finished {
        finished.tell(&context);
    }
    if tokio::time::timeout(IDLE_WATCH_TIMEOUT, next_begins).await.is_err()
        && let Some(mut exclusive) = context.fifo.try_take()
    {
        exclusive.close_watch();
        drop(exclusive);
        finish_orphans(context).await;
    }
}

/// Finishes what was left to tasks that have all gone: a stop, or a hold that was handed off.
pub(crate) async fn finish_orphans(mut context: Box<Context>) -> Box<Context> {
    while context.fifo.orphan().is_some() {
        // As in `leave`.
        tokio::task::yield_now().await;
        let Some(exclusive) = context.fifo.orphan() else { break };
        let waited_for = context.fifo.is_waited_for();
        let mut session = Session { context, exclusive };
        let finished = Box::pin(session.finish(waited_for)).await;
        if finished.is_none() {
            let state = session.acquire_state(Mode::Try);
            release::withdraw(&mut session, state).await;
        }
        session.exclusive.close_watch();
        context = session.context;
        drop(session.exclusive);
        if let Some(finished) = finished {
            finished.tell(&context);
        }
    }
    context
}

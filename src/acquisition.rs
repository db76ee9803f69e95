//! One acquisition, from its place in line to the end of the hold, as one background task.
//!
//! A background task, so that dropping whatever a user holds, an unfinished `acquire()` or a guard, at any
//! point and on any thread, leaves somebody behind who puts the Lease in order.

use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, oneshot};

use crate::contend::{Patience, Setback, contend};
use crate::held::Held;
use crate::hold::hold;
use crate::protocol::Contention;
use crate::release::withdraw;
use crate::session::{Session, Stop};
use crate::turn::{Entry, Turn};

/// How long a watch that nobody needs stays open: who comes back at once finds it.
const LINGER: Duration = Duration::from_secs(1);

/// Waits for its turn, contends, holds, releases. `claimed` is told how the claim went.
pub(crate) async fn acquisition(
    entry: Entry,
    session: impl FnOnce(OwnedMutexGuard<Turn>) -> Session,
    patience: Patience,
    claimed: oneshot::Sender<Result<Held, Setback>>,
    mut stop: oneshot::Receiver<Stop>,
) {
    let turn = match entry {
        Entry::Turn(turn) => turn,
        Entry::Place(mut place) => tokio::select! {
            biased;
            order = &mut stop => {
                tracing::debug!("gave up waiting in line");
                let turns = place.leave();
                if let Some(turn) = turns.abandoned() {
                    Box::pin(give_back(session(turn))).await;
                }
                // Only now: `shutdown` waits for the end of the order.
                drop(order);
                return;
            }
            turn = place.turn() => turn,
        },
    };
    // Boxed, because there may be thousands in line for each one that has its turn.
    Box::pin(take_turn(session(turn), patience, claimed, stop)).await;
}

async fn take_turn(
    mut session: Session,
    patience: Patience,
    claimed: oneshot::Sender<Result<Held, Setback>>,
    mut stop: oneshot::Receiver<Stop>,
) {
    session.turn.begin(session.clock.now());
    let mut contention = contention(&mut session);
    let outcome = tokio::select! {
        biased;
        order = &mut stop => Err(order.ok()),
        outcome = contend(&mut session, &mut contention, patience) => Ok(outcome),
    };
    let order = match outcome {
        Ok(Ok(claim)) => hold(&mut session, claim, claimed, stop).await,
        Ok(Err(setback)) => {
            // Fails where nobody waits for it any more.
            let _ = claimed.send(Err(setback));
            withdraw(&mut session, contention).await;
            None
        }
        Err(order) => {
            tracing::debug!("gave up waiting");
            session.turn.watcher.close();
            withdraw(&mut session, contention).await;
            order
        }
    };
    let (turns, next) = (session.turns.clone(), session.turn.end());
    drop(session.turn);
    if let Some(turn) = turns.abandoned() {
        give_back(Session { turn, ..session }).await;
    }
    // Only now: `shutdown` waits for the end of the order.
    drop(order);
    if tokio::time::timeout(LINGER, next).await.is_err()
        && let Some(mut turn) = turns.try_enter()
    {
        turn.watcher.close();
    }
}

/// Releases what was handed on to nobody.
pub(crate) async fn give_back(mut session: Session) {
    let contention = contention(&mut session);
    withdraw(&mut session, contention).await;
}

fn contention(session: &mut Session) -> Contention {
    let left = std::mem::take(&mut session.turn.left);
    Contention::new(session.me.clone(), session.turn.line.ticket(), session.terms, left)
}

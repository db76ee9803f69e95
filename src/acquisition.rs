//! One acquisition, from the first look at the Lease to the end of the hold, as one background task.
//!
//! A background task, so that dropping whatever a user holds, an unfinished `acquire()` or a guard, at any
//! point and on any thread, leaves somebody behind who puts the Lease in order.

use tokio::sync::oneshot;

use crate::contend::{Patience, Setback, contend};
use crate::held::Held;
use crate::hold::hold;
use crate::protocol::Contention;
use crate::release::withdraw;
use crate::session::{Session, Stop};

/// Contends, holds, releases. `claimed` is told how the claim went.
pub(crate) async fn acquisition(
    mut session: Session,
    patience: Patience,
    claimed: oneshot::Sender<Result<Held, Setback>>,
    mut stop: oneshot::Receiver<Stop>,
) {
    let left = session.turn.left_free.take();
    let mut contention = Contention::new(session.me.clone(), session.terms, left);
    let outcome = tokio::select! {
        biased;
        order = &mut stop => Err(order.ok()),
        outcome = contend(&mut session, &mut contention, patience) => Ok(outcome),
    };
    match outcome {
        Ok(Ok(claim)) => hold(session, claim, claimed, stop).await,
        Ok(Err(setback)) => {
            // Fails where nobody waits for it any more.
            let _ = claimed.send(Err(setback));
            withdraw(&mut session, contention).await;
        }
        Err(order) => {
            tracing::debug!("gave up waiting");
            withdraw(&mut session, contention).await;
            // Only now: `shutdown` waits for the end of the order.
            drop(order);
        }
    }
}

//! The work that a stopped acquisition has left to do: a release, or the withdrawal of a claim.
//!
//! Both take answers of the API server. So they could wait for ever if nobody drives the runtime of the acquisition any more.
//! The acquisition therefore leaves them in the [`Exclusive`](super::Exclusive) state, and the next task that has it carries them out:
//! most often the same one, a moment later.

use super::release;
use super::session::{Context, Session};
use super::stop::{Released, StopRequest, Stopped, Unfinished};
use crate::error::ReleaseError;

/// The outcome of a stop request, which is to be told when the exclusive state is given up.
#[must_use]
pub(super) struct Finished {
    pub request: Option<StopRequest>,
    pub released: Option<Result<Released, ReleaseError>>,
}

impl Finished {
    /// Tells the outcome, and drops the request, for which `shutdown` waits.
    pub(super) fn tell(self, context: &Context) {
        let Self { request: Some(mut request), released } = self else { return };
        if matches!(request.tell(released), Some(Err(ReleaseError::Unconfirmed { .. }))) {
            context.progress.unreleased(context.now() + context.timings.lease_duration);
        }
    }
}

impl Session {
    /// Carries out what was left, if there is anything. `waited_for`: a task of this process waits for the Lease.
    pub(super) async fn finish(&mut self, waited_for: bool) -> Option<Finished> {
        let Unfinished { state, request } = self.exclusive.unfinished.take()?;
        let released = match *state {
            Stopped::Holding(state) => Some(release::release(self, state, waited_for).await),
            Stopped::Acquiring(state) => {
                release::withdraw(self, state).await;
                None
            }
        };
        Some(Finished { request, released })
    }
}

//! The state of a lock for callers that wait, that have stopped waiting, or that shut the lock down.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{AcquireError, RequestError};
use crate::hold::Hold;
use crate::lease::LeaseHolder;
use crate::protocol::Instant;

/// The holder that was seen last, and the last request if it failed.
#[derive(Default)]
pub(crate) struct Progress(Mutex<State>);

#[derive(Default)]
struct State {
    holder: Option<LeaseHolder>,
    failure: Option<RequestError>,
    /// Whether the server has accepted a write, or a dry run of one, since the last refusal.
    may_write: bool,
    /// The last hold of this process.
    hold: Option<Hold>,
    /// A release was not confirmed: the Lease may be held until then.
    unreleased_until: Option<Instant>,
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn observed(&self, holder: Option<LeaseHolder>) {
        let mut state = self.state();
        (state.holder, state.failure) = (holder, None);
    }

    /// The server has accepted a write of this process.
    pub(super) fn accepted(&self) {
        self.state().may_write = true;
    }

    pub(crate) fn may_write(&self) -> bool {
        self.state().may_write
    }

    /// This process cannot acquire the Lease. The holder that it waited for before says nothing any more.
    pub(crate) fn refused(&self) {
        let mut state = self.state();
        (state.holder, state.failure, state.may_write) = (None, None, false);
    }

    pub(crate) fn failed(&self, error: RequestError) {
        self.state().failure = Some(error);
    }

    /// The error that the last request will become if the server goes on refusing it.
    pub(crate) fn refusal(&self) -> Option<AcquireError> {
        AcquireError::of_refusal(self.state().failure.as_ref()?)
    }

    pub(crate) fn get(&self) -> (Option<LeaseHolder>, Option<RequestError>) {
        let state = self.state();
        (state.holder.clone(), state.failure.clone())
    }

    /// A claim was won: what was known of earlier holders and releases is over.
    pub(super) fn won(&self, hold: Hold) {
        *self.state() = State { hold: Some(hold), ..State::default() };
    }

    /// The hold of this process, while it lasts.
    pub(crate) fn hold(&self) -> Option<Hold> {
        self.state().hold.clone().filter(Hold::is_held)
    }

    /// A release was not confirmed, and nobody was told.
    pub(super) fn unreleased(&self, until: Instant) {
        self.state().unreleased_until = Some(until);
    }

    pub(crate) fn is_unreleased(&self, now: Instant) -> bool {
        self.state().unreleased_until.is_some_and(|until| now < until)
    }
}

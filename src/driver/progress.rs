//! The state of a lock for callers that wait, that have stopped waiting, or that shut the lock down.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{AcquireError, RequestError};
use crate::hold::Hold;
use crate::lease::LeaseHolder;
use crate::protocol::Instant;

/// The holder that was seen last and since when, and the last request if it failed, and since when requests have failed.
#[derive(Default)]
pub(crate) struct Progress(Mutex<State>);

/// Something, and since when it has been so.
pub(crate) type Since<T> = (T, Instant);

#[derive(Default)]
struct State {
    holder: Option<Since<LeaseHolder>>,
    failure: Option<Since<RequestError>>,
    /// Whether the server has accepted a write, or a dry run of one, since the last refusal.
    may_write: bool,
    /// The last hold of this process.
    hold: Option<Hold>,
    /// Whether the last request failed or was refused.
    failing: bool,
    /// A release was not confirmed: the Lease may be held until then.
    unreleased_until: Option<Instant>,
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn observed(&self, holder: Option<LeaseHolder>, now: Instant) {
        let mut state = self.state();
        if let Some(hold) = &state.hold
            && holder.as_ref().is_none_or(|holder| holder.identity != hold.holder_identity())
        {
            hold.replaced();
        }
        let known = state.holder.take();
        state.holder = holder.map(|holder| {
            let since = known.filter(|(known, _)| known.identity == holder.identity).map(|(_, since)| since);
            (holder, since.unwrap_or(now))
        });
        state.failure = None;
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

    /// A request has been answered, or has failed, for any reason but that the Lease had changed.
    pub(super) fn answered(&self, ok: bool) {
        self.state().failing = !ok;
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.state().failing
    }

    pub(crate) fn failed(&self, error: RequestError, now: Instant) {
        let mut state = self.state();
        let since = state.failure.take().map_or(now, |(_, since)| since);
        state.failure = Some((error, since));
    }

    /// The error that the last request will become if the server goes on refusing it.
    pub(crate) fn refusal(&self) -> Option<AcquireError> {
        AcquireError::of_refusal(&self.state().failure.as_ref()?.0)
    }

    pub(crate) fn get(&self) -> (Option<LeaseHolder>, Option<RequestError>) {
        let (holder, failure) = self.since();
        (holder.map(|(holder, _)| holder), failure.map(|(error, _)| error))
    }

    /// The holder and the failure, each with the time since when it has been so.
    pub(crate) fn since(&self) -> (Option<Since<LeaseHolder>>, Option<Since<RequestError>>) {
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

    /// The last hold of this process, also if it is over.
    pub(crate) fn last_hold(&self) -> Option<Hold> {
        self.state().hold.clone()
    }

    /// A release was not confirmed, and nobody was told.
    pub(super) fn unreleased(&self, until: Instant) {
        self.state().unreleased_until = Some(until);
    }

    pub(crate) fn is_unreleased(&self, now: Instant) -> bool {
        self.state().unreleased_until.is_some_and(|until| now < until)
    }
}

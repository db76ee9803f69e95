//! The state that an election shares with its background task: the guard while this process leads, and why it cannot lead.

use std::mem::replace;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::error::AcquireError;
use crate::guard::LeaseGuard;
use crate::hold::Hold;
use crate::lock_core::LockCore;

/// The state that an election shares with its background task.
#[derive(Debug)]
pub(super) struct ElectionState {
    core: Arc<LockCore>,
    state: Mutex<State>,
    refusal: Mutex<Option<AcquireError>>,
    stopped: CancellationToken,
}

/// Whether this process leads. The guard is here, and not in the background task, so that leadership can be given up without
/// that task.
#[derive(Debug)]
enum State {
    Following,
    Leading(LeaseGuard),
    /// Leadership was left to other processes for a while.
    SteppedDown,
    /// The election has ended.
    Ended,
}

impl ElectionState {
    pub(super) fn new(core: Arc<LockCore>) -> Self {
        Self {
            core,
            state: Mutex::new(State::Following),
            refusal: Mutex::new(None),
            stopped: CancellationToken::new(),
        }
    }

    pub(super) fn core(&self) -> &Arc<LockCore> {
        &self.core
    }

    /// Cancelled when the owner of the election has stopped or dropped it.
    pub(super) fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hold(&self) -> Option<Hold> {
        match &*self.state() {
            State::Leading(guard) => Some(guard.hold().clone()).filter(Hold::is_held),
            State::Following | State::SteppedDown | State::Ended => None,
        }
    }

    /// Begins to lead. If the election has ended, the guard comes back, to be dropped.
    pub(super) fn lead(&self, guard: LeaseGuard) -> Result<(), LeaseGuard> {
        let mut state = self.state();
        match *state {
            State::Ended => Err(guard),
            State::Following | State::Leading(_) | State::SteppedDown => {
                *state = State::Leading(guard);
                Ok(())
            }
        }
    }

    /// Clears a leadership that is over. Returns whether this process has stepped down.
    pub(super) fn clear(&self) -> bool {
        let mut state = self.state();
        let lost = match *state {
            State::Leading(_) => replace(&mut *state, State::Following),
            State::SteppedDown => return true,
            State::Following | State::Ended => return false,
        };
        drop(state);
        drop(lost);
        false
    }

    /// Stands for election again, after this process has stepped down.
    pub(super) fn stand_again(&self) {
        let mut state = self.state();
        if matches!(*state, State::SteppedDown) {
            *state = State::Following;
        }
    }

    pub(super) fn step_down(&self) -> Option<LeaseGuard> {
        let mut state = self.state();
        match *state {
            State::Leading(ref guard) if guard.is_held() => replace(&mut *state, State::SteppedDown).guard(),
            // A leadership that is lost is cleared by the background task.
            State::Leading(_) | State::Following | State::SteppedDown | State::Ended => None,
        }
    }

    pub(super) fn end(&self) -> Option<LeaseGuard> {
        replace(&mut *self.state(), State::Ended).guard()
    }

    pub(super) fn has_stepped_down(&self) -> bool {
        matches!(*self.state(), State::SteppedDown)
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(*self.state(), State::Ended)
    }

    /// Why this process cannot lead. `None` while nothing refuses it any more: if a write was refused, once the server accepts
    /// one; otherwise while this process waits for another holder. A refusal that may pass is told too, while it lasts.
    pub(super) fn refusal(&self) -> Option<AcquireError> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let progress = self.core.progress();
        let refusal = refusal.filter(|refusal| match refusal {
            AcquireError::Forbidden(request) if matches!(request.verb(), "patch" | "update") => {
                !progress.may_write()
            }
            _ => progress.get().0.is_none(),
        });
        refusal.or_else(|| progress.refusal())
    }

    pub(super) fn set_refusal(&self, refusal: Option<AcquireError>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// Why the election has ended.
    pub(super) fn end_error(&self) -> AcquireError {
        let lease = self.core.lease();
        match self.core.check_open() {
            Err(shut_down) => shut_down,
            Ok(()) if self.stopped.is_cancelled() => AcquireError::Stopped(lease.clone()),
            Ok(()) => AcquireError::TaskEnded(lease.clone()),
        }
    }
}

impl State {
    fn guard(self) -> Option<LeaseGuard> {
        match self {
            State::Leading(guard) => Some(guard),
            State::Following | State::SteppedDown | State::Ended => None,
        }
    }
}

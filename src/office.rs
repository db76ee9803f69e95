//! The leader's office: what an election shares with its background task.

use std::mem::replace;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::error::AcquireError;
use crate::guard::LeaseGuard;
use crate::held::Held;
use crate::lock::LeaseLock;

/// What an election shares with its background task.
#[derive(Debug)]
pub(crate) struct Office {
    lock: LeaseLock,
    seat: Mutex<Seat>,
    refusal: Mutex<Option<AcquireError>>,
    stopped: CancellationToken,
}

/// Who leads, as far as this process is concerned. The guard is here, not with the background task, so that
/// giving leadership up does not depend on that task.
#[derive(Debug)]
enum Seat {
    Vacant,
    Taken(LeaseGuard),
    /// Left to others for a while.
    Yielded,
    /// Never to be taken again.
    Closed,
}

impl Office {
    pub(crate) fn new(lock: LeaseLock) -> Self {
        Self {
            lock,
            seat: Mutex::new(Seat::Vacant),
            refusal: Mutex::new(None),
            stopped: CancellationToken::new(),
        }
    }

    pub(crate) fn lock(&self) -> &LeaseLock {
        &self.lock
    }

    /// Cancelled when the owner wants no more.
    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn held(&self) -> Option<Held> {
        match &*self.seat() {
            Seat::Taken(guard) => Some(guard.held().clone()).filter(Held::is_held),
            Seat::Vacant | Seat::Yielded | Seat::Closed => None,
        }
    }

    /// Closed, it gives the guard back to be dropped.
    pub(crate) fn take(&self, guard: LeaseGuard) -> Result<(), LeaseGuard> {
        let mut seat = self.seat();
        match *seat {
            Seat::Closed => Err(guard),
            Seat::Vacant | Seat::Taken(_) | Seat::Yielded => {
                *seat = Seat::Taken(guard);
                Ok(())
            }
        }
    }

    /// Clears what is left of a leadership that is over. Whether it was yielded to others.
    pub(crate) fn vacate(&self) -> bool {
        let mut seat = self.seat();
        let left = match *seat {
            Seat::Closed => return false,
            Seat::Vacant | Seat::Taken(_) | Seat::Yielded => replace(&mut *seat, Seat::Vacant),
        };
        drop(seat);
        matches!(left, Seat::Yielded)
    }

    pub(crate) fn step_down(&self) -> Option<LeaseGuard> {
        let mut seat = self.seat();
        match *seat {
            Seat::Taken(_) => replace(&mut *seat, Seat::Yielded).guard(),
            Seat::Vacant | Seat::Yielded | Seat::Closed => None,
        }
    }

    pub(crate) fn close(&self) -> Option<LeaseGuard> {
        replace(&mut *self.seat(), Seat::Closed).guard()
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(*self.seat(), Seat::Closed)
    }

    pub(crate) fn refusal(&self) -> Option<AcquireError> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Whoever waits for another is not refused any more.
        refusal.filter(|_| self.lock.progress().get().0.is_none())
    }

    pub(crate) fn set_refusal(&self, refusal: Option<AcquireError>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// Why the election has ended, if not by its owner's wish.
    pub(crate) fn over(&self) -> AcquireError {
        let ended = || AcquireError::TaskEnded(self.lock.lease().clone());
        self.lock.check_open().err().unwrap_or_else(ended)
    }
}

impl Seat {
    fn guard(self) -> Option<LeaseGuard> {
        match self {
            Seat::Taken(guard) => Some(guard),
            Seat::Vacant | Seat::Yielded | Seat::Closed => None,
        }
    }
}

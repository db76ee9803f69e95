//! The state of an acquisition for callers that wait, or have stopped waiting.

use std::sync::{Mutex, PoisonError};

use crate::error::RequestError;
use crate::lease::LeaseHolder;

/// The holder that was seen last, and the last request if it failed.
#[derive(Default)]
pub(crate) struct Progress(Mutex<(Option<LeaseHolder>, Option<RequestError>)>);

impl Progress {
    pub(crate) fn observed(&self, holder: Option<LeaseHolder>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (holder, None);
    }

    pub(crate) fn failed(&self, error: RequestError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(error);
    }

    pub(crate) fn get(&self) -> (Option<LeaseHolder>, Option<RequestError>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

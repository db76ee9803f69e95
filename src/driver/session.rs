//! The context and the memory with which the driver of one acquisition works.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::fifo::Fifo;
use super::memory::Memory;
use super::progress::Progress;
use crate::clock::Clock;
use crate::kubernetes::LeaseClient;
use crate::protocol::{AcquireState, Instant, Timings};
use crate::settings::CreateMode;

/// The values that are known when the acquisition starts.
pub(crate) struct Context {
    pub client: Arc<LeaseClient>,
    pub clock: Clock,
    pub timings: Timings,
    pub create_mode: CreateMode,
    /// The holder identity, unique to this acquisition.
    pub me: String,
    pub rng: fastrand::Rng,
    pub progress: Arc<Progress>,
    pub fifo: Fifo<Memory>,
}

/// The context, and the memory: this task is the one of its process that acquires or holds the Lease.
pub(crate) struct Session {
    pub context: Box<Context>,
    pub memory: OwnedMutexGuard<Memory>,
}

impl Context {
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The longest pause between two tries of a failing request.
    pub(super) fn max_pause(&self) -> Duration {
        self.timings.renew_interval / 4
    }
}

impl Session {
    /// The machine of this acquisition. It goes on from what the previous acquisition left.
    pub(super) fn acquire_state(&mut self) -> AcquireState {
        let carryover = std::mem::take(&mut self.memory.carryover);
        let Context { me, timings, .. } = &*self.context;
        AcquireState::new(me.clone(), self.memory.queue_policy.ticket(), *timings, carryover)
    }
}

//! The context and the exclusive state with which the driver of one acquisition works.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::exclusive::Exclusive;
use super::fifo::Fifo;
use super::progress::Progress;
use crate::clock::Clock;
use crate::kubernetes::LeaseClient;
use crate::protocol::{AcquireState, CreateMode, Instant, Mode, Timings};

/// The values that are known when the acquisition starts.
pub(crate) struct Context {
    pub client: Arc<LeaseClient>,
    pub clock: Clock,
    pub timings: Timings,
    pub create_mode: CreateMode,
    /// Whether the hold ends if a coordinator prefers another holder.
    pub yields: bool,
    /// The holder identity, unique to this acquisition.
    pub me: String,
    /// The key of the work for which the lock is acquired.
    pub key: Option<String>,
    /// When the caller asked for the lock.
    pub asked: Instant,
    pub rng: fastrand::Rng,
    pub progress: Arc<Progress>,
    pub fifo: Fifo<Exclusive>,
}

/// The context, and the exclusive state: this task is the one of its process that acquires or holds the Lease.
pub(crate) struct Session {
    pub context: Box<Context>,
    pub exclusive: OwnedMutexGuard<Exclusive>,
}

impl Context {
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Session {
    /// The machine of this acquisition.
    pub(crate) fn acquire_state(&mut self, mode: Mode) -> AcquireState {
        let Self { context, exclusive } = self;
        exclusive.begin();
        let Context { me, key, create_mode, timings, asked, .. } = &**context;
        let memory = &mut exclusive.memory;
        AcquireState::new(me.clone(), mode, *create_mode, *timings, memory, context.now())
            .asked_at(*asked)
            .for_key(key.clone())
    }
}

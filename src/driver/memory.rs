//! The memory of a process about the Lease, from one acquisition to the next.

use std::sync::Arc;

use tokio::sync::{OwnedMutexGuard, oneshot};

use super::fifo::Fifo;
use super::stop::Unfinished;
use super::watcher::Watcher;
use crate::clock::Clock;
use crate::kubernetes::LeaseClient;
use crate::protocol::{Carryover, ContentionWindow, ExpiryTracker, Instant, QueuePolicy, Ticket};
use crate::settings::Settings;

/// The memory of a process about the Lease. The task that has it is the one task of this process that acquires or holds
/// the Lease.
pub(crate) struct Memory {
    pub expiry: ExpiryTracker,
    pub carryover: Carryover,
    pub watcher: Watcher,
    pub queue_policy: QueuePolicy,
    pub contention: ContentionWindow,
    /// How often in a row the Lease was handed off within this process.
    pub hand_offs: u32,
    /// Whether this lock has created the Lease.
    pub created: bool,
    /// What the previous acquisition has left to do.
    pub unfinished: Option<Unfinished>,
    /// Dropped when the next acquisition begins.
    next_begins: Option<oneshot::Sender<()>>,
}

impl Memory {
    pub(crate) fn new(client: Arc<LeaseClient>, clock: Clock, settings: &Settings, ticket: Ticket) -> Self {
        // The watcher has randomness of its own: what it draws changes nothing that others draw.
        let watcher = Watcher::new(client, clock, fastrand::Rng::with_seed(ticket.0));
        Self {
            expiry: ExpiryTracker::new(settings.timings.lease_duration, settings.max_clock_skew),
            carryover: Carryover::Unknown,
            watcher,
            queue_policy: QueuePolicy::new(ticket),
            contention: ContentionWindow::default(),
            hand_offs: 0,
            created: false,
            unfinished: None,
            next_begins: None,
        }
    }

    /// An acquisition begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.next_begins = None;
        self.queue_policy.acquiring(now);
        self.watcher.begin();
    }

    /// An acquisition ends. The receiver is ready when the next acquisition begins, or at once if no open watch waits for
    /// that.
    pub(super) fn end(&mut self) -> oneshot::Receiver<()> {
        self.watcher.end(self.carryover.revision());
        let (next_begins, begins) = oneshot::channel();
        self.next_begins = Some(next_begins).filter(|_| self.watcher.is_open());
        begins
    }
}

impl Fifo<Memory> {
    /// The memory, if an acquisition has left something to do, or the Lease was handed off, and all tasks that could go on have
    /// gone.
    ///
    /// The task that left it calls this afterwards, and so does each task that leaves the FIFO. One of them is the last, and
    /// finds the orphan.
    pub(crate) fn orphan(&self) -> Option<OwnedMutexGuard<Memory>> {
        if self.is_waited_for() {
            return None;
        }
        self.try_take().filter(|memory| {
            memory.unfinished.is_some() || matches!(memory.carryover, Carryover::HandedOff { .. })
        })
    }
}

//! The state that one task of a process has at a time: the memory of the lock, and its watch.

use std::sync::Arc;

use tokio::sync::{OwnedMutexGuard, oneshot};

use super::fifo::Fifo;
use super::stop::Unfinished;
use super::watcher::Watcher;
use crate::kubernetes::LeaseClient;
use crate::protocol::{Instant, Memory};
use crate::settings::Settings;

/// The memory of a lock, and its watch. The task that has them is the one task of this process that acquires or holds the
/// Lease.
pub(crate) struct Exclusive {
    pub memory: Memory,
    pub watcher: Watcher,
    /// The work that the previous acquisition has left to do.
    pub unfinished: Option<Unfinished>,
    /// Dropped when the next acquisition begins.
    next_begins: Option<oneshot::Sender<()>>,
}

impl Exclusive {
    /// `number` stands on the ticket of this lock.
    pub(crate) fn new(client: Arc<LeaseClient>, settings: &Settings, number: u32) -> Self {
        Self {
            memory: Memory::new(&settings.timings, settings.max_clock_skew, number),
            watcher: Watcher::new(client),
            unfinished: None,
            next_begins: None,
        }
    }

    /// An acquisition begins.
    pub(super) fn begin(&mut self) {
        self.next_begins = None;
    }

    /// An acquisition ends. The receiver is ready when the next acquisition begins, or at once if no open watch waits for
    /// that.
    pub(super) fn end(&mut self, now: Instant) -> oneshot::Receiver<()> {
        self.memory.ended(now);
        let (next_begins, begins) = oneshot::channel();
        self.next_begins = Some(next_begins).filter(|_| self.watcher.is_open());
        begins
    }

    /// Closes the watch, because nobody needs it.
    pub(super) fn close_watch(&mut self) {
        self.watcher.close();
        self.memory.watch.close();
    }
}

impl Fifo<Exclusive> {
    /// The state, if an acquisition has left something to do, or the Lease was handed off, and all tasks that could go on have
    /// gone.
    ///
    /// The task that left it calls this afterwards, and so does each task that leaves the FIFO. One of them is the last, and
    /// finds the orphan.
    pub(crate) fn orphan(&self) -> Option<OwnedMutexGuard<Exclusive>> {
        if self.is_waited_for() {
            return None;
        }
        let has_orphan = |exclusive: &OwnedMutexGuard<Exclusive>| {
            exclusive.unfinished.is_some() || exclusive.memory.has_hand_off()
        };
        self.try_take().filter(has_orphan)
    }
}

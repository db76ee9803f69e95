//! The turns of one lock's tasks: one at a time contends for the Lease, or holds it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::error::RequestError;
use crate::line::Line;
use crate::pace::Spread;
use crate::protocol::{Judge, Left};
use crate::time::Moment;
use crate::watcher::Watcher;

/// What one process remembers about the Lease from one acquisition to the next. Whoever has it locked is the
/// one task of this process that contends for, or holds, the Lease.
pub(crate) struct Turn {
    pub judge: Judge,
    pub left: Left,
    pub watcher: Watcher,
    pub line: Line,
    pub spread: Spread,
    /// How often in a row the Lease was handed on within this process.
    pub passes: u32,
    /// Whether this lock has created the Lease.
    pub created: bool,
    /// Whether it was said already that watching is forbidden.
    pub warned: bool,
    /// Dropped when the next acquisition begins.
    next: Option<oneshot::Sender<()>>,
}

impl Turn {
    pub(crate) fn new(judge: Judge, watcher: Watcher, line: Line) -> Self {
        Self {
            judge,
            left: Left::Unknown,
            watcher,
            line,
            spread: Spread::default(),
            passes: 0,
            created: false,
            warned: false,
            next: None,
        }
    }

    /// An acquisition begins.
    pub(crate) fn begin(&mut self, now: Moment) {
        self.next = None;
        self.line.acquires(now);
        self.watcher.begin();
    }

    /// An acquisition ends. Completes when the next one begins; at once, if no watch waits for that.
    pub(crate) fn end(&mut self) -> oneshot::Receiver<()> {
        self.watcher.end(self.left.revision());
        let (next, begins) = oneshot::channel();
        self.next = Some(next).filter(|_| self.watcher.is_open());
        begins
    }

    /// Says it once.
    pub(crate) fn warn_forbidden_watch(&mut self, error: &RequestError) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(%error, "watching the Lease is forbidden: waiters poll, holders learn of a takeover by their next renewal; grant the verb watch");
        }
    }
}

/// The line of one process's tasks, first come, first served.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Inner>);

struct Inner {
    turn: Arc<Mutex<Turn>>,
    waiting: AtomicUsize,
}

/// A turn, or a place in line for it. Dropped, it gives either up.
pub(crate) enum Entry {
    Turn(OwnedMutexGuard<Turn>),
    Place(Place),
}

/// A place in line.
pub(crate) struct Place {
    turns: Turns,
    turn: Pin<Box<dyn Future<Output = OwnedMutexGuard<Turn>> + Send>>,
}

impl Turns {
    pub(crate) fn new(turn: Turn) -> Self {
        Self(Arc::new(Inner { turn: Arc::new(Mutex::new(turn)), waiting: AtomicUsize::new(0) }))
    }

    /// Gets in line, behind everybody who has called before.
    pub(crate) async fn enter(&self) -> Entry {
        let mut turn = Box::pin(self.0.turn.clone().lock_owned());
        match poll_fn(|context| Poll::Ready(turn.as_mut().poll(context))).await {
            Poll::Ready(turn) => Entry::Turn(turn),
            Poll::Pending => {
                self.0.waiting.fetch_add(1, Ordering::SeqCst);
                Entry::Place(Place { turns: self.clone(), turn })
            }
        }
    }

    /// The turn, if nobody has it.
    pub(crate) fn try_enter(&self) -> Option<OwnedMutexGuard<Turn>> {
        self.0.turn.clone().try_lock_owned().ok()
    }

    /// Waits until the turns that were asked for before are over.
    pub(crate) async fn last_over(&self) {
        drop(self.0.turn.lock().await);
    }

    /// Whether a task of this process waits for its turn.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst) > 0
    }

    /// The turn, where a Lease was handed on to tasks that are all gone.
    ///
    /// To be asked for by whoever handed it on and by whoever left the line, after they have done so: one of the two
    /// is the later one, and finds it.
    pub(crate) fn abandoned(&self) -> Option<OwnedMutexGuard<Turn>> {
        if self.is_waited_for() {
            return None;
        }
        self.try_enter().filter(|turn| matches!(turn.left, Left::Passed { .. }))
    }
}

impl Place {
    pub(crate) fn leave(self) -> Turns {
        self.turns.clone()
    }

    /// Cancel safe: the place is kept.
    pub(crate) async fn turn(&mut self) -> OwnedMutexGuard<Turn> {
        self.turn.as_mut().await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.turns.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

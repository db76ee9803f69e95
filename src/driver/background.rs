//! A background task that its owner can also poll itself.
//!
//! An owner that requests a stop cannot rely on the runtime of the task: nobody may drive that runtime any more. So the owner
//! polls the task once on its own thread. All that needs no answer of the API server is then done at once.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::task::unconstrained;

/// The owner's access to a background task. Dropping it does not end the task.
pub(crate) struct BackgroundTask {
    runtime: Handle,
    shared: Shared,
}

type Shared = Arc<Mutex<Task>>;

struct Task {
    /// `None` when the task has ended.
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Wakes the task on its runtime. `None` until the runtime has polled it.
    waker: Option<Waker>,
}

/// The future that the runtime polls.
struct OnRuntime(Shared);

impl BackgroundTask {
    pub(crate) fn spawn(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) -> Self {
        let shared = Arc::new(Mutex::new(Task { future: Some(Box::pin(task)), waker: None }));
        runtime.spawn(OnRuntime(shared.clone()));
        Self { runtime: runtime.clone(), shared }
    }

    /// Polls the task once, on this thread, unless another thread does so now. The runtime goes on with the task afterwards. If the
    /// task panics, for example because a layer of the client does, it ends as it does on its runtime: the owner goes on.
    pub(crate) fn poll_once(&self) {
        if Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed()) {
            // This thread ends, and cannot enter a runtime.
            return;
        }
        let Ok(mut task) = self.shared.try_lock() else { return };
        let _entered = self.runtime.enter();
        let waker = task.waker.clone().unwrap_or(Waker::noop().clone());
        // The caller may have used up its own budget of polls.
        let mut polling = pin!(unconstrained(poll_fn(|context| task.poll(context))));
        let poll = AssertUnwindSafe(|| polling.as_mut().poll(&mut Context::from_waker(&waker)));
        let polled = catch_unwind(poll).unwrap_or_else(|_| {
            tracing::error!(target: "lease_lock", "the background task of a lock has panicked");
            Poll::Ready(())
        });
        if polled.is_ready() {
            // A future that has panicked cannot be polled again.
            drop(task.future.take());
        }
        drop(task);
        if polled.is_ready() {
            // The runtime can drop the task now.
            waker.wake();
        }
    }
}

impl std::fmt::Debug for BackgroundTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackgroundTask").finish_non_exhaustive()
    }
}

impl Task {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(future) = &mut self.future else { return Poll::Ready(()) };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

impl OnRuntime {
    fn task(&self) -> MutexGuard<'_, Task> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for OnRuntime {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut task = self.task();
        if !task.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            task.waker = Some(context.waker().clone());
        }
        task.poll(context)
    }
}

impl Drop for OnRuntime {
    /// The runtime has ended, or the task has.
    fn drop(&mut self) {
        let future = self.task().future.take();
        drop(future);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_task_that_panics_ends_and_its_owner_goes_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = polls.clone();
        let task = BackgroundTask::spawn(runtime.handle(), async move {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("a layer of the client panics");
        });
        task.poll_once();
        task.poll_once();
        runtime.block_on(tokio::task::yield_now());
        assert_eq!(polls.load(Ordering::SeqCst), 1);
    }
}

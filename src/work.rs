//! Runs the work of a user under a hold, and stops it in time.
//!
//! The clock is read before each poll of the work. So the work makes no step after a process or a machine stood still for too long,
//! even if no timer has run yet.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::hold::Hold;

/// The holds of one lock under which work runs.
#[derive(Debug, Default)]
pub(crate) struct Works(Mutex<Vec<(u64, Hold)>>);

/// Work that runs. It has ended when this is dropped.
struct Running {
    works: Arc<Works>,
    number: u64,
}

/// Runs `work` until it ends, or the hold does. `None`: the hold has ended first, and the work was dropped.
pub(crate) async fn while_held<W: Future>(hold: &Hold, works: &Arc<Works>, work: W) -> Option<W::Output> {
    let lost = hold.token();
    let output = run_while(hold, works, Hold::is_held, lost.cancelled(), work).await;
    output.filter(|_| hold.is_held())
}

/// Runs `work` until it ends, or until it has to be over: see [`Hold::stop_by`]. `None`: it was not over then, and was dropped.
pub(crate) async fn until_stop_by<W: Future>(hold: &Hold, works: &Arc<Works>, work: W) -> Option<W::Output> {
    let lost = hold.token();
    let overdue = async {
        lost.cancelled().await;
        tokio::time::sleep_until(hold.stop_by()).await;
    };
    run_while(hold, works, |hold| !hold.time_to_stop().is_zero(), overdue, work).await
}

/// Runs `work` until `over` is ready. Before each poll it asks `may_run`, which reads the clock.
async fn run_while<W: Future>(
    hold: &Hold,
    works: &Arc<Works>,
    may_run: impl Fn(&Hold) -> bool,
    over: impl Future<Output = ()>,
    work: W,
) -> Option<W::Output> {
    let _running = Running::new(works, hold);
    let mut work = pin!(work);
    let running =
        poll_fn(
            |context| {
                if may_run(hold) { work.as_mut().poll(context).map(Some) } else { Poll::Ready(None) }
            },
        );
    tokio::select! {
        biased;
        () = over => None,
        output = running => output,
    }
}

impl Works {
    fn running(&self) -> MutexGuard<'_, Vec<(u64, Hold)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.running().is_empty()
    }

    /// Whether work runs whose hold has ended so long ago that another process may hold the Lease.
    pub(crate) fn is_overdue(&self) -> bool {
        self.running().iter().any(|(_, hold)| hold.time_to_stop() == Duration::ZERO)
    }
}

impl Running {
    fn new(works: &Arc<Works>, hold: &Hold) -> Self {
        let mut running = works.running();
        let number = running.last().map_or(0, |(last, _)| last + 1);
        running.push((number, hold.clone()));
        drop(running);
        Self { works: works.clone(), number }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.works.running().retain(|(number, _)| *number != self.number);
    }
}

//! A simulated machine. The test sets the rate of its clock, and can freeze its tasks.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::store::lock;
use crate::clock;

/// The machine that a lock runs on, for
/// [`LeaseLockBuilder::machine`](crate::LeaseLockBuilder::machine).
///
/// All its time comes from tokio's clock, including the time of day. Under `start_paused` every run is therefore the
/// same. Cheap to clone; all clones are the same machine.
#[derive(Clone, Debug)]
pub struct Machine {
    rate: f64,
    wall: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    suspended: Duration,
    stepped_back: Duration,
    frozen: bool,
    wakers: Vec<Waker>,
}

impl Machine {
    /// A machine whose clock starts at 2020-01-01 00:00 UTC.
    #[must_use]
    pub fn new() -> Self {
        Self { rate: 1.0, wall: Duration::from_secs(1_577_836_800), state: Arc::default() }
    }

    /// Sets the rate of its clock: 1.01 is one per cent fast. The default is 1.
    #[doc(hidden)]
    #[must_use]
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// Sets its time of day, since the Unix epoch, at the moment when a lock is built.
    #[doc(hidden)]
    #[must_use]
    pub fn wall(mut self, since_epoch: Duration) -> Self {
        self.wall = since_epoch;
        self
    }

    /// Simulates a suspend of length `span` that ends now: the clock went on, timers did not.
    pub fn suspended_for(&self, span: Duration) {
        lock(&self.state).suspended += span;
    }

    /// Steps its time of day back by `span`, as NTP or an administrator may do.
    #[doc(hidden)]
    pub fn step_back(&self, span: Duration) {
        lock(&self.state).stepped_back += span;
    }

    /// Stops its tasks, as a hypervisor or `SIGSTOP` may do. Its clock goes on.
    pub fn freeze(&self) {
        lock(&self.state).frozen = true;
    }

    /// Lets its tasks go on.
    pub fn thaw(&self) {
        let wakers = {
            let mut state = lock(&self.state);
            state.frozen = false;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Runs a task on this machine. A lock runs its own tasks on its machine without this call.
    pub async fn run<F: Future>(&self, task: F) -> F::Output {
        clock::Clock::of(self.clone()).run(task).await
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl clock::Machine for Machine {
    fn passed(&self, elapsed: Duration) -> Duration {
        elapsed.mul_f64(self.rate) + lock(&self.state).suspended
    }

    fn timer(&self, span: Duration) -> Duration {
        span.div_f64(self.rate)
    }

    fn wall(&self, elapsed: Duration) -> Duration {
        (self.wall + self.passed(elapsed)).saturating_sub(lock(&self.state).stepped_back)
    }

    fn poll_runs(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if !state.frozen {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::clock::Clock;
    use crate::protocol::WallTime;

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_is_ahead_and_its_timers_are_early() {
        let clock = Clock::of(Machine::new().rate(1.01).wall(Duration::from_secs(7)));
        let (before, start) = (clock.now(), Instant::now());
        clock.sleep_until(before + Duration::from_secs(101)).await;
        let took = start.elapsed();
        assert!((100_000..=100_002).contains(&took.as_millis()), "{took:?}");
        assert!((108_000_000..108_010_000).contains(&clock.wall().0), "{:?}", clock.wall());
        assert!(clock.wall() > WallTime(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_frozen_machine_runs_no_tasks() {
        let machine = Machine::new();
        let start = Instant::now();
        let task = tokio::spawn({
            let machine = machine.clone();
            async move { machine.run(sleep(Duration::from_secs(1))).await }
        });
        sleep(Duration::from_millis(500)).await;
        machine.freeze();
        sleep(Duration::from_secs(10)).await;
        assert!(!task.is_finished());
        machine.thaw();
        assert!(task.await.is_ok() && start.elapsed() < Duration::from_secs(11));
    }
}

//! A machine of the test's own: its clock runs as fast as the test wants, and it can stand still.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::store::lock;
use crate::clock;

/// The machine that a lock runs on, for
/// [`LeaseLockBuilder::machine`](crate::LeaseLockBuilder::machine).
///
/// All its time comes from tokio's clock, the time of day too: under `start_paused` nothing differs from one run to
/// the next. Cheap to clone; all clones are the same machine.
#[derive(Clone, Debug)]
pub struct Machine {
    rate: f64,
    wall: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    suspended: Duration,
    turned_back: Duration,
    stands_still: bool,
    waiting: Vec<Waker>,
}

impl Machine {
    /// A machine whose clock keeps good time, at 2020-01-01 00:00 UTC.
    #[must_use]
    pub fn new() -> Self {
        Self { rate: 1.0, wall: Duration::from_secs(1_577_836_800), state: Arc::default() }
    }

    /// How fast its clock runs: 1.01 is one per cent fast. The default is 1.
    #[must_use]
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// Its time of day, since the Unix epoch, at the moment when a lock is built.
    #[must_use]
    pub fn wall(mut self, since_epoch: Duration) -> Self {
        self.wall = since_epoch;
        self
    }

    /// It was suspended for so long just now: its clock went on, timers did not.
    pub fn suspended_for(&self, span: Duration) {
        lock(&self.state).suspended += span;
    }

    /// Its time of day is set back by so much, as NTP or an administrator may do.
    pub fn turn_back(&self, span: Duration) {
        lock(&self.state).turned_back += span;
    }

    /// From now on its tasks stand still, as if paused by a hypervisor or by `SIGSTOP`; its clock goes on.
    pub fn freeze(&self) {
        lock(&self.state).stands_still = true;
    }

    /// Its tasks go on.
    pub fn thaw(&self) {
        let waiting = {
            let mut state = lock(&self.state);
            state.stands_still = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Runs a task on this machine. The tasks of a lock are run on its machine anyway.
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
        (self.wall + self.passed(elapsed)).saturating_sub(lock(&self.state).turned_back)
    }

    fn poll_runs(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if !state.stands_still {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waiting.push(context.waker().clone());
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
    async fn a_fast_clock_is_ahead_and_its_timers_early() {
        let clock = Clock::of(Machine::new().rate(1.01).wall(Duration::from_secs(7)));
        let (before, start) = (clock.now(), Instant::now());
        clock.sleep_until(before + Duration::from_secs(101)).await;
        let took = start.elapsed();
        assert!((100_000..=100_002).contains(&took.as_millis()), "{took:?}");
        assert!((108_000_000..108_010_000).contains(&clock.wall().0), "{:?}", clock.wall());
        assert!(clock.wall() > WallTime(0));
    }

    #[tokio::test(start_paused = true)]
    async fn its_tasks_stand_still_while_it_is_frozen() {
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

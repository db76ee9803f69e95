//! The two clocks of the crate: a steady clock that counts suspended time, and the wall clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant as TokioInstant;

use crate::protocol::{Instant, WallTime};

/// The time on this machine.
///
/// It is built on tokio's clock, so that the crate also runs under tokio's paused test clock. tokio's clock stands still while
/// the machine is suspended; this clock adds the suspended time.
#[derive(Clone)]
pub(crate) struct Clock {
    origin: TokioInstant,
    machine: Arc<dyn Machine>,
}

/// The machine that a clock runs on.
pub(crate) trait Machine: Send + Sync {
    /// The time that has passed on this machine, suspended time included, while `elapsed` has passed on tokio's clock.
    fn passed(&self, elapsed: Duration) -> Duration;

    /// How long a timer on tokio's clock has to be for `span` on this machine.
    fn timer(&self, span: Duration) -> Duration {
        span
    }

    /// The time of day, since the Unix epoch, when `elapsed` has passed on tokio's clock.
    fn wall(&self, elapsed: Duration) -> Duration;

    /// Pending while the machine stands still.
    #[cfg(feature = "testing")]
    fn poll_runs(&self, _: &std::task::Context<'_>) -> std::task::Poll<()> {
        std::task::Poll::Ready(())
    }
}

impl Clock {
    /// Timers complete up to this much late.
    pub(crate) const GRANULARITY: Duration = Duration::from_millis(1);

    /// No timer is longer than this, so that a machine that wakes up soon notices how late it is.
    const MAX_TIMER: Duration = Duration::from_secs(1);

    pub(crate) fn system() -> Self {
        Self::of(ThisMachine { suspended_before: suspended_since_boot() })
    }

    pub(crate) fn of(machine: impl Machine + 'static) -> Self {
        Self { origin: TokioInstant::now(), machine: Arc::new(machine) }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_origin(self.machine.passed(self.origin.elapsed()))
    }

    pub(crate) fn wall(&self) -> WallTime {
        WallTime(0) + self.machine.wall(self.origin.elapsed())
    }

    /// Completes at `instant`, or up to [`GRANULARITY`](Self::GRANULARITY) after it.
    pub(crate) async fn sleep_until(&self, instant: Instant) {
        loop {
            let left = self.now().until(instant);
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(self.machine.timer(left.min(Self::MAX_TIMER))).await;
        }
    }

    /// As [`sleep_until`](Self::sleep_until), but as late as the machine was suspended meanwhile. It wakes up only at its end, and
    /// so costs nothing while it waits.
    pub(crate) async fn sleep_through_suspension_until(&self, instant: Instant) {
        loop {
            let left = self.now().until(instant);
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(self.machine.timer(left)).await;
        }
    }

    /// Runs a task on this machine: it stands still while the machine does.
    #[cfg(feature = "testing")]
    pub(crate) async fn run<F: Future>(&self, task: F) -> F::Output {
        let mut task = std::pin::pin!(task);
        std::future::poll_fn(|context| {
            std::task::ready!(self.machine.poll_runs(context));
            task.as_mut().poll(context)
        })
        .await
    }

    /// Runs a task on this machine.
    #[cfg(not(feature = "testing"))]
    #[allow(
        clippy::unused_self,
        reason = "with the feature `testing`, the machine decides when the task runs"
    )]
    pub(crate) async fn run<F: Future>(&self, task: F) -> F::Output {
        task.await
    }
}

/// The machine that this process runs on.
struct ThisMachine {
    suspended_before: Duration,
}

impl Machine for ThisMachine {
    fn passed(&self, elapsed: Duration) -> Duration {
        elapsed + suspended_since_boot().saturating_sub(self.suspended_before)
    }

    /// The wall clock. If tokio's clock is paused, the wall clock follows it.
    fn wall(&self, _: Duration) -> Duration {
        let (virtual_now, real_now) = (TokioInstant::now().into_std(), std::time::Instant::now());
        let ahead = virtual_now.saturating_duration_since(real_now);
        let behind = real_now.saturating_duration_since(virtual_now);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (since_epoch + ahead).saturating_sub(behind)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// How long this machine has been suspended since it started.
///
/// It is the difference between two clocks, which are read one after the other. A difference that is too small for a
/// suspension is the time between the two readings. That time is far below the second that separates every `renew_deadline`
/// from its `lease_duration`.
#[cfg(target_os = "linux")]
fn suspended_since_boot() -> Duration {
    use rustix::time::{ClockId, Timespec, clock_gettime};

    const MAX_READING_GAP: Duration = Duration::from_millis(10);
    let duration = |time: Timespec| Duration::try_from(time).unwrap_or_default();
    let running = duration(clock_gettime(ClockId::Monotonic));
    let total = duration(clock_gettime(ClockId::Boottime));
    Some(total.saturating_sub(running)).filter(|suspended| *suspended > MAX_READING_GAP).unwrap_or_default()
}

/// Only Linux reports suspended time. Elsewhere the clock of a suspended machine stands still.
#[cfg(not(target_os = "linux"))]
fn suspended_since_boot() -> Duration {
    Duration::ZERO
}

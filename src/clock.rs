//! The clocks that everything else reads: one steady, which counts time spent suspended, and the wall clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::time::{Moment, Stamp};

/// Time on this machine.
///
/// Built on tokio's clock, so that everything here runs under tokio's paused test clock as well. tokio's clock
/// stands still while the machine is suspended; the time spent so is added.
#[derive(Clone)]
pub(crate) struct Clock {
    origin: Instant,
    machine: Arc<dyn Machine>,
}

/// What a clock is told by the machine it runs on.
pub(crate) trait Machine: Send + Sync {
    /// The time that passed here, suspend included, while `elapsed` passed on tokio's clock.
    fn passed(&self, elapsed: Duration) -> Duration;

    /// How much of tokio's time a timer for `span` of this machine's time needs.
    fn timer(&self, span: Duration) -> Duration {
        span
    }

    /// The time of day, since the Unix epoch, when `elapsed` has passed on tokio's clock.
    fn wall(&self, elapsed: Duration) -> Duration;

    /// Not ready while the machine stands still.
    #[cfg(feature = "testing")]
    fn poll_runs(&self, _: &std::task::Context<'_>) -> std::task::Poll<()> {
        std::task::Poll::Ready(())
    }
}

impl Clock {
    /// Timers complete up to this much late.
    pub(crate) const GRANULARITY: Duration = Duration::from_millis(1);

    /// No sleep is longer than this, so that a machine that wakes up notices soon how late it is.
    const LONGEST_NAP: Duration = Duration::from_secs(1);

    pub(crate) fn system() -> Self {
        Self::of(ThisMachine { suspended_before: suspended_since_boot() })
    }

    pub(crate) fn of(machine: impl Machine + 'static) -> Self {
        Self { origin: Instant::now(), machine: Arc::new(machine) }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::from_origin(self.machine.passed(self.origin.elapsed()))
    }

    pub(crate) fn wall(&self) -> Stamp {
        Stamp(0) + self.machine.wall(self.origin.elapsed())
    }

    /// Completes at `moment`, or up to [`GRANULARITY`](Self::GRANULARITY) after it.
    pub(crate) async fn sleep_until(&self, moment: Moment) {
        loop {
            let left = self.now().until(moment);
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(self.machine.timer(left.min(Self::LONGEST_NAP))).await;
        }
    }

    /// A task of this machine: it stands still when the machine does.
    #[cfg(feature = "testing")]
    pub(crate) async fn run<F: Future>(&self, task: F) -> F::Output {
        let mut task = std::pin::pin!(task);
        std::future::poll_fn(|context| {
            std::task::ready!(self.machine.poll_runs(context));
            task.as_mut().poll(context)
        })
        .await
    }

    /// A task of this machine.
    #[cfg(not(feature = "testing"))]
    #[allow(clippy::unused_self, reason = "a machine of the test's own has a say in it")]
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

    /// The wall clock. Where tokio's clock is paused, it goes by that one.
    fn wall(&self, _: Duration) -> Duration {
        let (virtual_now, real_now) = (Instant::now().into_std(), std::time::Instant::now());
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
/// The difference of two clocks that are read one after the other: differences too small to be a suspension
/// are the time between the readings. All of it is below the second that separates every `renew_deadline`
/// from its `lease_duration`.
#[cfg(target_os = "linux")]
fn suspended_since_boot() -> Duration {
    use rustix::time::{ClockId, Timespec, clock_gettime};

    const READING: Duration = Duration::from_millis(10);
    let duration = |time: Timespec| Duration::try_from(time).unwrap_or_default();
    let running = duration(clock_gettime(ClockId::Monotonic));
    let total = duration(clock_gettime(ClockId::Boottime));
    Some(total.saturating_sub(running)).filter(|suspended| *suspended > READING).unwrap_or_default()
}

/// Only Linux tells; elsewhere a suspended machine's clock stands still.
#[cfg(not(target_os = "linux"))]
fn suspended_since_boot() -> Duration {
    Duration::ZERO
}

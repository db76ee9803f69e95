//! The clocks that everything else reads: one steady, which counts time spent suspended, and the wall clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::protocol::{Moment, Stamp};

/// Time on this machine.
///
/// Built on tokio's clock, so that everything here runs under tokio's paused test clock as well. tokio's clock
/// stands still while the machine is suspended; the time spent so is added.
#[derive(Clone)]
pub(crate) struct Clock {
    origin: Instant,
    suspended: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// Timers complete up to this much late.
    pub(crate) const GRANULARITY: Duration = Duration::from_millis(1);

    /// No sleep is longer than this, so that a machine that wakes up notices soon how late it is.
    const LONGEST_NAP: Duration = Duration::from_secs(1);

    pub(crate) fn system() -> Self {
        let before = suspended_since_boot();
        Self::with_suspension(move || suspended_since_boot().saturating_sub(before))
    }

    /// A clock told from elsewhere how long the machine has been suspended.
    pub(crate) fn with_suspension(suspended: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { origin: Instant::now(), suspended: Arc::new(suspended) }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::from_origin(self.origin.elapsed() + (self.suspended)())
    }

    /// The wall clock. Where tokio's clock is paused, it goes by that one.
    #[allow(clippy::unused_self, reason = "a clock is asked for every kind of time")]
    pub(crate) fn wall(&self) -> Stamp {
        let (virtual_now, real_now) = (Instant::now().into_std(), std::time::Instant::now());
        let ahead = virtual_now.saturating_duration_since(real_now);
        let behind = real_now.saturating_duration_since(virtual_now);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Stamp(0) + (since_epoch + ahead).saturating_sub(behind)
    }

    /// Completes at `moment`, or up to [`GRANULARITY`](Self::GRANULARITY) after it.
    pub(crate) async fn sleep_until(&self, moment: Moment) {
        loop {
            let left = self.now().until(moment);
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(Self::LONGEST_NAP)).await;
        }
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

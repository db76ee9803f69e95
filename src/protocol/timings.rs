//! The durations that the machines obey.

use std::time::Duration;

/// The largest relative rate error that is assumed of any clock: 1 %. NTP keeps real clocks within 0.05 %.
pub(crate) const CLOCK_RATE_ERROR: f64 = 0.01;

/// The durations that the machines obey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Timings {
    /// How long a contender waits after the last change of the record before it takes over.
    pub lease_duration: Duration,
    /// How long the holder trusts the Lease after it has sent the last write that succeeded: `renew_deadline`, less the
    /// granularity of the timer that cancels the token.
    pub token_deadline: Duration,
    /// The time from sending one successful write to sending the next.
    pub renew_interval: Duration,
    /// How long an acquisition waits for the first answer of an API server, and goes on after refusals that may pass.
    pub startup_timeout: Duration,
    /// The longest pause between two tries of a failing request.
    pub max_pause: Duration,
}

impl Timings {
    /// The work has to be over so long before another process can take over.
    const STOP_MARGIN: Duration = Duration::from_secs(1);

    /// How long after the deadline of a hold its work may still stop, in any case.
    pub(crate) fn grace(&self) -> Duration {
        // The contender counts with a clock that is faster, from the sending of the last renewal at the earliest.
        let takeover = self.lease_duration.mul_f64((1.0 - CLOCK_RATE_ERROR) / (1.0 + CLOCK_RATE_ERROR));
        takeover.saturating_sub(self.token_deadline + Self::STOP_MARGIN)
    }
}

#[cfg(test)]
impl Timings {
    /// The defaults of a lock.
    pub(crate) const DEFAULTS: Self = Self {
        lease_duration: Duration::from_secs(15),
        token_deadline: Duration::from_secs(10),
        renew_interval: Duration::from_secs(5),
        startup_timeout: Duration::from_secs(60),
        max_pause: Duration::from_millis(1_250),
    };
}

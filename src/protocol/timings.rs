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

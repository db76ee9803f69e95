//! Pauses between tries.

use std::time::Duration;

use super::request::Outcome;

/// Pauses that double with each failure in a row.
///
/// Each pause is drawn between one half and all of its nominal length: "equal jitter" in Brooker, *Exponential Backoff And
/// Jitter* (AWS Architecture Blog, 2015).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Backoff {
    failures: u32,
    max_pause: Duration,
}

impl Backoff {
    const FIRST_PAUSE: Duration = Duration::from_millis(100);

    /// The same after claims that came too late: that only means that another process was quicker.
    const FIRST_CLAIM_PAUSE: Duration = Duration::from_millis(5);

    pub(crate) fn new(max_pause: Duration) -> Self {
        Self { failures: 0, max_pause }
    }

    /// Whether nothing has failed since the last success.
    pub(crate) fn is_fresh(&self) -> bool {
        self.failures == 0
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more request that failed with this outcome. There is none after a first conflict: the read that
    /// follows comes at once.
    pub(super) fn failed_with(&mut self, outcome: &Outcome, rng: &mut fastrand::Rng) -> Duration {
        let first_conflict = *outcome == Outcome::Conflict && self.is_fresh();
        let retry_after = match outcome {
            Outcome::InDoubt { retry_after, .. } => *retry_after,
            _ => None,
        };
        let pause = self.failed(retry_after, rng);
        if first_conflict { Duration::ZERO } else { pause }
    }

    /// The pause after one more claim that came too late. There is none after the first.
    pub(super) fn came_too_late(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let first = self.is_fresh();
        let pause = self.next(Self::FIRST_CLAIM_PAUSE, None, rng);
        if first { Duration::ZERO } else { pause }
    }

    /// The pause after one more failure: at least as long as the server asked for.
    pub(crate) fn failed(&mut self, retry_after: Option<Duration>, rng: &mut fastrand::Rng) -> Duration {
        self.next(Self::FIRST_PAUSE, retry_after, rng)
    }

    fn next(&mut self, first: Duration, retry_after: Option<Duration>, rng: &mut fastrand::Rng) -> Duration {
        let nominal = first.saturating_mul(1 << self.failures.min(16)).min(self.max_pause);
        self.failures += 1;
        jittered(nominal, rng).max(retry_after.unwrap_or_default())
    }
}

/// Between one half and all of `nominal`.
pub(crate) fn jittered(nominal: Duration, rng: &mut fastrand::Rng) -> Duration {
    nominal.mul_f64(0.5 + rng.f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_that_come_too_late_pause_briefly_at_first_and_then_as_long_as_other_failures() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(Duration::from_secs(2));
        for nominal in [0, 10, 20, 40, 80, 160, 320, 640, 1280, 2000] {
            let pause = backoff.came_too_late(&mut rng);
            let nominal = Duration::from_millis(nominal);
            assert!(pause >= nominal / 2 && pause <= nominal, "{pause:?} for {nominal:?}");
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_limit_and_starts_over() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(Duration::from_secs(2));
        for nominal in [100, 200, 400, 800, 1600, 2000, 2000] {
            let pause = backoff.failed(None, &mut rng);
            let nominal = Duration::from_millis(nominal);
            assert!(pause >= nominal / 2 && pause <= nominal, "{pause:?} for {nominal:?}");
        }
        for _ in 0..100 {
            assert!(backoff.failed(None, &mut rng) <= Duration::from_secs(2));
        }
        backoff.succeeded();
        assert!(backoff.failed(None, &mut rng) <= Backoff::FIRST_PAUSE);
        assert_eq!(backoff.failed(Some(Duration::from_secs(7)), &mut rng), Duration::from_secs(7));
    }
}

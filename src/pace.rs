//! How fast to try again: after failures, and after colliding with other contenders.

use std::hash::BuildHasher;
use std::time::Duration;

/// Pauses that double with every failure in a row, with jitter.
///
/// Each pause is drawn between half of its nominal length and all of it: "equal jitter", after Brooker,
/// *Exponential Backoff And Jitter* (AWS Architecture Blog, 2015).
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    failures: u32,
    longest: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);

    pub(crate) fn new(longest: Duration) -> Self {
        Self { failures: 0, longest }
    }

    /// Whether nothing has failed since the last success.
    pub(crate) fn is_fresh(&self) -> bool {
        self.failures == 0
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure, not shorter than what the server asked for.
    pub(crate) fn failed(&mut self, retry_after: Option<Duration>, rng: &mut fastrand::Rng) -> Duration {
        let nominal = Self::FIRST.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures += 1;
        jittered(nominal, rng).max(retry_after.unwrap_or_default())
    }
}

/// Between half of `nominal` and all of it.
pub(crate) fn jittered(nominal: Duration, rng: &mut fastrand::Rng) -> Duration {
    nominal.mul_f64(0.5 + rng.f64() / 2.0)
}

/// A window over which colliding contenders spread their claims.
///
/// Zero as long as nobody collides, so a lone waiter claims at once; doubled by each collision, halved by each
/// win.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spread {
    window: Duration,
}

impl Spread {
    const FIRST: Duration = Duration::from_millis(4);
    const WIDEST: Duration = Duration::from_millis(250);
    const NONE_BELOW: Duration = Duration::from_millis(1);

    pub(crate) fn collided(&mut self) {
        self.window = (self.window * 2).clamp(Self::FIRST, Self::WIDEST);
    }

    pub(crate) fn won(&mut self) {
        self.window /= 2;
        if self.window < Self::NONE_BELOW {
            self.window = Duration::ZERO;
        }
    }

    pub(crate) fn pause(&self, rng: &mut fastrand::Rng) -> Duration {
        self.window.mul_f64(rng.f64())
    }
}

/// Seeded by the operating system, by way of the standard library.
pub(crate) fn seeded_rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(std::hash::RandomState::new().hash_one(0))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(backoff.failed(None, &mut rng) <= Backoff::FIRST);
        assert_eq!(backoff.failed(Some(Duration::from_secs(7)), &mut rng), Duration::from_secs(7));
    }

    #[test]
    fn only_collisions_spread_claims() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut spread = Spread::default();
        assert_eq!(spread.pause(&mut rng), Duration::ZERO);
        for _ in 0..20 {
            spread.collided();
            assert!(spread.pause(&mut rng) <= Spread::WIDEST);
        }
        assert_eq!(spread.window, Spread::WIDEST);
        for _ in 0..20 {
            spread.won();
        }
        assert_eq!(spread.pause(&mut rng), Duration::ZERO);
    }
}

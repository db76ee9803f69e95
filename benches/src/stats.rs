//! Measured durations and their statistics.

use std::fmt;
use std::time::Duration;

/// Measured durations, in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The duration that this share of the samples, from 0 to 1, does not exceed (by nearest rank).
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = (share * self.len() as f64).ceil() as usize;
        self.0.get(rank.max(1) - 1).copied().unwrap_or_default()
    }

    pub(crate) fn p50(&self) -> Duration {
        self.quantile(0.5)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    pub(crate) fn max(&self) -> Duration {
        self.quantile(1.0)
    }

    pub(crate) fn mean(&self) -> Duration {
        self.0
            .iter()
            .sum::<Duration>()
            .checked_div(u32::try_from(self.len()).unwrap_or(u32::MAX))
            .unwrap_or_default()
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        let mut samples: Vec<_> = samples.into_iter().collect();
        samples.sort_unstable();
        Self(samples)
    }
}

/// The ratio of two durations.
pub(crate) fn ratio(this: Duration, that: Duration) -> f64 {
    this.as_secs_f64() / that.as_secs_f64()
}

/// A duration with three significant digits, in the fitting unit.
#[derive(Clone, Copy)]
pub(crate) struct Short(pub(crate) Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let (value, unit) = match seconds {
            1.0.. => (seconds, "s"),
            1e-3.. => (seconds * 1e3, "ms"),
            _ => (seconds * 1e6, "µs"),
        };
        let digits = match value {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        write!(f, "{value:.digits$} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples: Samples = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(samples.p50(), Duration::from_millis(100));
        assert_eq!(samples.p99(), Duration::from_millis(198));
        assert_eq!(samples.max(), Duration::from_millis(200));
        assert_eq!(samples.mean(), Duration::from_micros(100_500));
        assert_eq!(Samples::default().p50(), Duration::ZERO);
    }

    #[test]
    fn durations_are_short() {
        let short = |micros| Short(Duration::from_micros(micros)).to_string();
        assert_eq!(short(950), "950 µs");
        assert_eq!(short(3_806), "3.81 ms");
        assert_eq!(short(15_120_000), "15.1 s");
    }
}

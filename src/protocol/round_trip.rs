//! How long it takes this process to act on the Lease, as measured by its own requests.

use std::time::Duration;

/// The time from the sending of a request until its effect is seen, by the answer or by the watch, whichever is later.
///
/// That is also the time from a release in the API server to the arrival of a claim of this process there, because both
/// are one event on its way to this process and one request on its way back. A watch that lags and a process that is throttled
/// count in.
///
/// The estimate is that of TCP: a smoothed value and a smoothed variation (Jacobson and Karels, 1988; RFC 6298).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct RoundTrip {
    /// `None`: nothing has been measured yet.
    smoothed: Option<Duration>,
    variation: Duration,
    /// Whether the last sample was left out.
    left_out: bool,
}

impl RoundTrip {
    const MAX_VARIATION: Duration = Duration::from_secs(1);

    /// The least time for which a sample counts as far out of line: the first one, and a later one.
    const MIN_FIRST_OUTLIER: Duration = Duration::from_secs(2);
    const MIN_OUTLIER: Duration = Duration::from_millis(200);

    pub(crate) fn measured(&mut self, sample: Duration) {
        // A request or its answer was lost, and repeated. If that comes twice in a row, it is the usual time.
        let least = if self.smoothed.is_some() { Self::MIN_OUTLIER } else { Self::MIN_FIRST_OUTLIER };
        let outlier = sample > (4 * self.bound()).max(least);
        self.left_out = outlier && !self.left_out;
        if self.left_out {
            return;
        }
        let Some(smoothed) = self.smoothed else {
            (self.smoothed, self.variation) = (Some(sample), sample / 2);
            return;
        };
        self.variation = self.variation * 3 / 4 + smoothed.abs_diff(sample) / 4;
        self.smoothed = Some(smoothed * 7 / 8 + sample / 8);
    }

    /// Another process acted first although this one should have been quick enough.
    pub(crate) fn exceeded(&mut self) {
        self.variation = (self.variation * 2).max(self.typical() / 4).min(Self::MAX_VARIATION);
    }

    /// The usual time; zero if nothing has been measured yet.
    pub(crate) fn typical(&self) -> Duration {
        self.smoothed.unwrap_or_default()
    }

    /// A time that is seldom exceeded.
    pub(crate) fn bound(&self) -> Duration {
        self.typical() + self.uncertainty()
    }

    /// How much longer than usual it may take.
    pub(crate) fn uncertainty(&self) -> Duration {
        4 * self.variation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_measurement_counts_fully() {
        let mut trip = RoundTrip::default();
        assert_eq!((trip.typical(), trip.bound()), (Duration::ZERO, Duration::ZERO));
        trip.measured(80 * MILLISECOND);
        assert_eq!((trip.typical(), trip.bound()), (80 * MILLISECOND, 240 * MILLISECOND));
    }

    #[test]
    fn a_steady_time_narrows_the_bound_and_an_unsteady_one_widens_it() {
        let mut trip = RoundTrip::default();
        (0..100).for_each(|_| trip.measured(80 * MILLISECOND));
        assert!(trip.bound() < 81 * MILLISECOND, "{trip:?}");
        trip.measured(400 * MILLISECOND);
        assert!(trip.bound() < 81 * MILLISECOND, "one sample far out of line is left out: {trip:?}");
        trip.measured(400 * MILLISECOND);
        assert!(trip.typical() < 130 * MILLISECOND && trip.bound() > 400 * MILLISECOND, "{trip:?}");
    }
}

//! The two kinds of time: a process's own steady clock, and the wall clock whose times stand in records.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time on this process's own steady clock. It is never compared with the clock of another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) const ORIGIN: Self = Self(Duration::ZERO);

    pub(crate) fn from_origin(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    pub(crate) fn since_origin(self) -> Duration {
        self.0
    }

    /// The time from `self` to `later`; zero if `later` is not later.
    pub(crate) fn until(self, later: Instant) -> Duration {
        later.0.saturating_sub(self.0)
    }

    /// The instant `span` before this one, or the origin.
    pub(crate) fn before(self, span: Duration) -> Instant {
        Instant(self.0.saturating_sub(span))
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates: an absurd duration means "never" and does not panic.
    fn add(self, span: Duration) -> Instant {
        Instant(self.0.saturating_add(span))
    }
}

/// A wall-clock time as a Lease carries it: microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WallTime(pub i64);

impl WallTime {
    const SECOND: i64 = 1_000_000;

    /// The whole second of this time: client-go compares no more than that.
    pub(crate) fn second(self) -> i64 {
        self.0.div_euclid(Self::SECOND)
    }

    /// This time, or the next second after `last` if this time is not in a later second.
    pub(crate) fn after(self, last: WallTime) -> WallTime {
        if self.second() > last.second() { self } else { last.next_second() }
    }

    /// This time, or the next second if `other` is in the same second.
    pub(crate) fn distinct_from(self, other: Option<WallTime>) -> WallTime {
        let same = other.is_some_and(|other| other.second() == self.second());
        if same { self.next_second() } else { self }
    }

    /// The same time, unless the type cannot express it.
    pub(crate) fn system_time(self) -> Option<SystemTime> {
        let span = Duration::from_micros(self.0.unsigned_abs());
        if self.0 < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) }
    }

    /// The same time in whole microseconds.
    pub(crate) fn of_system_time(time: SystemTime) -> Self {
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(micros(after)),
            Err(before) => Self(-micros(before.duration())),
        }
    }

    /// The time from `self` to `later`; zero if `later` is not later.
    pub(crate) fn until(self, later: WallTime) -> Duration {
        Duration::from_micros(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or_default())
    }

    fn next_second(self) -> WallTime {
        WallTime((self.second() + 1).saturating_mul(Self::SECOND))
    }
}

impl std::ops::Add<Duration> for WallTime {
    type Output = WallTime;

    fn add(self, span: Duration) -> WallTime {
        WallTime(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_times_never_share_a_second() {
        let now = WallTime(10_500_000);
        assert_eq!(now.distinct_from(None), now);
        assert_eq!(now.distinct_from(Some(WallTime(9_999_999))), now);
        assert_eq!(now.distinct_from(Some(WallTime(10_000_001))), WallTime(11_000_000));
        assert_eq!(now.after(WallTime(9_999_999)), now);
        assert_eq!(now.after(WallTime(10_400_000)), WallTime(11_000_000));
        assert_eq!(now.after(WallTime(77_700_000)), WallTime(78_000_000));
    }

    #[test]
    fn a_system_time_is_the_same_time() {
        for micros in [0, 1, -1, 1_700_000_000_123_456, -1_700_000_000_123_456] {
            let time = WallTime(micros).system_time().unwrap();
            assert_eq!(WallTime::of_system_time(time), WallTime(micros));
        }
    }

    #[test]
    fn adding_an_absurd_duration_saturates() {
        assert!(Instant::from_origin(Duration::MAX) + Duration::MAX == Instant::from_origin(Duration::MAX));
        assert_eq!(WallTime(1) + Duration::MAX, WallTime(i64::MAX));
    }
}

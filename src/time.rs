//! The two kinds of time: a process's own steady clock, and the wall clock stamped into records.

use std::time::Duration;

/// A point on this process's own clock. Never compared with anybody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(Duration);

impl Moment {
    pub(crate) const ORIGIN: Self = Self(Duration::ZERO);

    pub(crate) fn from_origin(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    pub(crate) fn since_origin(self) -> Duration {
        self.0
    }

    /// The time from `self` to `later`; zero if that has passed.
    pub(crate) fn until(self, later: Moment) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    /// Saturates: an absurd duration means "never", not a panic.
    fn add(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(span))
    }
}

/// A wall-clock time as Leases carry it: microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp(pub i64);

impl Stamp {
    const SECOND: i64 = 1_000_000;

    /// The whole second of this stamp: all that client-go sees of it.
    pub(crate) fn second(self) -> i64 {
        self.0.div_euclid(Self::SECOND)
    }

    /// This stamp, or the next second after `last` if this one is not in a later second.
    pub(crate) fn after(self, last: Stamp) -> Stamp {
        if self.second() > last.second() { self } else { last.next_second() }
    }

    /// This stamp, or the next second if `other` is in the same one.
    pub(crate) fn distinct_from(self, other: Option<Stamp>) -> Stamp {
        let same = other.is_some_and(|other| other.second() == self.second());
        if same { self.next_second() } else { self }
    }

    fn next_second(self) -> Stamp {
        Stamp((self.second() + 1).saturating_mul(Self::SECOND))
    }
}

impl std::ops::Add<Duration> for Stamp {
    type Output = Stamp;

    fn add(self, span: Duration) -> Stamp {
        Stamp(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_avoid_each_others_seconds() {
        let now = Stamp(10_500_000);
        assert_eq!(now.distinct_from(None), now);
        assert_eq!(now.distinct_from(Some(Stamp(9_999_999))), now);
        assert_eq!(now.distinct_from(Some(Stamp(10_000_001))), Stamp(11_000_000));
        assert_eq!(now.after(Stamp(9_999_999)), now);
        assert_eq!(now.after(Stamp(10_400_000)), Stamp(11_000_000));
        assert_eq!(now.after(Stamp(77_700_000)), Stamp(78_000_000));
    }

    #[test]
    fn adding_an_absurd_duration_saturates() {
        assert!(Moment::from_origin(Duration::MAX) + Duration::MAX == Moment::from_origin(Duration::MAX));
        assert_eq!(Stamp(1) + Duration::MAX, Stamp(i64::MAX));
    }
}

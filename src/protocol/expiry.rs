//! Whether a Lease that another process may hold can be claimed, or until when it is held.

use std::time::Duration;

use super::record::{Record, Snapshot};
use super::time::{Instant, WallTime};

/// Observes the records of other holders, and decides by this process's own clock when they expire.
///
/// Invariants:
///
/// 1. A foreign record is held for the holder's own `leaseDurationSeconds`, counted from the instant at which this process
///    first *received* exactly this record.
/// 2. Any change of the record, or another object, restarts the wait.
/// 3. The record of a hold of this process that was lost expires a lease duration after the last write of that hold was sent.
/// 4. No remote timestamp is compared with a local clock, so wall clocks may differ by any amount. The one exception is
///    `max_clock_skew`, which the user has to set.
///
/// The rule is that of client-go's `leaderelection` package (`observedRecord` and `observedTime`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ExpiryTracker {
    /// How long a record without a duration of its own is held.
    fallback_duration: Duration,
    /// How far wall clocks may differ. If set, they are trusted when a record is seen for the first time.
    max_clock_skew: Option<Duration>,
    observed: Option<Observed>,
    /// The last hold of this process that ended without a release: its holder, and when it sent its last write.
    own: Option<(String, Instant)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Observed {
    uid: String,
    record: Record,
    expires: Instant,
}

/// Whether the Lease can be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Availability {
    /// It can be claimed, in exactly the observed state.
    Claimable,
    /// It is held. If nothing is heard until this instant, it can be claimed then.
    HeldUntil(Instant),
}

impl ExpiryTracker {
    pub(crate) fn new(fallback_duration: Duration, max_clock_skew: Option<Duration>) -> Self {
        Self { fallback_duration, max_clock_skew, observed: None, own: None }
    }

    /// A hold of this process ended, and its record may still be in the Lease.
    pub(crate) fn lost(&mut self, holder: String, last_sent: Instant) {
        self.own = Some((holder, last_sent));
    }

    /// Takes the state that was received at `now` (`None`: there is no Lease), and decides for the contender `me`.
    pub(crate) fn observe(
        &mut self,
        me: &str,
        seen: Option<&Snapshot>,
        now: Instant,
        wall: WallTime,
    ) -> Availability {
        let held = seen.and_then(|snapshot| Some((snapshot, snapshot.record.holder.as_deref()?)));
        // A record of this very acquisition is a claim of ours without an answer. No guard came of it.
        let Some((snapshot, _)) = held.filter(|(_, holder)| *holder != me) else {
            self.observed = None;
            return Availability::Claimable;
        };
        let expires = self.expiry(snapshot, now, wall);
        if expires <= now { Availability::Claimable } else { Availability::HeldUntil(expires) }
    }

    /// When the record in this state, which was received at `now`, expires or has expired.
    pub(super) fn expiry(&mut self, snapshot: &Snapshot, now: Instant, wall: WallTime) -> Instant {
        if let Some((own, last_sent)) = &self.own
            && snapshot.record.holder.as_ref() == Some(own)
        {
            return *last_sent + self.duration(&snapshot.record);
        }
        if let Some(known) = &self.observed
            && known.uid == snapshot.version.uid
            && known.record == snapshot.record
        {
            return known.expires;
        }
        let record = &snapshot.record;
        let expires = if self.expired_long_ago(record, wall) { now } else { now + self.duration(record) };
        let observed = Observed { uid: snapshot.version.uid.clone(), record: record.clone(), expires };
        self.observed = Some(observed);
        expires
    }

    fn duration(&self, record: &Record) -> Duration {
        record.duration.unwrap_or(self.fallback_duration)
    }

    fn expired_long_ago(&self, record: &Record, wall: WallTime) -> bool {
        let (Some(skew), Some(renewed)) = (self.max_clock_skew, record.renewed) else {
            return false;
        };
        renewed + self.duration(record) + skew < wall
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{DoneKeys, Queue, Version};

    const LEASE_DURATION: Duration = Duration::from_secs(15);
    const WALL: WallTime = WallTime(1_000_000_000);

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    fn held(by: &str, renewed: i64, seconds: Option<u64>) -> Snapshot {
        let record = Record {
            holder: (!by.is_empty()).then(|| by.to_owned()),
            duration: seconds.map(Duration::from_secs),
            renewed: Some(WallTime(renewed)),
            ..Record::EMPTY
        };
        let version = Version { uid: "u".into(), revision: 5 };
        Snapshot { version, record, queue: Queue::default(), done: DoneKeys::Empty }
    }

    fn contender() -> ExpiryTracker {
        ExpiryTracker::new(LEASE_DURATION, None)
    }

    #[test]
    fn an_absent_or_released_lease_may_be_claimed_at_once() {
        assert_eq!(contender().observe("me", None, at(0), WALL), Availability::Claimable);
        assert_eq!(
            contender().observe("me", Some(&held("", 1, Some(1))), at(0), WALL),
            Availability::Claimable
        );
    }

    #[test]
    fn a_held_lease_is_held_for_the_holders_own_duration_from_its_first_receipt() {
        let mut me = contender();
        let theirs = held("them", 1, Some(40));
        assert_eq!(me.observe("me", Some(&theirs), at(100), WALL), Availability::HeldUntil(at(140)));
        assert_eq!(me.observe("me", Some(&theirs), at(139), WALL), Availability::HeldUntil(at(140)));
        assert_eq!(me.observe("me", Some(&theirs), at(140), WALL), Availability::Claimable);
    }

    #[test]
    fn a_lost_hold_of_this_process_expires_a_lease_duration_after_its_last_write() {
        let mut me = contender();
        me.lost("former".into(), at(80));
        assert_eq!(
            me.observe("me", Some(&held("former", 1, Some(15))), at(90), WALL),
            Availability::HeldUntil(at(95))
        );
        assert_eq!(
            me.observe("me", Some(&held("former", 2, Some(15))), at(96), WALL),
            Availability::Claimable
        );
        assert_eq!(
            me.observe("me", Some(&held("them", 1, Some(15))), at(96), WALL),
            Availability::HeldUntil(at(111))
        );
    }

    #[test]
    fn any_change_of_the_record_or_a_new_object_restarts_the_wait() {
        let mut me = contender();
        me.observe("me", Some(&held("them", 1, Some(15))), at(0), WALL);
        assert_eq!(
            me.observe("me", Some(&held("them", 2, Some(15))), at(14), WALL),
            Availability::HeldUntil(at(29))
        );
        let mut recreated = held("them", 2, Some(15));
        recreated.version.uid = "v".into();
        assert_eq!(me.observe("me", Some(&recreated), at(20), WALL), Availability::HeldUntil(at(35)));
    }

    #[test]
    fn an_edit_beside_the_record_does_not_restart_the_wait() {
        let mut me = contender();
        let mut theirs = held("them", 1, Some(15));
        me.observe("me", Some(&theirs), at(0), WALL);
        theirs.version.revision = 9;
        assert_eq!(me.observe("me", Some(&theirs), at(14), WALL), Availability::HeldUntil(at(15)));
    }

    #[test]
    fn a_holder_without_times_or_duration_is_still_a_holder() {
        let mut theirs = held("them", 1, None);
        theirs.record.renewed = None;
        assert_eq!(contender().observe("me", Some(&theirs), at(0), WALL), Availability::HeldUntil(at(15)));
    }

    #[test]
    fn remote_times_change_nothing_without_a_clock_skew() {
        for renewed in [i64::MIN, 0, i64::MAX] {
            let availability = contender().observe("me", Some(&held("them", renewed, Some(15))), at(0), WALL);
            assert_eq!(availability, Availability::HeldUntil(at(15)), "renewed at {renewed}");
        }
    }

    #[test]
    fn a_clock_skew_takes_over_only_what_expired_longer_ago() {
        let skewed = || ExpiryTracker::new(LEASE_DURATION, Some(Duration::from_secs(60)));
        let ago = |seconds: i64| held("them", WALL.0 - seconds * 1_000_000, Some(15));
        assert_eq!(skewed().observe("me", Some(&ago(76)), at(0), WALL), Availability::Claimable);
        assert_eq!(skewed().observe("me", Some(&ago(75)), at(0), WALL), Availability::HeldUntil(at(15)));
        assert_eq!(
            skewed().observe("me", Some(&held("them", i64::MAX, None)), at(0), WALL),
            Availability::HeldUntil(at(15))
        );
    }

    #[test]
    fn a_duration_of_years_is_honoured_without_overflow() {
        let availability = contender().observe("me", Some(&held("them", 1, Some(u64::MAX))), at(5), WALL);
        assert!(matches!(availability, Availability::HeldUntil(until) if until > at(1 << 40)));
    }

    #[test]
    fn an_unanswered_claim_of_ones_own_may_be_claimed_again() {
        assert_eq!(
            contender().observe("me", Some(&held("me", 1, Some(15))), at(0), WALL),
            Availability::Claimable
        );
    }

    prop_compose! {
        /// One of few records, so that repetitions are common, with times of any age.
        fn sightings()(
            by in prop::sample::select(vec!["", "me", "them", "others"]),
            renewed in prop::sample::select(vec![i64::MIN, 0, WALL.0, i64::MAX]),
            seconds in prop::sample::select(vec![None, Some(0), Some(1), Some(20), Some(u64::MAX)]),
            recreated in any::<bool>(),
            pause in 0..30_u64,
        ) -> (u64, Snapshot) {
            let mut seen = held(by, renewed, seconds);
            seen.version.uid = if recreated { "v" } else { "u" }.into();
            (pause, seen)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The rule once more, over the whole history instead of step by step.
        #[test]
        fn only_a_record_that_stood_unchanged_for_its_duration_is_claimable(
            history in prop::collection::vec(sightings(), 1..12),
        ) {
            let (mut tracker, mut now) = (contender(), 0);
            let mut since: Option<(Snapshot, u64)> = None;
            for (pause, seen) in history {
                now += pause;
                since = since.filter(|(same, _)| *same == seen).or(Some((seen.clone(), now)));
                let first = since.as_ref().map_or(now, |(_, first)| *first);
                let holder = seen.record.holder.as_deref().filter(|holder| *holder != "me");
                let wait = Duration::from_secs(first).saturating_add(seen.record.duration.unwrap_or(LEASE_DURATION));
                let free = holder.is_none() || wait <= Duration::from_secs(now);
                let expected = if free { Availability::Claimable } else { Availability::HeldUntil(Instant::from_origin(wait)) };
                prop_assert_eq!(tracker.observe("me", Some(&seen), at(now), WALL), expected);
            }
        }
    }
}

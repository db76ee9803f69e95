//! May this Lease be claimed, or until when must it be left alone?

use std::time::Duration;

use super::{Moment, Stamp};
use crate::record::{Record, Snapshot};

/// Judges a Lease by this process's own clock only.
///
/// A foreign record is left alone for the holder's own `leaseDurationSeconds`, counted from when this
/// process first *received* that exact record; any change of the record restarts the wait. No remote
/// timestamp meets a local clock, so wall clocks may differ by any amount. The rule is that of client-go's
/// `leaderelection` package.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Judge {
    /// How long a record without a duration of its own is left alone.
    fallback_duration: Duration,
    /// Opt-in: how far wall clocks may differ where they are trusted at first sight.
    max_clock_skew: Option<Duration>,
    observed: Option<Observed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Observed {
    uid: String,
    record: Record,
    expires: Moment,
}

/// May the Lease be claimed?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    /// Claim it, on exactly the state that was judged.
    Claim,
    /// Somebody holds it. Without any news it may be claimed at this moment.
    Wait(Moment),
}

impl Judge {
    pub(crate) fn new(fallback_duration: Duration, max_clock_skew: Option<Duration>) -> Self {
        Self { fallback_duration, max_clock_skew, observed: None }
    }

    /// Judges what was received at `now` (`None`: there is no Lease) on behalf of `me`.
    pub(crate) fn judge(&mut self, me: &str, seen: Option<&Snapshot>, now: Moment, wall: Stamp) -> Verdict {
        let held = seen.and_then(|snapshot| Some((snapshot, snapshot.record.holder.as_deref()?)));
        // A record of this very acquisition is a claim of ours whose answer was lost. No guard came of it.
        let Some((snapshot, _)) = held.filter(|(_, holder)| *holder != me) else {
            self.observed = None;
            return Verdict::Claim;
        };
        let expires = self.expiry(snapshot, now, wall);
        if expires <= now { Verdict::Claim } else { Verdict::Wait(expires) }
    }

    fn expiry(&mut self, snapshot: &Snapshot, now: Moment, wall: Stamp) -> Moment {
        if let Some(known) = &self.observed
            && known.uid == snapshot.version.uid
            && known.record == snapshot.record
        {
            return known.expires;
        }
        let record = &snapshot.record;
        let expires = if self.long_dead(record, wall) { now } else { now + self.duration(record) };
        let observed = Observed { uid: snapshot.version.uid.clone(), record: record.clone(), expires };
        self.observed = Some(observed);
        expires
    }

    fn duration(&self, record: &Record) -> Duration {
        record.duration.unwrap_or(self.fallback_duration)
    }

    fn long_dead(&self, record: &Record, wall: Stamp) -> bool {
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
    use crate::queue::Queue;
    use crate::record::Version;

    const D: Duration = Duration::from_secs(15);
    const WALL: Stamp = Stamp(1_000_000_000);

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    fn held(by: &str, renewed: i64, seconds: Option<u64>) -> Snapshot {
        let record = Record {
            holder: (!by.is_empty()).then(|| by.to_owned()),
            duration: seconds.map(Duration::from_secs),
            acquired: None,
            renewed: Some(Stamp(renewed)),
            transitions: 0,
        };
        Snapshot { version: Version { uid: "u".into(), revision: 5 }, record, queue: Queue::default() }
    }

    fn contender() -> Judge {
        Judge::new(D, None)
    }

    #[test]
    fn an_absent_or_released_lease_may_be_claimed_at_once() {
        assert_eq!(contender().judge("me", None, at(0), WALL), Verdict::Claim);
        assert_eq!(contender().judge("me", Some(&held("", 1, Some(1))), at(0), WALL), Verdict::Claim);
    }

    #[test]
    fn a_held_lease_is_left_alone_for_the_holders_own_duration_from_first_receipt() {
        let mut me = contender();
        let theirs = held("them", 1, Some(40));
        assert_eq!(me.judge("me", Some(&theirs), at(100), WALL), Verdict::Wait(at(140)));
        assert_eq!(me.judge("me", Some(&theirs), at(139), WALL), Verdict::Wait(at(140)));
        assert_eq!(me.judge("me", Some(&theirs), at(140), WALL), Verdict::Claim);
    }

    #[test]
    fn any_change_of_the_record_or_a_new_object_restarts_the_wait() {
        let mut me = contender();
        me.judge("me", Some(&held("them", 1, Some(15))), at(0), WALL);
        assert_eq!(me.judge("me", Some(&held("them", 2, Some(15))), at(14), WALL), Verdict::Wait(at(29)));
        let mut recreated = held("them", 2, Some(15));
        recreated.version.uid = "v".into();
        assert_eq!(me.judge("me", Some(&recreated), at(20), WALL), Verdict::Wait(at(35)));
    }

    #[test]
    fn an_edit_beside_the_record_does_not_restart_the_wait() {
        let mut me = contender();
        let mut theirs = held("them", 1, Some(15));
        me.judge("me", Some(&theirs), at(0), WALL);
        theirs.version.revision = 9;
        assert_eq!(me.judge("me", Some(&theirs), at(14), WALL), Verdict::Wait(at(15)));
    }

    #[test]
    fn a_holder_without_times_or_duration_is_still_a_holder() {
        let mut theirs = held("them", 1, None);
        theirs.record.renewed = None;
        assert_eq!(contender().judge("me", Some(&theirs), at(0), WALL), Verdict::Wait(at(15)));
    }

    #[test]
    fn ancient_or_future_remote_times_change_nothing_unless_opted_in() {
        for renewed in [i64::MIN, 0, i64::MAX] {
            let verdict = contender().judge("me", Some(&held("them", renewed, Some(15))), at(0), WALL);
            assert_eq!(verdict, Verdict::Wait(at(15)), "renewed at {renewed}");
        }
    }

    #[test]
    fn an_opted_in_skew_takes_over_only_what_is_dead_beyond_it() {
        let skewed = || Judge::new(D, Some(Duration::from_secs(60)));
        let ago = |seconds: i64| held("them", WALL.0 - seconds * 1_000_000, Some(15));
        assert_eq!(skewed().judge("me", Some(&ago(76)), at(0), WALL), Verdict::Claim);
        assert_eq!(skewed().judge("me", Some(&ago(75)), at(0), WALL), Verdict::Wait(at(15)));
        assert_eq!(
            skewed().judge("me", Some(&held("them", i64::MAX, None)), at(0), WALL),
            Verdict::Wait(at(15))
        );
    }

    #[test]
    fn a_duration_of_years_is_honoured_without_overflow() {
        let verdict = contender().judge("me", Some(&held("them", 1, Some(u64::MAX))), at(5), WALL);
        assert!(matches!(verdict, Verdict::Wait(until) if until > at(1 << 40)));
    }

    #[test]
    fn the_trace_of_ones_own_unanswered_claim_may_be_claimed_again() {
        assert_eq!(contender().judge("me", Some(&held("me", 1, Some(15))), at(0), WALL), Verdict::Claim);
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
        fn only_what_stood_unchanged_for_its_duration_is_claimed(
            history in prop::collection::vec(sightings(), 1..12),
        ) {
            let (mut judge, mut now) = (contender(), 0);
            let mut since: Option<(Snapshot, u64)> = None;
            for (pause, seen) in history {
                now += pause;
                since = since.filter(|(same, _)| *same == seen).or(Some((seen.clone(), now)));
                let first = since.as_ref().map_or(now, |(_, first)| *first);
                let holder = seen.record.holder.as_deref().filter(|holder| *holder != "me");
                let wait = Duration::from_secs(first).saturating_add(seen.record.duration.unwrap_or(D));
                let free = holder.is_none() || wait <= Duration::from_secs(now);
                let expected = if free { Verdict::Claim } else { Verdict::Wait(Moment::from_origin(wait)) };
                prop_assert_eq!(judge.judge("me", Some(&seen), at(now), WALL), expected);
            }
        }
    }
}

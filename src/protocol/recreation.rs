//! When a Lease that was deleted is created again.

use std::time::Duration;

use super::backoff::jittered;
use super::record::Snapshot;
use super::time::Instant;

/// When a Lease that was deleted is created again.
///
/// Something can delete the Lease each time it is created: the garbage collector does if its owner does not exist. Each
/// contender sees the deletions, not only the holder, so each waits longer, and their number does not multiply the creations.
///
/// Invariants:
///
/// 1. A deletion is early if the Lease was held, and this process had seen it first less than [`SHORT_LIFE`](Self::SHORT_LIFE) ago.
/// 2. After the first early deletion the Lease is created at once. The pause doubles with each further one in a row.
/// 3. A Lease that lives longer, or that is released, ends the row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Recreation {
    seen: Option<Seen>,
    early_deletions: u32,
    deleted: Option<Instant>,
}

/// The Lease that exists, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seen {
    /// `None`: only a refused creation has shown it.
    uid: Option<String>,
    since: Instant,
    held: bool,
}

impl Recreation {
    /// A Lease that is deleted earlier will probably be deleted again.
    const SHORT_LIFE: Duration = Duration::from_secs(10);

    const FIRST_PAUSE: Duration = Duration::from_millis(100);
    const MAX_PAUSE: Duration = Duration::from_secs(30);

    /// The Lease is in this state.
    pub(super) fn exists(&mut self, state: &Snapshot, now: Instant) {
        let (uid, held) = (&state.version.uid, state.record.holder.is_some());
        if self.seen.as_ref().and_then(|seen| seen.uid.as_ref()).is_some_and(|seen| seen != uid) {
            self.missing(now);
        }
        let since = self.seen.as_ref().map_or(now, |seen| seen.since);
        if !held || since.until(now) >= Self::SHORT_LIFE {
            self.early_deletions = 0;
        }
        self.seen = Some(Seen { uid: Some(uid.clone()), since, held });
    }

    /// The Lease could not be created, because another process has created it.
    pub(super) fn created_by_another(&mut self, now: Instant) {
        self.seen.get_or_insert(Seen { uid: None, since: now, held: true });
    }

    /// There is no Lease.
    pub(super) fn missing(&mut self, now: Instant) {
        let Some(seen) = self.seen.take() else { return };
        let early = seen.held && seen.since.until(now) < Self::SHORT_LIFE;
        self.early_deletions = if early { self.early_deletions.saturating_add(1) } else { 0 };
        self.deleted = Some(now);
    }

    /// When the missing Lease can be created.
    pub(super) fn create_at(&self, rng: &mut fastrand::Rng) -> Instant {
        let Some(doublings) = self.early_deletions.checked_sub(2) else { return Instant::ORIGIN };
        let nominal = Self::FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(Self::MAX_PAUSE);
        self.deleted.map_or(Instant::ORIGIN, |deleted| deleted + jittered(nominal, rng))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Queue, Record, Version, WallTime};

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn held(uid: u64) -> Snapshot {
        let version = Version { uid: uid.to_string(), revision: uid };
        let record = Record::claim("them", Duration::from_secs(15), None, WallTime(0));
        Snapshot { version, record, queue: Queue::EMPTY, done: crate::protocol::DoneKeys::Empty }
    }

    fn free(uid: u64) -> Snapshot {
        Snapshot { record: Record::EMPTY, ..held(uid) }
    }

    /// After `number` early deletions, the last of them at second `number`.
    fn after(number: u64) -> Recreation {
        let mut recreation = Recreation::default();
        for uid in 1..=number {
            recreation.exists(&held(uid), at(1_000 * uid - 1));
            recreation.missing(at(1_000 * uid));
        }
        recreation
    }

    #[test]
    fn the_pause_doubles_with_each_early_deletion_but_the_first() {
        let mut rng = fastrand::Rng::with_seed(1);
        for (number, nominal) in
            [(0, 0), (1, 0), (2, 100), (3, 200), (4, 400), (10, 25_600), (11, 30_000), (99, 30_000)]
        {
            let create_at = after(number).create_at(&mut rng);
            let earliest = if nominal == 0 { Instant::ORIGIN } else { at(1_000 * number + nominal / 2) };
            let latest = at(1_000 * number + nominal);
            assert!(earliest <= create_at && create_at <= latest, "{number}: {create_at:?}");
        }
    }

    #[test]
    fn a_lease_that_lives_or_is_released_ends_the_row() {
        let is_over = |mut recreation: Recreation| {
            recreation.missing(at(20_000));
            recreation.create_at(&mut fastrand::Rng::with_seed(1)) == Instant::ORIGIN
        };
        let mut long_lived = after(5);
        long_lived.exists(&held(6), at(10_000));
        assert!(is_over(long_lived.clone()), "also if nothing was heard of it");
        long_lived.exists(&held(6), at(20_000));
        assert!(is_over(long_lived));
        let mut released = after(5);
        released.exists(&held(6), at(19_000));
        released.exists(&free(6), at(19_500));
        assert!(is_over(released));
        let mut again = after(5);
        again.exists(&held(6), at(19_000));
        assert!(!is_over(again));
    }

    #[test]
    fn a_deletion_counts_once_however_it_is_seen() {
        let mut recreation = after(2);
        recreation.missing(at(2_100));
        assert_eq!(recreation.early_deletions, 2, "it is still missing");
        recreation.exists(&held(8), at(3_000));
        recreation.exists(&held(9), at(3_100));
        assert_eq!(recreation.early_deletions, 3, "another object has taken its place");
        recreation.missing(at(3_200));
        recreation.created_by_another(at(3_300));
        recreation.created_by_another(at(3_400));
        recreation.exists(&held(10), at(3_500));
        assert_eq!(recreation.early_deletions, 4, "it is the object that was in the way");
        recreation.missing(at(3_600));
        recreation.created_by_another(at(3_700));
        recreation.missing(at(3_800));
        assert_eq!(recreation.early_deletions, 6, "it was gone before it was read");
    }
}

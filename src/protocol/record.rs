//! The holder of a Lease as the Lease records it, and the identity of one version of the Lease.

use std::time::Duration;

use super::done::DoneKeys;
use super::queue::Queue;
use super::time::WallTime;

/// The part of a Lease's spec that says who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    /// `None` if the holder is absent or empty: the Lease is free.
    pub holder: Option<String>,
    /// `None` if the writer left it out.
    pub duration: Option<Duration>,
    pub acquired: Option<WallTime>,
    pub renewed: Option<WallTime>,
    pub transitions: i32,
}

/// The identity of one version of one object. Every write is conditional on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Version {
    pub uid: String,
    /// `metadata.resourceVersion`, which orders all versions of all objects of one API server.
    pub revision: u64,
}

/// A Lease in one version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Snapshot {
    pub version: Version,
    pub record: Record,
    pub queue: Queue,
    pub done: DoneKeys,
}

impl Record {
    /// The record of a Lease without a spec.
    pub(crate) const EMPTY: Self =
        Self { holder: None, duration: None, acquired: None, renewed: None, transitions: 0 };

    /// The record of a new holder that follows `previous`. It counts transitions as client-go does.
    pub(crate) fn claim(holder: &str, duration: Duration, previous: Option<&Record>, now: WallTime) -> Self {
        let transitions = match previous {
            None => 0,
            Some(record) if record.holder.as_deref() == Some(holder) => record.transitions,
            Some(record) => record.transitions.saturating_add(1),
        };
        Self {
            holder: Some(holder.to_owned()),
            duration: Some(duration),
            acquired: Some(now),
            renewed: Some(now),
            transitions,
        }
    }

    /// The same hold, renewed at `now`.
    pub(crate) fn renewal(&self, duration: Duration, now: WallTime) -> Self {
        Self { duration: Some(duration), renewed: Some(now), ..self.clone() }
    }

    /// The record of a new Lease that is free.
    pub(crate) fn free(now: WallTime) -> Self {
        Self::EMPTY.release(now)
    }

    /// The record that releases the Lease: no holder and a duration of one second, as client-go leaves it.
    pub(crate) fn release(&self, now: WallTime) -> Self {
        Self {
            holder: None,
            duration: Some(Duration::from_secs(1)),
            acquired: Some(now),
            renewed: Some(now),
            transitions: self.transitions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE_DURATION: Duration = Duration::from_secs(15);

    #[test]
    fn transitions_count_holders_and_never_overflow() {
        let free = |transitions| Record { transitions, ..Record::EMPTY };
        assert_eq!(Record::claim("me", LEASE_DURATION, None, WallTime(0)).transitions, 0);
        assert_eq!(Record::claim("me", LEASE_DURATION, Some(&free(4)), WallTime(0)).transitions, 5);
        assert_eq!(
            Record::claim("me", LEASE_DURATION, Some(&free(i32::MAX)), WallTime(0)).transitions,
            i32::MAX
        );
        let mine = Record::claim("me", LEASE_DURATION, Some(&free(4)), WallTime(0));
        assert_eq!(
            Record::claim("me", LEASE_DURATION, Some(&mine), WallTime(1)).transitions,
            5,
            "a repeated claim counts once"
        );
    }
}

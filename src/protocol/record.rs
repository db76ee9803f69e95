//! The holder of a Lease as the Lease records it, and the identity of one version of the Lease.

use std::time::Duration;

use super::done::DoneKeys;
use super::identity;
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
    /// `None`: no coordinator has taken charge of the Lease. The lock never writes this.
    pub coordination: Option<Box<Coordination>>,
}

/// What the coordinator of a coordinated leader election (KEP-4355) says in a Lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Coordination {
    /// How the coordinator chooses the holder.
    pub strategy: String,
    /// The holder that is to follow the present one.
    pub preferred_holder: Option<String>,
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
    pub(crate) const EMPTY: Self = Self {
        holder: None,
        duration: None,
        acquired: None,
        renewed: None,
        transitions: 0,
        coordination: None,
    };

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
            coordination: None,
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
            coordination: self.coordination.clone(),
        }
    }

    /// How a coordinator chooses the holder. `None`: the contenders themselves do.
    pub(crate) fn strategy(&self) -> Option<&str> {
        self.coordination.as_ref().map(|coordination| &*coordination.strategy)
    }

    /// The holder that the coordinator prefers to the acquisition `me`.
    pub(super) fn preferred_to(&self, me: &str) -> Option<&str> {
        let preferred = self.coordination.as_ref()?.preferred_holder.as_deref()?;
        let is_me = preferred == me || preferred == identity::name(me);
        (!is_me).then_some(preferred)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE_DURATION: Duration = Duration::from_secs(15);

    #[test]
    fn another_holder_is_preferred_only_if_it_is_another_one() {
        let me = identity::generate("pod-7", 1);
        let prefers = |preferred: Option<&str>| {
            let coordination =
                Coordination { strategy: "s".into(), preferred_holder: preferred.map(Into::into) };
            Record { coordination: Some(Box::new(coordination)), ..Record::EMPTY }
        };
        for (preferred, other) in
            [(None, None), (Some(&*me), None), (Some("pod-7"), None), (Some("pod-8"), Some("pod-8"))]
        {
            assert_eq!(prefers(preferred).preferred_to(&me), other);
        }
        assert_eq!(Record::EMPTY.preferred_to(&me), None);
        assert_eq!(prefers(None).release(WallTime(1)).strategy(), Some("s"));
    }

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

//! Lease object <-> [`Record`]: the one place that knows `LeaseSpec` and what other writers make of it.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::queue::Queue;
use crate::time::Stamp;
use crate::wire::{Object, Spec};

/// The part of a Lease's spec that says who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    /// `None` where the holder is absent or empty: the Lease is free.
    pub holder: Option<String>,
    /// `None` where the writer left it out.
    pub duration: Option<Duration>,
    pub acquired: Option<Stamp>,
    pub renewed: Option<Stamp>,
    pub transitions: i32,
}

/// What identifies one state of one object, and what every write is conditional on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Version {
    pub uid: String,
    /// `metadata.resourceVersion`, which orders all states of all objects of one API server.
    pub revision: u64,
}

/// A Lease as it was in one version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Snapshot {
    pub version: Version,
    pub record: Record,
    pub queue: Queue,
}

/// The answer was no Lease that an API server could have sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Malformed {
    #[error("the object has no metadata.uid")]
    NoUid,
    #[error("metadata.resourceVersion is {0:?}, not a positive 64-bit integer")]
    Revision(String),
}

impl Record {
    /// What a Lease without a spec says.
    const NONE: Self = Self { holder: None, duration: None, acquired: None, renewed: None, transitions: 0 };

    /// The record of a new holder that follows `previous`, counting transitions as client-go does.
    pub(crate) fn claim(holder: &str, duration: Duration, previous: Option<&Record>, now: Stamp) -> Self {
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

    /// The same holding, renewed at `now`.
    pub(crate) fn renewal(&self, duration: Duration, now: Stamp) -> Self {
        Self { duration: Some(duration), renewed: Some(now), ..self.clone() }
    }

    /// The record of a Lease that nobody holds or has held.
    pub(crate) fn free(now: Stamp) -> Self {
        Self::NONE.release(now)
    }

    /// The record that gives the Lease back: no holder and a duration of one second, as client-go leaves it.
    pub(crate) fn release(&self, now: Stamp) -> Self {
        Self {
            holder: None,
            duration: Some(Duration::from_secs(1)),
            acquired: Some(now),
            renewed: Some(now),
            transitions: self.transitions,
        }
    }

    /// The spec as it goes over the wire: all five fields, so that every write owns all of them.
    pub(crate) fn to_spec(&self) -> Value {
        json!({
            "holderIdentity": self.holder.as_deref().unwrap_or_default(),
            "leaseDurationSeconds": self.duration.map_or(1, |d| d.as_secs()),
            "acquireTime": self.acquired.map(micro_time),
            "renewTime": self.renewed.map(micro_time),
            "leaseTransitions": self.transitions,
        })
    }
}

impl TryFrom<Object> for Snapshot {
    type Error = Malformed;

    fn try_from(Object { metadata, spec }: Object) -> Result<Self, Malformed> {
        let uid = metadata.uid.filter(|uid| !uid.is_empty()).ok_or(Malformed::NoUid)?;
        let revision = metadata.resource_version.unwrap_or_default();
        let revision = number(&revision).ok_or(Malformed::Revision(revision))?;
        let record = spec.map_or(Record::NONE, Record::from);
        let queue = metadata.annotations.and_then(|annotations| annotations.queue);
        let queue = queue.map_or_else(Queue::default, |queue| Queue::from(queue.as_str()));
        Ok(Self { version: Version { uid, revision }, record, queue })
    }
}

/// A number as API servers write it. Zero is no version: a write conditional on it would be conditional on nothing.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| *number > 0 && number.to_string() == text)
}

impl From<Spec> for Record {
    fn from(spec: Spec) -> Self {
        let transitions = spec.lease_transitions.unwrap_or(0).max(0);
        Self {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            duration: spec
                .lease_duration_seconds
                .and_then(|s| u64::try_from(s).ok())
                .map(Duration::from_secs),
            acquired: spec.acquire_time.map(|time| time.0),
            renewed: spec.renew_time.map(|time| time.0),
            transitions: i32::try_from(transitions).unwrap_or(i32::MAX),
        }
    }
}

/// The wire form of a stamp; the range of years that a Lease can carry is wider than any clock's.
pub(crate) fn micro_time(stamp: Stamp) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(stamp.0).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::queue::Ticket;

    const D: Duration = Duration::from_secs(15);

    fn lease(spec: &Value) -> Object {
        serde_json::from_value(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "x", "uid": "u", "resourceVersion": "7" },
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let claim = Record::claim("me", D, None, Stamp(1_700_000_000_123_456));
        let snapshot = Snapshot::try_from(lease(&claim.to_spec())).unwrap();
        assert_eq!(snapshot.record, claim);
        assert_eq!(snapshot.version, Version { uid: "u".into(), revision: 7 });
        assert_eq!(snapshot.queue, Queue::default());

        let queue = Queue::default().joined_by(Ticket(7));
        let mut waited_for = json!({ "metadata": { "name": "x", "uid": "u", "resourceVersion": "8" } });
        waited_for["metadata"]["annotations"] = json!({ "a": "b", Queue::ANNOTATION: queue.to_string() });
        let waited_for: Object = serde_json::from_value(waited_for).unwrap();
        assert_eq!(Snapshot::try_from(waited_for).unwrap().queue, queue);

        let released = claim.release(Stamp(1_700_000_001_000_000));
        assert_eq!(released.to_spec()["holderIdentity"], "");
        assert_eq!(released.to_spec()["leaseDurationSeconds"], 1);
        assert_eq!(Snapshot::try_from(lease(&released.to_spec())).unwrap().record, released);
    }

    #[test]
    fn partial_foreign_specs_are_read_for_what_they_say() {
        for spec in
            [json!(null), json!({}), json!({ "holderIdentity": null }), json!({ "holderIdentity": "" })]
        {
            let record = Snapshot::try_from(lease(&spec)).unwrap().record;
            assert_eq!(record.holder, None, "{spec} is free");
        }
        let spec = json!({ "holderIdentity": "them", "leaseTransitions": -3, "leaseDurationSeconds": -1 });
        let record = Snapshot::try_from(lease(&spec)).unwrap().record;
        assert_eq!(record.holder.as_deref(), Some("them"));
        assert_eq!((record.duration, record.renewed, record.transitions), (None, None, 0));
    }

    #[test]
    fn objects_without_identity_are_refused() {
        for uid in [None, Some(String::new())] {
            let mut nobody = lease(&json!({}));
            nobody.metadata.uid = uid;
            assert_eq!(Snapshot::try_from(nobody), Err(Malformed::NoUid));
        }
        for odd in ["", "0", "12x", "+12", "012", "-1", "18446744073709551616", "1.5", " 1"] {
            let mut lease = lease(&json!({}));
            lease.metadata.resource_version = Some(odd.into());
            assert_eq!(Snapshot::try_from(lease), Err(Malformed::Revision(odd.into())));
        }
    }

    #[test]
    fn transitions_count_holders_and_never_overflow() {
        let free = |transitions| Record { transitions, ..Record::NONE };
        assert_eq!(Record::claim("me", D, None, Stamp(0)).transitions, 0);
        assert_eq!(Record::claim("me", D, Some(&free(4)), Stamp(0)).transitions, 5);
        assert_eq!(Record::claim("me", D, Some(&free(i32::MAX)), Stamp(0)).transitions, i32::MAX);
        let mine = Record::claim("me", D, Some(&free(4)), Stamp(0));
        assert_eq!(
            Record::claim("me", D, Some(&mine), Stamp(1)).transitions,
            5,
            "a repeated claim counts once"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_record_of_ours_survives_the_wire(
            holder in ".{0,20}",
            seconds in 1..=i64::from(i32::MAX),
            times in any::<[Option<i32>; 2]>(),
            transitions in 0..=i32::MAX,
        ) {
            let [acquired, renewed] = times.map(|time| Some(Stamp(i64::from(time?) * 999_999)));
            let record = Record {
                holder: Some(holder).filter(|holder| !holder.is_empty()),
                duration: Some(Duration::from_secs(seconds.unsigned_abs())),
                acquired,
                renewed,
                transitions,
            };
            prop_assert_eq!(Snapshot::try_from(lease(&record.to_spec())).unwrap().record, record);
        }

        #[test]
        fn a_holder_is_never_overlooked(holder in ".{1,20}", duration in any::<i64>(), transitions in any::<i64>()) {
            let spec = json!({
                "holderIdentity": holder, "leaseDurationSeconds": duration, "leaseTransitions": transitions,
            });
            let record = Snapshot::try_from(lease(&spec)).unwrap().record;
            prop_assert_eq!(record.holder, Some(holder));
            prop_assert_eq!(record.duration.map(|d| d.as_secs()), u64::try_from(duration).ok());
            prop_assert!(record.transitions >= 0);
        }
    }
}

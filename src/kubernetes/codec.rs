//! Lease JSON <-> [`Record`]: the one place that knows the fields of a Lease, and what other writers make of them.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::{Value, json};

use super::timestamp::{self, micro_time};
use crate::protocol::{Join, Queue, Record, Snapshot, Ticket, Version, WallTime};

/// The annotation that carries the queue of waiting processes.
pub(super) const QUEUE_ANNOTATION: &str = "kube-lease-lock/queue";

/// The annotation that carries the tickets that have joined since the last claim, renewal or release.
pub(super) const JOINING_ANNOTATION: &str = "kube-lease-lock/joining";

/// A Lease as JSON. It has only the fields that the lock reads, so no other field can make it unreadable.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct RawLease {
    pub metadata: RawMetadata,
    pub spec: Option<RawSpec>,
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawMetadata {
    pub name: Option<String>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub annotations: Option<RawAnnotations>,
}

#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct RawAnnotations {
    /// [`QUEUE_ANNOTATION`].
    #[serde(rename = "kube-lease-lock/queue")]
    pub queue: Option<String>,
    /// [`JOINING_ANNOTATION`].
    #[serde(rename = "kube-lease-lock/joining")]
    pub joining: Option<String>,
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawSpec {
    pub holder_identity: Option<String>,
    pub lease_duration_seconds: Option<i64>,
    pub acquire_time: Option<RawTime>,
    pub renew_time: Option<RawTime>,
    pub lease_transitions: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct RawTime(pub WallTime);

/// Why an object is no Lease that an API server could have sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Malformed {
    #[error("the object has no metadata.uid")]
    NoUid,
    #[error("metadata.resourceVersion is {0:?}, not a positive 64-bit integer")]
    Revision(String),
}

impl<'de> Deserialize<'de> for RawTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = timestamp::parse(&text).map(RawTime);
        time.ok_or_else(|| D::Error::custom(format_args!("{text:?} is not a time in RFC 3339 form")))
    }
}

impl TryFrom<RawLease> for Snapshot {
    type Error = Malformed;

    fn try_from(RawLease { metadata, spec }: RawLease) -> Result<Self, Malformed> {
        let uid = metadata.uid.filter(|uid| !uid.is_empty()).ok_or(Malformed::NoUid)?;
        let revision = metadata.resource_version.unwrap_or_default();
        let revision = parse_revision(&revision).ok_or(Malformed::Revision(revision))?;
        let record = spec.map_or(Record::EMPTY, Record::from);
        let queue = metadata.annotations.map_or_else(Queue::default, |RawAnnotations { queue, joining }| {
            let waiting = queue.as_deref().map_or_else(Vec::new, parse_tickets);
            Queue::new(waiting, joining.as_deref().map(parse_tickets))
        });
        Ok(Self { version: Version { uid, revision }, record, queue })
    }
}

/// A number as API servers write it. Zero is no version: a write conditional on it would be conditional on nothing.
fn parse_revision(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| *number > 0 && number.to_string() == text)
}

impl From<RawSpec> for Record {
    fn from(spec: RawSpec) -> Self {
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

/// The spec as the lock writes it: all five fields, so that every write owns all of them.
pub(super) fn spec(record: &Record) -> Value {
    json!({
        "holderIdentity": record.holder.as_deref().unwrap_or_default(),
        "leaseDurationSeconds": record.duration.map_or(1, |d| d.as_secs()),
        "acquireTime": record.acquired.map(micro_time),
        "renewTime": record.renewed.map(micro_time),
        "leaseTransitions": record.transitions,
    })
}

/// The annotations that a claim, renewal or release writes.
pub(super) fn annotations(queue: &Queue) -> Value {
    json!({
        QUEUE_ANNOTATION: tickets(queue.waiting()),
        JOINING_ANNOTATION: joining_tickets(queue.joining().unwrap_or_default()),
    })
}

/// The JSON Patch (RFC 6902) of a join. It changes nothing unless the Lease is as expected.
pub(super) fn join(Join { uid, under, expected, forced, ticket }: &Join) -> Value {
    let list = format!("/metadata/annotations/{}", JOINING_ANNOTATION.replace('/', "~1"));
    let joined: Vec<_> = expected.iter().chain([ticket]).copied().collect();
    let test = |path: &str, value: &str| json!({ "op": "test", "path": path, "value": value });
    let mut patch = vec![test("/metadata/uid", uid)];
    patch.extend(under.as_ref().map(|holder| test("/spec/holderIdentity", holder)));
    patch.extend((!forced).then(|| test(&list, &joining_tickets(expected))));
    patch.push(json!({ "op": "replace", "path": list, "value": joining_tickets(&joined) }));
    patch.into()
}

/// The tickets as text, the first in the queue first: each number in hexadecimal, and its head start in milliseconds.
fn tickets(tickets: &[Ticket]) -> String {
    let words = tickets
        .iter()
        .map(|Ticket { number, head_start }| format!("{number:08x}:{}", head_start.as_millis()));
    words.collect::<Vec<_>>().join(" ")
}

/// The same for the list of joining tickets, with a space at its end: one more byte is needed when the holder moves the tickets to
/// the queue. Annotations have a limit, and a join must not take the room that the next renewal needs.
fn joining_tickets(joining: &[Ticket]) -> String {
    if joining.is_empty() { String::new() } else { tickets(joining) + " " }
}

/// Reads the tickets that can be read.
fn parse_tickets(text: &str) -> Vec<Ticket> {
    let ticket = |word: &str| {
        let colon = word.bytes().position(|byte| byte == b':')?;
        let (number, millis) = (&word[..colon], &word[colon + 1..]);
        let number = u32::from_str_radix(number, 16).ok()?;
        Some(Ticket { number, head_start: Duration::from_millis(millis.parse::<u32>().ok()?.into()) })
    };
    text.split_ascii_whitespace().filter_map(ticket).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEASE_DURATION: Duration = Duration::from_secs(15);

    fn lease(spec: &Value) -> RawLease {
        serde_json::from_value(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "x", "uid": "u", "resourceVersion": "7" },
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn a_record_and_a_queue_are_read_back_as_written() {
        let claim = Record::claim("me", LEASE_DURATION, None, WallTime(1_700_000_000_123_456));
        let snapshot = Snapshot::try_from(lease(&spec(&claim))).unwrap();
        assert_eq!(snapshot.record, claim);
        assert_eq!(snapshot.version, Version { uid: "u".into(), revision: 7 });
        assert_eq!(snapshot.queue, Queue::default());

        let ticket = |number| Ticket { number, head_start: Duration::from_millis(80) };
        let queue = Queue::new(vec![ticket(7)], Some(vec![ticket(u32::MAX)]));
        let mut waited_for = json!({ "metadata": { "name": "x", "uid": "u", "resourceVersion": "8" } });
        waited_for["metadata"]["annotations"] = annotations(&queue);
        waited_for["metadata"]["annotations"]["a"] = json!("b");
        let waited_for: RawLease = serde_json::from_value(waited_for).unwrap();
        assert_eq!(Snapshot::try_from(waited_for).unwrap().queue, queue);

        let released = claim.release(WallTime(1_700_000_001_000_000));
        assert_eq!(spec(&released)["holderIdentity"], "");
        assert_eq!(spec(&released)["leaseDurationSeconds"], 1);
        assert_eq!(Snapshot::try_from(lease(&spec(&released))).unwrap().record, released);
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
    fn objects_without_uid_or_version_are_refused() {
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
    fn a_join_is_conditional_on_the_object_the_holder_and_the_list() {
        let ticket = |number| Ticket { number, head_start: Duration::from_millis(50) };
        let path = "/metadata/annotations/kube-lease-lock~1joining";
        let test = |path: &str, value: &str| json!({ "op": "test", "path": path, "value": value });
        let (is_object, is_held) = (test("/metadata/uid", "u"), test("/spec/holderIdentity", "them"));
        let is_list = test(path, "00000001:50 ");
        let change = json!({ "op": "replace", "path": path, "value": "00000001:50 000000ff:50 " });
        for (under, forced, expected) in [
            (Some("them".to_owned()), false, json!([is_object, is_held, is_list, change])),
            (None, false, json!([is_object, is_list, change])),
            (None, true, json!([is_object, change])),
        ] {
            let (uid, expected_list) = ("u".to_owned(), vec![ticket(1)]);
            let wanted = Join { uid, under, expected: expected_list, forced, ticket: ticket(255) };
            assert_eq!(join(&wanted), expected);
        }
    }

    #[test]
    fn no_renewal_is_longer_than_the_joins_before_it() {
        let tickets = |count: u32| -> Vec<_> {
            (0..count).map(|number| Ticket { number, head_start: Duration::from_millis(50) }).collect()
        };
        let length = |queue: &Queue| {
            let annotations = annotations(queue);
            let lists = annotations.as_object().unwrap().values();
            lists.map(|list| list.as_str().unwrap().len()).sum::<usize>()
        };
        for waiting in 0..4 {
            for joining in 0..4 {
                let joined = Queue::new(tickets(waiting), Some(tickets(joining)));
                assert!(length(&joined.merged()) <= length(&joined), "{waiting} and {joining}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_record_of_ours_is_read_back(
            holder in ".{0,20}",
            seconds in 1..=i64::from(i32::MAX),
            times in any::<[Option<i32>; 2]>(),
            transitions in 0..=i32::MAX,
        ) {
            let [acquired, renewed] = times.map(|time| Some(WallTime(i64::from(time?) * 999_999)));
            let record = Record {
                holder: Some(holder).filter(|holder| !holder.is_empty()),
                duration: Some(Duration::from_secs(seconds.unsigned_abs())),
                acquired,
                renewed,
                transitions,
            };
            prop_assert_eq!(Snapshot::try_from(lease(&spec(&record))).unwrap().record, record);
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

        #[test]
        fn a_queue_is_read_back_as_written(
            waiting in prop::collection::vec(any::<(u32, u32)>(), 0..200),
            joining in prop::collection::vec(any::<(u32, u32)>(), 0..20),
        ) {
            let ticket = |(number, millis): (u32, u32)| Ticket { number, head_start: Duration::from_millis(millis.into()) };
            let [waiting, joining] = [waiting, joining].map(|list| list.into_iter().map(ticket).collect::<Vec<_>>());
            let queue = Queue::new(waiting, Some(joining));
            let read = Queue::new(
                parse_tickets(&tickets(queue.waiting())),
                Some(parse_tickets(&tickets(queue.joining().unwrap()))),
            );
            prop_assert_eq!(read, queue);
        }

        #[test]
        fn no_queue_annotation_panics(text in "\\PC*|[0-9a-f: +-]{0,4000}") {
            prop_assert!(Queue::new(parse_tickets(&text), None).len() <= Queue::MAX_TICKETS);
        }
    }
}

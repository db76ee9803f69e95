//! Lease JSON <-> [`Record`]: the one place that knows the fields of a Lease, and what other writers make of them.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::{Value, json};

use super::timestamp::{self, micro_time};
use crate::protocol::{
    Coordination, DoneKey, DoneKeys, Join, Queue, Record, Snapshot, Ticket, Version, WallTime,
};

/// The annotation that carries the queue of waiting processes.
pub(super) const QUEUE_ANNOTATION: &str = "kube-lease-lock/queue";

/// The annotation that carries the tickets that have joined since the last claim, renewal or release.
pub(super) const JOINING_ANNOTATION: &str = "kube-lease-lock/joining";

/// The annotation that carries the keys of work that is done. The Lease has it only if there is such a key.
const DONE_ANNOTATION: &str = "kube-lease-lock/done";

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
    /// [`DONE_ANNOTATION`].
    #[serde(rename = "kube-lease-lock/done")]
    pub done: Option<String>,
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawSpec {
    pub holder_identity: Option<String>,
    pub lease_duration_seconds: Option<i64>,
    pub acquire_time: Option<RawTime>,
    pub renew_time: Option<RawTime>,
    pub lease_transitions: Option<i64>,
    pub strategy: Option<Value>,
    pub preferred_holder: Option<Value>,
}

/// One element of [`DONE_ANNOTATION`]. A field that this version does not know makes the annotation unreadable, because the
/// next write would lose it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDoneKey {
    key: String,
    by: String,
    at: RawTime,
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
        let (queue, done) = metadata.annotations.map_or_else(Default::default, |annotations| {
            let RawAnnotations { queue, joining, done } = annotations;
            let waiting = queue.as_deref().map_or_else(Vec::new, parse_tickets);
            let queue = Queue::new(waiting, joining.as_deref().map(parse_tickets));
            (queue, done.as_deref().map_or(DoneKeys::Empty, parse_done))
        });
        Ok(Self { version: Version { uid, revision }, record, queue, done })
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
            coordination: coordination(spec.strategy, spec.preferred_holder),
        }
    }
}

/// An API server accepts a preferred holder only beside a strategy. A strategy in a form of the future is one too.
fn coordination(strategy: Option<Value>, preferred_holder: Option<Value>) -> Option<Box<Coordination>> {
    let text = |value: Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    };
    let strategy = strategy.and_then(text)?;
    Some(Box::new(Coordination { strategy, preferred_holder: preferred_holder.and_then(text) }))
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
pub(super) fn annotations(queue: &Queue, done: &DoneKeys) -> Value {
    let mut annotations = json!({
        QUEUE_ANNOTATION: tickets(queue.waiting()),
        JOINING_ANNOTATION: joining_tickets(queue.joining().unwrap_or_default()),
    });
    if let Some(done) = done_text(done) {
        annotations[DONE_ANNOTATION] = done.into();
    }
    annotations
}

fn done_text(done: &DoneKeys) -> Option<String> {
    match done {
        DoneKeys::Empty => None,
        DoneKeys::Listed(keys) => Some(done_keys(keys)),
        DoneKeys::Unreadable(text) => Some(text.to_string()),
    }
}

/// The keys as JSON, which takes any text.
fn done_keys(keys: &[DoneKey]) -> String {
    let key = |DoneKey { key, by, at }: &DoneKey| json!({ "key": key, "by": by, "at": micro_time(*at) });
    keys.iter().map(key).collect::<Value>().to_string()
}

fn parse_done(text: &str) -> DoneKeys {
    let Ok(keys) = serde_json::from_str::<Vec<RawDoneKey>>(text) else {
        return DoneKeys::Unreadable(text.into());
    };
    let key = |RawDoneKey { key, by, at: RawTime(at) }| DoneKey { key, by, at };
    DoneKeys::listed(keys.into_iter().map(key).collect())
}

/// The JSON Patch (RFC 6902) that replaces the record `on`, whatever else the object has. It changes nothing if the object has
/// another record. It leaves the queue as it is, and the keys that are done if there are none in `done`.
pub(super) fn replace_record(uid: &str, on: &Record, record: &Record, done: &DoneKeys) -> Value {
    let on = spec(on);
    let recognised = ["holderIdentity", "renewTime"].map(|key| test(&format!("/spec/{key}"), &on[key]));
    let spec = spec(record);
    let fields = spec.as_object().into_iter().flatten();
    let replaced =
        fields.map(|(key, value)| json!({ "op": "add", "path": format!("/spec/{key}"), "value": value }));
    let path = format!("/metadata/annotations/{}", DONE_ANNOTATION.replace('/', "~1"));
    let marked = done_text(done).map(|done| json!({ "op": "add", "path": path, "value": done }));
    [test("/metadata/uid", &json!(uid))].into_iter().chain(recognised).chain(replaced).chain(marked).collect()
}

fn test(path: &str, value: &Value) -> Value {
    json!({ "op": "test", "path": path, "value": value })
}

/// The JSON Patch (RFC 6902) of a join. It changes nothing unless the Lease is as expected.
pub(super) fn join(Join { uid, under, expected, forced, ticket }: &Join) -> Value {
    let list = format!("/metadata/annotations/{}", JOINING_ANNOTATION.replace('/', "~1"));
    let joined: Vec<_> = expected.iter().chain([ticket]).copied().collect();
    let mut patch = vec![test("/metadata/uid", &json!(uid))];
    patch.extend(under.as_ref().map(|holder| test("/spec/holderIdentity", &json!(holder))));
    patch.extend((!forced).then(|| test(&list, &json!(joining_tickets(expected)))));
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

    /// A Lease with these annotations.
    fn annotated(annotations: &Value) -> Snapshot {
        let metadata = json!({ "name": "x", "uid": "u", "resourceVersion": "8", "annotations": annotations });
        let lease: RawLease = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        Snapshot::try_from(lease).unwrap()
    }

    fn read_done(text: &str) -> DoneKeys {
        annotated(&json!({ DONE_ANNOTATION: text })).done
    }

    #[test]
    fn the_keys_that_are_done_are_a_list_in_json() {
        let text = r#"[{"at":"2026-11-29T02:00:03.000000Z","by":"pod-a_0","key":"2026-11-29"}]"#;
        let at = WallTime(1_795_917_603_000_000);
        let done = DoneKeys::listed(vec![DoneKey { key: "2026-11-29".into(), by: "pod-a_0".into(), at }]);
        assert_eq!(read_done(text), done);
        assert_eq!(annotations(&Queue::EMPTY, &done)[DONE_ANNOTATION], text);
        assert_eq!(read_done("[]"), DoneKeys::Empty);
    }

    #[test]
    fn keys_that_cannot_be_read_are_kept_as_they_are() {
        for text in [
            "",
            "garbage",
            "null",
            "{}",
            r#"["2026-11-29"]"#,
            r#"[{"key":"a","by":"b"}]"#,
            r#"[{"key":"a","by":"b","at":"yesterday"}]"#,
            r#"[{"key":"a","by":"b","at":"2026-11-29T02:00:03Z","of a later version":1}]"#,
        ] {
            let done = read_done(text);
            assert_eq!(done, DoneKeys::Unreadable(text.into()));
            assert_eq!(annotations(&Queue::EMPTY, &done)[DONE_ANNOTATION], text);
        }
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
        let mut annotations = annotations(&queue, &DoneKeys::Empty);
        assert_eq!(
            annotations.as_object().unwrap().len(),
            2,
            "a Lease that marks nothing has no list of keys"
        );
        annotations["a"] = json!("b");
        assert_eq!(annotated(&annotations).queue, queue);

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
    fn a_strategy_and_a_preferred_holder_are_read_and_never_written() {
        let coordinated = json!({ "holderIdentity": "me", "strategy": "OldestEmulationVersion", "preferredHolder": "them" });
        let record = Snapshot::try_from(lease(&coordinated)).unwrap().record;
        assert_eq!(record.strategy(), Some("OldestEmulationVersion"));
        assert_eq!(record.coordination.as_ref().unwrap().preferred_holder.as_deref(), Some("them"));
        let written = spec(&record);
        assert!(written.get("strategy").is_none() && written.get("preferredHolder").is_none());
        let of_the_future = json!({ "holderIdentity": "me", "strategy": { "name": "x" } });
        let record = Snapshot::try_from(lease(&of_the_future)).unwrap().record;
        assert_eq!(record.strategy(), Some(r#"{"name":"x"}"#));
        for none in [json!({ "strategy": "" }), json!({ "strategy": null }), json!({ "preferredHolder": "" })]
        {
            assert_eq!(Snapshot::try_from(lease(&none)).unwrap().record.coordination, None);
        }
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
    fn a_record_is_replaced_only_if_it_is_found() {
        let on = Record::claim("me", Duration::from_secs(15), None, WallTime(1_000_000));
        let released = on.release(WallTime(2_000_000));
        let marked =
            DoneKeys::Empty.with(&DoneKey { key: "k".into(), by: "me".into(), at: WallTime(2_000_000) });
        let with_mark = replace_record("u", &on, &released, &marked);
        assert_eq!(with_mark[8]["path"], "/metadata/annotations/kube-lease-lock~1done");
        let patch = replace_record("u", &on, &released, &DoneKeys::Empty);
        let operations = patch.as_array().unwrap();
        let tests = operations.iter().filter(|operation| operation["op"] == "test");
        let tests: Vec<_> =
            tests.map(|test| (test["path"].as_str().unwrap(), test["value"].as_str().unwrap())).collect();
        assert_eq!(
            tests,
            [
                ("/metadata/uid", "u"),
                ("/spec/holderIdentity", "me"),
                ("/spec/renewTime", "1970-01-01T00:00:01.000000Z")
            ]
        );
        assert_eq!(operations.len(), 3 + 5, "it replaces every field of the record, and nothing else");
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
            let annotations = annotations(queue, &DoneKeys::Empty);
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
                coordination: None,
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
        fn every_key_is_read_back(keys in prop::collection::vec((any::<String>(), any::<String>(), any::<i32>()), 0..20)) {
            let key = |(key, by, at): (String, String, i32)| DoneKey { key, by, at: WallTime(i64::from(at) * 999_999) };
            let done = DoneKeys::listed(keys.into_iter().map(key).collect());
            prop_assert_eq!(annotated(&annotations(&Queue::EMPTY, &done)).done, done);
        }

        #[test]
        fn no_queue_annotation_panics(text in "\\PC*|[0-9a-f: +-]{0,4000}") {
            prop_assert!(Queue::new(parse_tickets(&text), None).len() <= Queue::MAX_TICKETS);
        }
    }
}

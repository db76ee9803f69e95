//! Generators of odd Leases, and of replies that are no Lease.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Everything that a real API server accepts and serves, and times beyond that.
pub(crate) fn lease() -> impl Strategy<Value = Value> {
    let spec = (
        maybe(select(vec![json!(""), json!("them"), json!("ü\u{202e}\n"), json!("x".repeat(5_000))])),
        maybe(select(vec![1, 2, 15, 60, i32::MAX]).prop_map(Value::from)),
        maybe(time()),
        maybe(time()),
        maybe(select(vec![0, 1, i32::MAX]).prop_map(Value::from)),
        maybe(select(vec![json!("OldestEmulationVersion"), json!({ "a": [1, null] }), json!(1.5)])),
    );
    let spec = spec.prop_map(|(holder, duration, acquired, renewed, transitions, unknown)| {
        object([
            ("holderIdentity", holder),
            ("leaseDurationSeconds", duration),
            ("acquireTime", acquired),
            ("renewTime", renewed),
            ("leaseTransitions", transitions),
            ("strategy", unknown.clone()),
            ("ofTheFuture", unknown),
        ])
    });
    (spec, maybe(time()), maybe(time()), any::<u32>()).prop_map(|(spec, deleted, managed, generation)| {
        let managed = managed.map(|time| json!([{ "manager": "m", "operation": "Update", "time": time }]));
        let metadata = object([
            ("deletionTimestamp", deleted),
            ("managedFields", managed),
            ("generation", Some(json!(generation))),
            ("finalizers", Some(json!(["a.b/c"]))),
            ("labels", Some(json!({ "a": "" }))),
            ("ofTheFuture", Some(json!({}))),
        ]);
        json!({ "metadata": metadata, "spec": spec })
    })
}

/// Times at any offset, in any year that a server written in Go can write.
fn time() -> impl Strategy<Value = Value> {
    let day = (-1..=10_000_i32, 1..=12_u8, 1..=28_u8);
    let clock = (0..24_u8, 0..60_u8, 0..60_u8, 0..1_000_000_u32);
    let zone = prop_oneof![
        Just("Z".to_owned()),
        (-23..24_i8, 0..60_u8).prop_map(|(h, m)| format!("{h:+03}:{m:02}"))
    ];
    (day, clock, zone).prop_map(|((year, month, day), (hour, minute, second, micros), zone)| {
        let year = if year < 0 { format!("-{:04}", -year) } else { format!("{year:04}") };
        json!(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}{zone}"))
    })
}

/// Absent, null or something.
fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![1 => Just(None), 1 => Just(Some(Value::Null)), 6 => value.prop_map(Some)]
}

fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Bytes that no server would send: no Lease, another Lease, or a Lease without a version.
pub(crate) fn garbage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        any_json().prop_map(|value| value.to_string().into_bytes()),
        spoiled().prop_map(|value| value.to_string().into_bytes()),
        (spoiled(), any_event()).prop_map(|(object, kind)| {
            json!({ "type": kind, "object": object }).to_string().into_bytes()
        }),
        (0..100_usize).prop_map(|length| whole().to_string().into_bytes()[..length].to_vec()),
    ]
}

fn any_event() -> impl Strategy<Value = &'static str> {
    select(vec!["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "added", ""])
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,9}".prop_map(Value::from),
    ];
    let name = select(vec!["metadata", "spec", "type", "object", "name", "kind", "status", "code", ""]);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..4)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

/// A free Lease with one field that makes it invalid.
fn spoiled() -> impl Strategy<Value = Value> {
    let flaw = select(vec![
        ("/metadata", vec![json!(null), json!([]), json!("x")]),
        ("/metadata/name", vec![json!(null), json!("another"), json!(5)]),
        ("/metadata/uid", vec![json!(null), json!(""), json!(5)]),
        (
            "/metadata/resourceVersion",
            ["", "0", "+9", "007", "-1", "1.5", "x", "99999999999999999999999"].map(Value::from).to_vec(),
        ),
        ("/metadata/resourceVersion", vec![json!(null), json!(900), json!({})]),
        ("/spec", vec![json!(5), json!("free"), json!([{}])]),
        ("/spec/holderIdentity", vec![json!(5), json!({}), json!(false)]),
        ("/spec/leaseDurationSeconds", vec![json!("15"), json!(1.5), json!(1e300)]),
        ("/spec/renewTime", vec![json!("now"), json!(0), json!("2020-02-30T00:00:00Z"), json!("")]),
        ("/spec/leaseTransitions", vec![json!("1"), json!(u64::MAX)]),
    ]);
    (flaw, any::<prop::sample::Index>()).prop_map(|((place, values), which)| {
        let mut lease = whole();
        *lease.pointer_mut(place).expect("a field of the whole Lease") = which.get(&values).clone();
        lease
    })
}

fn whole() -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": "a-lock", "namespace": "default", "uid": "u", "resourceVersion": "900" },
        "spec": {
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "renewTime": "2020-01-01T00:00:00.000000Z",
            "leaseTransitions": 0,
        },
    })
}

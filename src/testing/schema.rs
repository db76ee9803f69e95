//! The schema of a Lease: its fields, their types, and the form in which they are stored.

use serde_json::{Map, Value};

use super::status::API_VERSION;
use super::time;

/// A decoded Lease, and the paths of its unknown fields.
pub(crate) struct Decoded {
    pub object: Value,
    pub unknown: Vec<String>,
}

type Field = (&'static str, Type);

#[derive(Clone, Copy, Debug)]
enum Type {
    Text,
    Int32,
    Int64,
    Time,
    MicroTime,
    Texts,
    TextMap,
    Objects,
}

const TOP: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];

const METADATA: [Field; 15] = [
    ("annotations", Type::TextMap),
    ("creationTimestamp", Type::Time),
    ("deletionGracePeriodSeconds", Type::Int64),
    ("deletionTimestamp", Type::Time),
    ("finalizers", Type::Texts),
    ("generateName", Type::Text),
    ("generation", Type::Int64),
    ("labels", Type::TextMap),
    ("managedFields", Type::Objects),
    ("name", Type::Text),
    ("namespace", Type::Text),
    ("ownerReferences", Type::Objects),
    ("resourceVersion", Type::Text),
    ("selfLink", Type::Text),
    ("uid", Type::Text),
];

const SPEC: [Field; 7] = [
    ("acquireTime", Type::MicroTime),
    ("holderIdentity", Type::Text),
    ("leaseDurationSeconds", Type::Int32),
    ("leaseTransitions", Type::Int32),
    ("preferredHolder", Type::Text),
    ("renewTime", Type::MicroTime),
    ("strategy", Type::Text),
];

/// Checks the types and drops unknown fields, but keeps nulls and empty values, because an apply owns them.
pub(crate) fn check(given: &Value) -> Result<Decoded, String> {
    let mut unknown = Vec::new();
    let mut object = Map::new();
    let members = given.as_object().ok_or("it is not an object")?;
    for (name, value) in members {
        let part = match name.as_str() {
            "metadata" => section(value, "metadata", &METADATA, &mut unknown)?,
            "spec" => section(value, "spec", &SPEC, &mut unknown)?,
            known if TOP.contains(&known) => value.clone(),
            other => {
                unknown.push(other.to_owned());
                continue;
            }
        };
        object.insert(name.clone(), part);
    }
    let object = Value::Object(object);
    Ok(Decoded { object, unknown })
}

/// The same in the form in which objects are stored: no nulls, no links, no empty collections, times in UTC.
pub(crate) fn decode(given: &Value) -> Result<Decoded, String> {
    let Decoded { mut object, unknown } = check(given)?;
    if let Value::Object(metadata) = &mut object["metadata"] {
        metadata.remove("selfLink");
        for map in ["labels", "annotations"] {
            if let Some(Value::Object(map)) = metadata.get_mut(map) {
                map.values_mut().filter(|value| value.is_null()).for_each(|value| *value = "".into());
            }
        }
    }
    for section in ["metadata", "spec"] {
        if let Value::Object(fields) = &mut object[section] {
            fields.retain(|name, value| match value {
                Value::Null => false,
                Value::Object(map) => !map.is_empty(),
                // An empty managedFields is a request to drop all ownership. The write handles it.
                Value::Array(list) => !list.is_empty() || name == "managedFields",
                Value::String(text) => section == "spec" || !text.is_empty(),
                _ => true,
            });
        } else {
            object[section] = Value::Object(Map::new());
        }
    }
    for name in ["acquireTime", "renewTime"] {
        if let Value::String(text) = &mut object["spec"][name] {
            *text = time::in_utc(text);
        } else if let Value::Object(spec) = &mut object["spec"] {
            spec.remove(name);
        }
    }
    object["apiVersion"] = API_VERSION.into();
    object["kind"] = "Lease".into();
    Ok(Decoded { object, unknown })
}

fn section(given: &Value, name: &str, fields: &[Field], unknown: &mut Vec<String>) -> Result<Value, String> {
    let members = match given {
        Value::Object(members) => members,
        Value::Null => return Ok(Value::Null),
        other => return Err(format!("{name} is {other}, but its type is Object")),
    };
    let mut known = Map::new();
    for (key, value) in members {
        match fields.iter().find(|(field, _)| field == key) {
            Some((_, r#type)) if !r#type.fits(value) => {
                return Err(format!("{name}.{key} is {value}, but its type is {type:?}"));
            }
            Some(_) => {
                known.insert(key.clone(), value.clone());
            }
            None => unknown.push(format!("{name}.{key}")),
        }
    }
    Ok(Value::Object(known))
}

impl Type {
    fn fits(self, value: &Value) -> bool {
        let is_null_or_string = |value: &Value| value.is_null() || value.is_string();
        match self {
            _ if value.is_null() => true,
            Self::Text => value.is_string(),
            Self::Int32 => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Self::Int64 => value.is_i64(),
            Self::MicroTime => value.as_str().is_some_and(time::is_micro_time),
            Self::Time => value.as_str().is_some_and(time::is_time),
            Self::Texts => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
            Self::Objects => value.as_array().is_some_and(|list| list.iter().all(Value::is_object)),
            Self::TextMap => value.as_object().is_some_and(|map| map.values().all(is_null_or_string)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn decoded_objects_have_the_stored_form() {
        let given = json!({
            "metadata": { "name": "x", "labels": {}, "creationTimestamp": null, "colour": "red" },
            "spec": { "holderIdentity": "", "renewTime": "2026-01-01T01:00:00.000001+01:00", "leaseTransitions": null },
        });
        let decoded = decode(&given).ok().unwrap();
        let stored = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": "x" },
            "spec": { "holderIdentity": "", "renewTime": "2026-01-01T00:00:00.000001Z" },
        });
        assert_eq!(decoded.object, stored);
        assert_eq!(decoded.unknown, ["metadata.colour"]);
    }

    #[test]
    fn wrong_types_are_refused() {
        for spec in [
            json!({ "holderIdentity": 5 }),
            json!({ "leaseDurationSeconds": 1.5 }),
            json!({ "leaseDurationSeconds": 1_i64 << 40 }),
            json!({ "renewTime": "2026-01-01T00:00:00Z" }),
            json!({ "renewTime": "2026-01-01T00:00:00.123456789Z" }),
        ] {
            assert!(decode(&json!({ "spec": spec })).is_err(), "{spec}");
        }
    }
}

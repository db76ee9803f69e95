//! The schema of a Lease: its fields, their types, and the form in which they are stored.

use serde_json::{Map, Value};

use super::status::API_VERSION;
use super::time;

/// A decoded Lease, and the paths of its unknown fields.
pub(crate) struct Decoded {
    pub object: Value,
    pub unknown: Vec<String>,
}

/// A field of the wrong type.
pub(crate) struct Mismatch {
    /// The path, such as `.spec.holderIdentity`.
    pub path: String,
    /// The type in the API schema, such as `string`, if the value does not fit the schema.
    pub expected: Option<&'static str>,
    /// The value.
    pub found: Value,
    /// The message of the real server's decoder.
    pub message: String,
}

type Field = (&'static str, Type);

#[derive(Clone, Copy)]
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
pub(crate) fn check(given: &Value) -> Result<Decoded, Mismatch> {
    let mut unknown = Vec::new();
    let mut object = Map::new();
    let members = given.as_object().ok_or_else(|| Mismatch::new("", "map", "Lease", given))?;
    for (name, value) in members {
        let part = match name.as_str() {
            "metadata" => section(value, "metadata", "ObjectMeta", &METADATA, &mut unknown)?,
            "spec" => section(value, "spec", "LeaseSpec", &SPEC, &mut unknown)?,
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
pub(crate) fn decode(given: &Value) -> Result<Decoded, Mismatch> {
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

fn section(
    given: &Value,
    name: &str,
    kind: &str,
    fields: &[Field],
    unknown: &mut Vec<String>,
) -> Result<Value, Mismatch> {
    let Some(members) = given.as_object() else {
        let path = format!(".{name}");
        return match given {
            Value::Null => Ok(Value::Null),
            other => Err(Mismatch::new(&path, "map", &format!("Lease{path} of type {kind}"), other)),
        };
    };
    let mut known = Map::new();
    for (key, value) in members {
        match fields.iter().find(|(field, _)| field == key) {
            Some((_, r#type)) => {
                r#type.check(value, &format!(".{name}.{key}"), kind)?;
                known.insert(key.clone(), value.clone());
            }
            None => unknown.push(format!("{name}.{key}")),
        }
    }
    Ok(Value::Object(known))
}

impl Type {
    fn check(self, value: &Value, path: &str, kind: &str) -> Result<(), Mismatch> {
        let mismatch_of = |outcome: Result<(), String>| {
            let found = value.clone();
            outcome.map_err(|message| Mismatch { path: path.to_owned(), expected: None, found, message })
        };
        let (fits, expected, go) = match (self, value) {
            (_, Value::Null) => return Ok(()),
            (Self::Text, v) => (v.is_string(), "string", "string"),
            (Self::Int32, v) => {
                (v.as_i64().is_some_and(|n| i32::try_from(n).is_ok()), "numeric (int or float)", "int32")
            }
            (Self::Int64, v) => (v.is_i64(), "numeric (int or float)", "int64"),
            (Self::MicroTime, Value::String(text)) => return mismatch_of(time::check_micro(text)),
            (Self::Time, Value::String(text)) => return mismatch_of(time::check(text)),
            (Self::MicroTime | Self::Time, _) => (false, "any scalar", "string"),
            (Self::Texts, v) => (all(v.as_array(), Value::is_string), "list", "[]string"),
            (Self::Objects, v) => (all(v.as_array(), Value::is_object), "list", "[]object"),
            (Self::TextMap, Value::Object(map)) => {
                return map.iter().try_for_each(|(k, v)| Self::Text.check(v, &format!("{path}.{k}"), kind));
            }
            (Self::TextMap, _) => (false, "map", "map[string]string"),
        };
        if fits {
            return Ok(());
        }
        let mut mismatch = Mismatch::new(path, expected, &format!("{kind}{path} of type {go}"), value);
        // Such a value fits the schema of the API; only the decoder refuses it.
        let fits_schema = match self {
            Self::Int32 | Self::Int64 => value.is_number(),
            Self::MicroTime | Self::Time => !value.is_object() && !value.is_array(),
            _ => false,
        };
        if fits_schema {
            mismatch.expected = None;
        }
        Err(mismatch)
    }
}

impl Mismatch {
    fn new(path: &str, expected: &'static str, place: &str, found: &Value) -> Self {
        let kind = match found {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(n) if expected.starts_with("numeric") => format!("number {n}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        Self {
            path: path.to_owned(),
            expected: Some(expected),
            found: found.clone(),
            message: format!("json: cannot unmarshal {kind} into Go struct field {place}"),
        }
    }
}

fn all(list: Option<&Vec<Value>>, fits: fn(&Value) -> bool) -> bool {
    list.is_some_and(|list| list.iter().all(fits))
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

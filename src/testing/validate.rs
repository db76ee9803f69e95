//! Validates a Lease before it is stored.

use serde_json::Value;

use super::status::FieldError;

const SUBDOMAIN: &str = "not a DNS subdomain of lower case letters, digits, '-' and '.'";
const NAME: &str = "not letters, digits, '-', '_' and '.', with a letter or a digit at both ends";
const TOO_LONG: &str = "longer than 63 bytes";
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;
const STRATEGY: &str = "OldestEmulationVersion";

/// All errors of a Lease.
pub(crate) fn lease(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    name(&object["metadata"], &mut errors);
    labels(&object["metadata"], &mut errors);
    owners(&object["metadata"], &mut errors);
    spec(&object["spec"], &mut errors);
    errors
}

/// The errors of an update that changes immutable fields.
pub(crate) fn unchanged(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["name", "namespace", "uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (old, new) = (&old["metadata"][field], &new["metadata"][field]);
        if old != new {
            errors.push(invalid(&format!("metadata.{field}"), new, "field is immutable"));
        }
    }
    if !old["metadata"]["deletionTimestamp"].is_null() {
        let finalizers =
            |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let mut added = finalizers(new);
        let before = finalizers(old);
        added.retain(|finalizer| !before.contains(finalizer));
        if !added.is_empty() {
            errors.push(FieldError {
                cause: "FieldValueForbidden",
                field: "metadata.finalizers".to_owned(),
                message: format!(
                    "the object is being deleted and gets no new finalizers, such as {}",
                    added[0]
                ),
            });
        }
    }
    errors
}

fn name(metadata: &Value, errors: &mut Vec<FieldError>) {
    let field = "metadata.name";
    match metadata["name"].as_str().unwrap_or_default() {
        "" => errors.push(FieldError {
            cause: "FieldValueRequired",
            field: field.to_owned(),
            message: "missing".to_owned(),
        }),
        name => {
            for message in subdomain(name) {
                errors.push(invalid(field, &name.into(), message));
            }
        }
    }
}

fn labels(metadata: &Value, errors: &mut Vec<FieldError>) {
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        let field = "metadata.labels";
        for message in qualified_name(key) {
            errors.push(invalid(field, &key.as_str().into(), message));
        }
        for message in label_value(value.as_str().unwrap_or_default()) {
            errors.push(invalid(field, value, message));
        }
    }
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        for message in qualified_name(&key.to_lowercase()) {
            errors.push(invalid("metadata.annotations", &key.as_str().into(), message));
        }
    }
    if size > MAX_ANNOTATION_BYTES {
        errors.push(FieldError {
            cause: "FieldValueTooLong",
            field: "metadata.annotations".to_owned(),
            message: format!("longer than {MAX_ANNOTATION_BYTES} bytes"),
        });
    }
    let finalizers = &metadata["finalizers"];
    for finalizer in finalizers.as_array().into_iter().flatten() {
        for message in qualified_name(finalizer.as_str().unwrap_or_default()) {
            errors.push(invalid("metadata.finalizers", finalizer, message));
        }
    }
    let has = |name: &str| finalizers.as_array().is_some_and(|list| list.iter().any(|f| f == name));
    if has("orphan") && has("foregroundDeletion") {
        let why = "both orphan and foregroundDeletion";
        errors.push(invalid("metadata.finalizers", finalizers, why));
    }
}

fn owners(metadata: &Value, errors: &mut Vec<FieldError>) {
    let all = &metadata["ownerReferences"];
    let owners = all.as_array();
    if owners.into_iter().flatten().filter(|owner| owner["controller"] == true).count() > 1 {
        errors.push(invalid("metadata.ownerReferences", all, "more than one controller"));
    }
    for (i, owner) in owners.into_iter().flatten().enumerate() {
        let version = &owner["apiVersion"];
        if version.as_str().is_some_and(|version| version.matches('/').count() > 1) {
            let field = format!("metadata.ownerReferences[{i}].apiVersion");
            errors.push(invalid(&field, version, "not a group and a version"));
        }
        for part in ["apiVersion", "kind", "name", "uid"] {
            if owner[part].as_str().unwrap_or_default().is_empty() {
                errors.push(FieldError {
                    cause: "FieldValueRequired",
                    field: format!("metadata.ownerReferences[{i}].{part}"),
                    message: "missing".to_owned(),
                });
            }
        }
    }
}

fn spec(spec: &Value, errors: &mut Vec<FieldError>) {
    let duration = &spec["leaseDurationSeconds"];
    if duration.as_i64().is_some_and(|seconds| seconds <= 0) {
        let field = "spec.leaseDurationSeconds";
        errors.push(invalid(field, duration, "must be greater than 0"));
    }
    let transitions = &spec["leaseTransitions"];
    if transitions.as_i64().is_some_and(|n| n < 0) {
        let field = "spec.leaseTransitions";
        errors.push(invalid(field, transitions, "must be greater than or equal to 0"));
    }
    let strategy = spec["strategy"].as_str();
    match strategy {
        None | Some(STRATEGY) => {}
        Some(custom) if custom.contains('/') => {
            for message in qualified_name(custom) {
                errors.push(invalid("spec.strategy.strategy", &custom.into(), message));
            }
        }
        Some(other) => errors.push(FieldError {
            cause: "FieldValueNotSupported",
            field: "spec.strategy.strategy".to_owned(),
            message: format!("unsupported value: {other:?}"),
        }),
    }
    let preferred = spec["preferredHolder"].as_str().unwrap_or_default();
    if !preferred.is_empty() && strategy.unwrap_or_default().is_empty() {
        errors.push(FieldError {
            cause: "FieldValueForbidden",
            field: "spec.preferredHolder".to_owned(),
            message: "it needs a strategy".to_owned(),
        });
    }
}

fn invalid(field: &str, value: &Value, why: &str) -> FieldError {
    FieldError {
        cause: "FieldValueInvalid",
        field: field.to_owned(),
        message: format!("invalid value: {value}: {why}"),
    }
}

/// The errors of a DNS subdomain.
fn subdomain(name: &str) -> Vec<&'static str> {
    let mut errors = Vec::new();
    if name.len() > 253 {
        errors.push("longer than 253 bytes");
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    if !name.split('.').all(is_label) {
        errors.push(SUBDOMAIN);
    }
    errors
}

/// The errors of the value of a label.
pub(crate) fn label_value(text: &str) -> Vec<&'static str> {
    let mut errors = Vec::new();
    if text.len() > 63 {
        errors.push(TOO_LONG);
    }
    if !text.is_empty() && !is_name_part(text) {
        errors.push(NAME);
    }
    errors
}

/// The errors of the key of a label.
pub(crate) fn qualified_name(key: &str) -> Vec<&'static str> {
    let (prefix, name) = match key.split('/').collect::<Vec<_>>()[..] {
        [name] => (None, name),
        [prefix, name] => (Some(prefix), name),
        _ => return vec!["more than one '/'"],
    };
    let mut errors = match prefix {
        None => Vec::new(),
        Some("") => vec!["an empty prefix"],
        Some(prefix) => subdomain(prefix),
    };
    match name.len() {
        0 => errors.push("an empty name"),
        1..=63 => {}
        _ => errors.push(TOO_LONG),
    }
    if !is_name_part(name) {
        errors.push(NAME);
    }
    errors
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn messages(object: &Value) -> Vec<String> {
        lease(object).into_iter().map(|e| format!("{}: {}", e.field, e.message)).collect()
    }

    #[test]
    fn valid_leases_have_no_errors() {
        let longest = vec!["a".repeat(63); 4].join(".")[..253].to_owned();
        for object in [
            json!({ "metadata": { "name": longest } }),
            json!({ "metadata": { "name": "a.b-c.1" }, "spec": { "holderIdentity": "", "leaseTransitions": 0 } }),
            json!({ "metadata": { "name": "x", "labels": { "example.com/App": "A_b.c", "empty": "" } } }),
        ] {
            assert_eq!(messages(&object), [""; 0]);
        }
    }

    #[test]
    fn every_error_names_its_field() {
        let spec = json!({ "leaseDurationSeconds": 0, "leaseTransitions": -1 });
        let object = json!({ "metadata": { "name": "x" }, "spec": spec });
        assert_eq!(
            messages(&object),
            [
                "spec.leaseDurationSeconds: invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }

    #[test]
    fn invalid_names_are_refused() {
        for name in ["", "X", "a..b", "-a", "a-", "a_b", &"a".repeat(254)] {
            let object = json!({ "metadata": { "name": name } });
            assert_eq!(messages(&object).len(), 1, "{name}");
        }
    }
}

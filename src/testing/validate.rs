//! Validates a Lease before it is stored.

use serde_json::Value;

use super::status::FieldError;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const KEY: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
    for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;
const STRATEGY: &str = "OldestEmulationVersion";

/// All errors of a Lease, in the wording of the real server.
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
            let added: Vec<String> = added.iter().map(Value::to_string).collect();
            errors.push(FieldError {
                cause: "FieldValueForbidden",
                field: "metadata.finalizers".to_owned(),
                message: format!(
                    "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers \
                     []string{{{}}}",
                    added.join(", ")
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
            message: "Required value: name or generateName is required".to_owned(),
        }),
        name => {
            for message in subdomain(name, "characters") {
                errors.push(invalid(field, &name.into(), &message));
            }
        }
    }
}

fn labels(metadata: &Value, errors: &mut Vec<FieldError>) {
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        let field = "metadata.labels";
        for message in qualified_name(key) {
            errors.push(invalid(field, &key.as_str().into(), &message));
        }
        for message in label_value(value.as_str().unwrap_or_default()) {
            errors.push(invalid(field, value, message));
        }
    }
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        for message in qualified_name(&key.to_lowercase()) {
            errors.push(invalid("metadata.annotations", &key.as_str().into(), &message));
        }
    }
    if size > MAX_ANNOTATION_BYTES {
        errors.push(FieldError {
            cause: "FieldValueTooLong",
            field: "metadata.annotations".to_owned(),
            message: format!("Too long: may not be more than {MAX_ANNOTATION_BYTES} bytes"),
        });
    }
    let finalizers = &metadata["finalizers"];
    for finalizer in finalizers.as_array().into_iter().flatten() {
        for message in qualified_name(finalizer.as_str().unwrap_or_default()) {
            errors.push(invalid("metadata.finalizers", finalizer, &message));
        }
    }
    let has = |name: &str| finalizers.as_array().is_some_and(|list| list.iter().any(|f| f == name));
    if has("orphan") && has("foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(invalid("metadata.finalizers", finalizers, why));
    }
}

fn owners(metadata: &Value, errors: &mut Vec<FieldError>) {
    let all = &metadata["ownerReferences"];
    let owners = all.as_array();
    let is_controller = |owner: &&Value| owner["controller"] == true;
    if let [first, second, ..] = owners.into_iter().flatten().filter(is_controller).collect::<Vec<_>>()[..] {
        let text = |owner: &Value, part: &str| owner[part].as_str().unwrap_or_default().to_owned();
        let name = |owner: &Value| format!("{}/{}", text(owner, "kind"), text(owner, "name"));
        let why = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
            name(first),
            name(second)
        );
        errors.push(invalid("metadata.ownerReferences", all, &why));
    }
    for (i, owner) in owners.into_iter().flatten().enumerate() {
        let version = &owner["apiVersion"];
        if version.as_str().is_some_and(|version| version.matches('/').count() > 1) {
            let field = format!("metadata.ownerReferences[{i}].apiVersion");
            errors.push(invalid(&field, version, "must be <group>/<version> or <version>"));
        }
        for part in ["apiVersion", "kind", "name", "uid"] {
            if owner[part].as_str().unwrap_or_default().is_empty() {
                errors.push(FieldError {
                    cause: "FieldValueRequired",
                    field: format!("metadata.ownerReferences[{i}].{part}"),
                    message: "Required value: must not be empty".to_owned(),
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
                errors.push(invalid("spec.strategy.strategy", &custom.into(), &message));
            }
        }
        Some(other) => errors.push(FieldError {
            cause: "FieldValueNotSupported",
            field: "spec.strategy.strategy".to_owned(),
            message: format!("Unsupported value: {other:?}: supported values: {STRATEGY:?}"),
        }),
    }
    let preferred = spec["preferredHolder"].as_str().unwrap_or_default();
    if !preferred.is_empty() && strategy.unwrap_or_default().is_empty() {
        errors.push(FieldError {
            cause: "FieldValueForbidden",
            field: "spec.preferredHolder".to_owned(),
            message: "Forbidden: may only be specified if `strategy` is defined".to_owned(),
        });
    }
}

fn invalid(field: &str, value: &Value, why: &str) -> FieldError {
    FieldError {
        cause: "FieldValueInvalid",
        field: field.to_owned(),
        message: format!("Invalid value: {value}: {why}"),
    }
}

/// The errors of a DNS subdomain. The real server calls the unit "characters" for a name and "bytes" for a prefix.
fn subdomain(name: &str, unit: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > 253 {
        errors.push(format!("must be no more than 253 {unit}"));
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    if !name.split('.').all(is_label) {
        errors.push(SUBDOMAIN.to_owned());
    }
    errors
}

/// The errors of the value of a label.
pub(crate) fn label_value(text: &str) -> Vec<&'static str> {
    let mut errors = Vec::new();
    if text.len() > 63 {
        errors.push("must be no more than 63 bytes");
    }
    if !text.is_empty() && !is_name_part(text) {
        errors.push(LABEL);
    }
    errors
}

/// The errors of the key of a label.
pub(crate) fn qualified_name(key: &str) -> Vec<String> {
    let (prefix, name) = match key.split('/').collect::<Vec<_>>()[..] {
        [name] => (None, name),
        [prefix, name] => (Some(prefix), name),
        _ => {
            let hint = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {KEY} {hint}")];
        }
    };
    let mut errors = match prefix {
        None => Vec::new(),
        Some("") => vec!["prefix part must be non-empty".to_owned()],
        Some(prefix) => subdomain(prefix, "bytes").iter().map(|e| format!("prefix part {e}")).collect(),
    };
    match name.len() {
        0 => errors.push("name part must be non-empty".to_owned()),
        1..=63 => {}
        _ => errors.push("name part must be no more than 63 bytes".to_owned()),
    }
    if !is_name_part(name) {
        errors.push(format!("name part {KEY}"));
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
    fn errors_have_the_wording_of_kubernetes() {
        let spec = json!({ "leaseDurationSeconds": 0, "leaseTransitions": -1 });
        let object = json!({ "metadata": { "name": "x" }, "spec": spec });
        assert_eq!(
            messages(&object),
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
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

//! Checks the options of a call: its query parameters, and the body of a delete.

use serde_json::Value;

use super::request::Call;
use super::status::{self, Failure, FieldError};
use super::verb::Verb;

const MAX_MANAGER_BYTES: usize = 128;
const MATCH: &str = "resourceVersionMatch";

/// Checks the options of a write that is not a delete.
pub(crate) fn check_write(call: &Call) -> Result<(), Failure> {
    let mut errors = Vec::new();
    let kind = match call.verb {
        Verb::Create => "CreateOptions",
        Verb::Update => "UpdateOptions",
        _ => "PatchOptions",
    };
    match call.verb {
        Verb::Apply if call.query("fieldManager").is_none() => {
            errors.push(required("fieldManager", "is required for apply patch"));
        }
        Verb::Patch if call.query("force").is_some() => {
            errors.push(forbidden("force", "may not be specified for non-apply patch"));
        }
        _ => {}
    }
    field_manager(call, &mut errors);
    dry_run(&call.dry_runs(), &mut errors);
    if let Some(other) = call.query("fieldValidation")
        && !matches!(other, "Ignore" | "Strict" | "Warn")
    {
        errors.push(unsupported("fieldValidation", &other.into(), r#""", "Ignore", "Strict", "Warn""#));
    }
    refuse_if_any(kind, &errors)
}

/// Checks the options of a list or a watch.
pub(crate) fn check_read(call: &Call) -> Result<(), Failure> {
    call.number("timeoutSeconds")?;
    let mut errors = Vec::new();
    let how = call.query(MATCH);
    if call.verb == Verb::Watch {
        let lists_first = call.query("sendInitialEvents").is_some();
        if !lists_first && how.is_some() {
            errors.push(forbidden(
                MATCH,
                &format!("{MATCH} is forbidden for watch unless sendInitialEvents is provided"),
            ));
        }
        if lists_first && how != Some("NotOlderThan") {
            errors.push(forbidden(
                MATCH,
                &format!("sendInitialEvents requires setting {MATCH} to NotOlderThan"),
            ));
            if let Some(other) = how {
                errors.push(unsupported(MATCH, &other.into(), r#""NotOlderThan""#));
            }
        }
    } else if let Some(how) = how {
        let version = call.query("resourceVersion");
        if version.is_none() {
            errors
                .push(forbidden(MATCH, &format!("{MATCH} is forbidden unless resourceVersion is provided")));
        }
        if !matches!(how, "Exact" | "NotOlderThan") {
            errors.push(unsupported(MATCH, &how.into(), r#""Exact", "NotOlderThan", """#));
        }
        if how == "Exact" && version == Some("0") {
            errors
                .push(forbidden(MATCH, &format!(r#"{MATCH} "exact" is forbidden for resourceVersion "0""#)));
        }
    }
    refuse_if_any("ListOptions", &errors)
}

/// Checks the options of a delete, in its body or its query.
pub(crate) fn check_delete(call: &Call) -> Result<(), Failure> {
    call.number("gracePeriodSeconds")?;
    let options = call.delete_options();
    let mut errors = Vec::new();
    if let Some(other) = options["propagationPolicy"].as_str()
        && !matches!(other, "Foreground" | "Background" | "Orphan")
    {
        let supported = r#""Foreground", "Background", "Orphan", "nil""#;
        errors.push(unsupported("propagationPolicy", &other.into(), supported));
    }
    dry_run(&options["dryRun"], &mut errors);
    refuse_if_any("DeleteOptions", &errors)
}

fn field_manager(call: &Call, errors: &mut Vec<FieldError>) {
    let field = "fieldManager";
    let manager = call.query(field).unwrap_or_default();
    if manager.len() > MAX_MANAGER_BYTES {
        let why = format!("Too long: may not be more than {MAX_MANAGER_BYTES} bytes");
        errors.push(FieldError { cause: "FieldValueTooLong", field: field.to_owned(), message: why });
    }
    for (i, odd) in manager.char_indices().filter(|(_, c)| c.is_control()) {
        let why = format!("invalid character U+{:04X} (at position {i})", u32::from(odd));
        let message = format!("Invalid value: {manager:?}: {why}");
        errors.push(FieldError { cause: "FieldValueInvalid", field: field.to_owned(), message });
    }
}

fn dry_run(runs: &Value, errors: &mut Vec<FieldError>) {
    let mut each = runs.as_array().into_iter().flatten();
    if each.any(|run| run != "All") {
        errors.push(unsupported("dryRun", runs, r#""All""#));
    }
}

fn required(field: &str, why: &str) -> FieldError {
    let message = format!("Required value: {why}");
    FieldError { cause: "FieldValueRequired", field: field.to_owned(), message }
}

fn forbidden(field: &str, why: &str) -> FieldError {
    let message = format!("Forbidden: {why}");
    FieldError { cause: "FieldValueForbidden", field: field.to_owned(), message }
}

fn unsupported(field: &str, value: &Value, supported: &str) -> FieldError {
    let message = format!("Unsupported value: {value}: supported values: {supported}");
    FieldError { cause: "FieldValueNotSupported", field: field.to_owned(), message }
}

fn refuse_if_any(kind: &str, errors: &[FieldError]) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(status::invalid(&format!("{kind}.meta.k8s.io"), "", errors))
}

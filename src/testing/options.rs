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
            errors.push(required("fieldManager", "an apply needs it"));
        }
        Verb::Patch if call.query("force").is_some() => {
            errors.push(forbidden("force", "only an apply may have it"));
        }
        _ => {}
    }
    field_manager(call, &mut errors);
    dry_run(&call.dry_runs(), &mut errors);
    if let Some(other) = call.query("fieldValidation")
        && !matches!(other, "Ignore" | "Strict" | "Warn")
    {
        errors.push(unsupported("fieldValidation", &other.into()));
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
            errors.push(forbidden(MATCH, "a watch needs sendInitialEvents with it"));
        }
        if lists_first && how != Some("NotOlderThan") {
            errors.push(forbidden(MATCH, "sendInitialEvents needs NotOlderThan"));
            if let Some(other) = how {
                errors.push(unsupported(MATCH, &other.into()));
            }
        }
    } else if let Some(how) = how {
        let version = call.query("resourceVersion");
        if version.is_none() {
            errors.push(forbidden(MATCH, "it needs a resourceVersion"));
        }
        if !matches!(how, "Exact" | "NotOlderThan") {
            errors.push(unsupported(MATCH, &how.into()));
        }
        if how == "Exact" && version == Some("0") {
            errors.push(forbidden(MATCH, "Exact needs a resourceVersion other than 0"));
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
        errors.push(unsupported("propagationPolicy", &other.into()));
    }
    dry_run(&options["dryRun"], &mut errors);
    refuse_if_any("DeleteOptions", &errors)
}

fn field_manager(call: &Call, errors: &mut Vec<FieldError>) {
    let field = "fieldManager";
    let manager = call.query(field).unwrap_or_default();
    if manager.len() > MAX_MANAGER_BYTES {
        let message = format!("longer than {MAX_MANAGER_BYTES} bytes");
        errors.push(FieldError { cause: "FieldValueTooLong", field: field.to_owned(), message });
    }
    for odd in manager.chars().filter(|c| c.is_control()) {
        let message = format!("{odd:?} in {manager:?}");
        errors.push(FieldError { cause: "FieldValueInvalid", field: field.to_owned(), message });
    }
}

fn dry_run(runs: &Value, errors: &mut Vec<FieldError>) {
    let mut each = runs.as_array().into_iter().flatten();
    if each.any(|run| run != "All") {
        errors.push(unsupported("dryRun", runs));
    }
}

fn required(field: &str, why: &str) -> FieldError {
    FieldError { cause: "FieldValueRequired", field: field.to_owned(), message: why.to_owned() }
}

fn forbidden(field: &str, why: &str) -> FieldError {
    FieldError { cause: "FieldValueForbidden", field: field.to_owned(), message: why.to_owned() }
}

fn unsupported(field: &str, value: &Value) -> FieldError {
    let message = format!("unsupported value: {value}");
    FieldError { cause: "FieldValueNotSupported", field: field.to_owned(), message }
}

fn refuse_if_any(kind: &str, errors: &[FieldError]) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(status::invalid(&format!("{kind}.meta.k8s.io"), "", errors))
}

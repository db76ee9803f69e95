//! Decodes the object in the body of a write.

use serde_json::{Value, json};

use super::request::Call;
use super::schema;
use super::status::{self, API_VERSION, Failure};

/// Another version in which the real server serves Leases.
const OTHER_VERSION: &str = "coordination.k8s.io/v1beta1";

/// The object in the body, and the warnings about it.
pub(crate) fn decode(call: &Call) -> Result<(Value, Vec<String>), Failure> {
    let unrecognized = |why: String| {
        let start: String = String::from_utf8_lossy(&call.body).chars().take(30).collect();
        status::bad_request(format!(
            "the object provided is unrecognized (must be of type Lease): couldn't get version/kind; \
             json parse error: {why} ({start})"
        ))
    };
    let given: Value = serde_json::from_slice(&call.body).map_err(|error| unrecognized(error.to_string()))?;
    let given = if given.is_null() { json!({}) } else { given };
    let is_text = |field: &str| given[field].is_string() || given[field].is_null();
    if !given.is_object() || !is_text("apiVersion") || !is_text("kind") {
        return Err(unrecognized("json: cannot unmarshal it".to_owned()));
    }
    let text = |field: &str, default: &'static str| match given[field].as_str() {
        None | Some("") => default.to_owned(),
        Some(text) => text.to_owned(),
    };
    let (version, kind) = (text("apiVersion", API_VERSION), text("kind", "Lease"));
    if (&*version, &*kind) == (OTHER_VERSION, "Lease") {
        return Err(status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({API_VERSION})"
        )));
    }
    let refuse = |why: &str| {
        let version = version.rsplit('/').next().unwrap_or_default();
        status::bad_request(format!("{kind} in version {version:?} cannot be handled as a Lease: {why}"))
    };
    check_type(&given).map_err(|why| refuse(&why))?;
    let decoded = schema::decode(&given).map_err(|m| refuse(&m.message))?;
    let unknown = decoded.unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
    let warnings = warnings(call, unknown).map_err(|why| refuse(&why))?;
    Ok((decoded.object, warnings))
}

/// Checks the type of the object: a Lease, or not stated.
pub(crate) fn check_type(given: &Value) -> Result<(), String> {
    let text = |field: &str, default: &str| match &given[field] {
        Value::Null => Ok(default.to_owned()),
        Value::String(text) if text.is_empty() => Ok(default.to_owned()),
        Value::String(text) => Ok(text.clone()),
        _ => Err(format!("json: cannot unmarshal the {field}")),
    };
    let (version, kind) = (text("apiVersion", API_VERSION)?, text("kind", "Lease")?);
    if matches!(&*version, API_VERSION | OTHER_VERSION) && kind == "Lease" {
        return Ok(());
    }
    Err(format!("no kind {kind:?} is registered for version {version:?}"))
}

/// The warnings about unknown fields, which the server drops. The client may ask for no warnings, or for an error.
pub(crate) fn warnings(call: &Call, warnings: Vec<String>) -> Result<Vec<String>, String> {
    match call.query("fieldValidation") {
        Some("Ignore") => Ok(Vec::new()),
        Some("Strict") if !warnings.is_empty() => {
            Err(format!("strict decoding error: {}", warnings.join(", ")))
        }
        _ => Ok(warnings),
    }
}

/// Checks that the namespace in the object is the one in the URL, and fills it in if it is missing.
pub(crate) fn check_namespace(object: &mut Value, namespace: &str) -> Result<(), Failure> {
    match object["metadata"]["namespace"].as_str() {
        None => object["metadata"]["namespace"] = namespace.into(),
        Some(same) if same == namespace => {}
        Some(_) => {
            return Err(status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    Ok(())
}

/// Checks that the name in the object is the one in the URL.
pub(crate) fn check_name(object: &Value, name: &str) -> Result<(), Failure> {
    match object["metadata"]["name"].as_str() {
        Some(same) if same == name => Ok(()),
        None => Err(status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        Some(other) => Err(status::bad_request(format!(
            "the name of the object ({other}) does not match the name on the URL ({name})"
        ))),
    }
}

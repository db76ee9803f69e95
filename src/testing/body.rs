//! Decodes the object in the body of a write.

use serde_json::{Value, json};

use super::request::Call;
use super::schema;
use super::status::{self, API_VERSION, Failure};

/// Another version in which the real server serves Leases.
const OTHER_VERSION: &str = "coordination.k8s.io/v1beta1";

/// The object in the body, and the warnings about it.
pub(crate) fn decode(call: &Call) -> Result<(Value, Vec<String>), Failure> {
    let refuse = |why: String| status::bad_request(format!("the object is not a Lease: {why}"));
    let given: Value = serde_json::from_slice(&call.body).map_err(|error| refuse(error.to_string()))?;
    let given = if given.is_null() { json!({}) } else { given };
    if !given.is_object() {
        return Err(refuse("it is not an object".to_owned()));
    }
    check_type(&given).map_err(refuse)?;
    if given["apiVersion"] == OTHER_VERSION {
        return Err(refuse(format!("the apiVersion is not {API_VERSION}")));
    }
    let decoded = schema::decode(&given).map_err(refuse)?;
    let unknown = decoded.unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
    let warnings = warnings(call, unknown).map_err(refuse)?;
    Ok((decoded.object, warnings))
}

/// Checks the type of the object: a Lease, or not stated.
pub(crate) fn check_type(given: &Value) -> Result<(), String> {
    let text = |field: &str, default: &str| match &given[field] {
        Value::Null => Ok(default.to_owned()),
        Value::String(text) if text.is_empty() => Ok(default.to_owned()),
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("the {field} is {other}")),
    };
    let (version, kind) = (text("apiVersion", API_VERSION)?, text("kind", "Lease")?);
    if matches!(&*version, API_VERSION | OTHER_VERSION) && kind == "Lease" {
        return Ok(());
    }
    Err(format!("it is a {kind:?} of {version:?}"))
}

/// The warnings about unknown fields, which the server drops. The client may ask for no warnings, or for an error.
pub(crate) fn warnings(call: &Call, warnings: Vec<String>) -> Result<Vec<String>, String> {
    match call.query("fieldValidation") {
        Some("Ignore") => Ok(Vec::new()),
        Some("Strict") if !warnings.is_empty() => Err(warnings.join(", ")),
        _ => Ok(warnings),
    }
}

/// Checks that the namespace in the object is the one in the URL, and fills it in if it is missing.
pub(crate) fn check_namespace(object: &mut Value, namespace: &str) -> Result<(), Failure> {
    match object["metadata"]["namespace"].as_str() {
        None => object["metadata"]["namespace"] = namespace.into(),
        Some(same) if same == namespace => {}
        Some(_) => {
            return Err(status::bad_request("the namespace of the object is not that in the URL"));
        }
    }
    Ok(())
}

/// Checks that the name in the object is the one in the URL.
pub(crate) fn check_name(object: &Value, name: &str) -> Result<(), Failure> {
    match object["metadata"]["name"].as_str() {
        Some(same) if same == name => Ok(()),
        None => Err(status::bad_request(format!("the object has no name, but that in the URL is {name:?}"))),
        Some(other) => Err(status::bad_request(format!(
            "the name of the object is {other:?}, but that in the URL is {name:?}"
        ))),
    }
}

//! The object in the body of a write.

use serde_json::Value;

use super::{
    log::Verb,
    request::Call,
    schema,
    status::{self, API_VERSION, Failure, FieldError},
};

/// The object in the body, and what it got away with.
pub(crate) fn decode(call: &Call) -> Result<(Value, Vec<String>), Failure> {
    let given: Value = serde_json::from_slice(&call.body).map_err(|error| {
        let why = if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() };
        let start: String = String::from_utf8_lossy(&call.body).chars().take(30).collect();
        status::bad_request(format!(
            "the object provided is unrecognized (must be of type Lease): couldn't get version/kind; \
             json parse error: {why} ({start})"
        ))
    })?;
    match given["apiVersion"].as_str() {
        None | Some("" | API_VERSION) => {}
        Some(other) => {
            return Err(status::bad_request(format!(
                "the API version in the data ({other}) does not match the expected API version ({API_VERSION})"
            )));
        }
    }
    let refuse = |why: &str| {
        let kind = given["kind"].as_str().unwrap_or("Lease");
        status::bad_request(format!("{kind} in version \"v1\" cannot be handled as a Lease: {why}"))
    };
    match given["kind"].as_str() {
        None | Some("" | "Lease") => {}
        Some(kind) => {
            let why = format!("no kind {kind:?} is registered for version {API_VERSION:?}");
            return Err(refuse(&why));
        }
    }
    let decoded = schema::decode(&given).map_err(|m| refuse(&m.message))?;
    let warnings = warnings(call, &decoded.unknown).map_err(|why| refuse(&why))?;
    Ok((decoded.object, warnings))
}

/// Unknown fields are dropped with a warning, unless the client asks for more or less.
pub(crate) fn warnings(call: &Call, unknown: &[String]) -> Result<Vec<String>, String> {
    let warnings: Vec<String> = unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
    match call.query("fieldValidation") {
        Some("Ignore") => Ok(Vec::new()),
        Some("Strict") if !warnings.is_empty() => {
            Err(format!("strict decoding error: {}", warnings.join(", ")))
        }
        _ => Ok(warnings),
    }
}

/// The namespace in the object, if it has one, and the one in the URL must agree.
pub(crate) fn own_namespace(object: &mut Value, namespace: &str) -> Result<(), Failure> {
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

/// The name in the object and the one in the URL must agree.
pub(crate) fn own_name(object: &Value, name: &str) -> Result<(), Failure> {
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

/// A complaint about a query parameter of a write.
pub(crate) fn bad_option(call: &Call, field: &str, cause: &'static str, why: &str) -> Failure {
    let kind = match call.verb {
        Verb::Create => "CreateOptions",
        Verb::Update => "UpdateOptions",
        Verb::Delete => "DeleteOptions",
        _ => "PatchOptions",
    };
    let error = FieldError { cause, field: field.to_owned(), message: why.to_owned() };
    status::invalid(&format!("{kind}.meta.k8s.io"), "", &[error])
}

/// A patch, which need not be a whole object.
pub(crate) fn parse_patch(call: &Call) -> Result<Value, Failure> {
    serde_json::from_slice(&call.body)
        .map_err(|error| status::bad_request(format!("error decoding patch: {error}")))
}

//! Carries out patches: Server-Side Apply, JSON merge patch and JSON Patch.

use serde_json::{Value, json};

use super::body::{check_name, check_namespace, check_type, warnings};
use super::json_patch::JsonPatch;
use super::ownership;
use super::request::Call;
use super::response::Response;
use super::save::{Target, save};
use super::schema;
use super::status::{self, API_VERSION, Failure, FieldError};
use super::store::State;

/// Server-Side Apply. It creates the Lease if there is none.
pub(crate) fn apply(state: &mut State, call: &Call) -> Result<Response, Failure> {
    let config = config(call)?;
    let target = Target::new(call, &call.name);
    let live = target.find(state);
    let exists = live.is_some();
    let live = live.as_deref().unwrap_or(&Value::Null);
    let merged = ownership::apply(live, &config, call.manager(), call.flag("force"))?;
    let mut object = schema::decode(&merged).map_err(status::unexpected)?.object;
    if let Some(uid) = object["metadata"]["uid"].as_str()
        && !exists
    {
        let why = format!("there is no object, and the request names the uid {uid}");
        return Err(status::conflict(&call.name, &why));
    }
    check_namespace(&mut object, &call.namespace)?;
    check_name(&object, &call.name)?;
    save(state, &target, object)
}

/// The object in the body of an apply. An unknown field is an error.
fn config(call: &Call) -> Result<Value, Failure> {
    let given = parse(call)?;
    let version = given["apiVersion"].as_str().unwrap_or_default();
    let kind = given["kind"].as_str().unwrap_or_default();
    if (version, kind) != (API_VERSION, "Lease") {
        return Err(status::bad_request(format!(
            "the object is a {kind:?} of {version:?}, not a Lease of {API_VERSION}"
        )));
    }
    if !given["metadata"]["managedFields"].is_null() {
        return Err(status::bad_request("metadata.managedFields must be null"));
    }
    let refuse = |why: String| status::unexpected(format!("the object is not a Lease: {why}"));
    let checked = schema::check(&given).map_err(refuse)?;
    if let Some(field) = checked.unknown.first() {
        return Err(refuse(format!("unknown field {field:?}")));
    }
    match ownership::duplicate(&checked.object) {
        Some(why) => Err(refuse(why)),
        None => Ok(checked.object),
    }
}

/// Parses the body of an apply. An empty document is an empty object, as in YAML.
fn parse(call: &Call) -> Result<Value, Failure> {
    let refuse = |why: String| status::bad_request(format!("the patch cannot be read: {why}"));
    let given: Value = match call.body.as_slice() {
        [] => json!({}),
        body => serde_json::from_slice(body).map_err(|error| refuse(error.to_string()))?,
    };
    if !given.is_object() && !given.is_null() {
        return Err(refuse("it is not an object".to_owned()));
    }
    Ok(given)
}

/// JSON merge patch or JSON Patch of an existing Lease.
pub(crate) fn patch(state: &mut State, call: &Call) -> Result<Response, Failure> {
    let patch: Value =
        serde_json::from_slice(&call.body).map_err(|_| status::bad_request("the patch is not JSON"))?;
    let target = Target::new(call, &call.name);
    let live = target.find(state).ok_or_else(|| status::not_found(&call.name))?;
    let (patched, mut unknown) =
        if call.is_json_patch() { json_patched(call, &live)? } else { (merged(&live, &patch)?, Vec::new()) };
    let refuse = |why: String| {
        let message = format!("the patched object is not a Lease: {why}");
        let error = FieldError { cause: "FieldValueInvalid", field: "patch".to_owned(), message };
        status::invalid("", "", &[error])
    };
    if !patched.is_object() {
        return Err(refuse("it is not an object".to_owned()));
    }
    check_type(&patched).map_err(refuse)?;
    let decoded = schema::decode(&patched).map_err(refuse)?;
    unknown.extend(decoded.unknown.iter().map(|field| format!("unknown field {field:?}")));
    let warnings = warnings(call, unknown).map_err(refuse)?;
    let mut object = decoded.object;
    ownership::update(&live, &mut object, call.manager());
    check_namespace(&mut object, &call.namespace)?;
    check_name(&object, &call.name)?;
    Ok(save(state, &target, object)?.warn(&warnings))
}

/// `live` after a JSON Patch, and the warnings about the patch.
fn json_patched(call: &Call, live: &Value) -> Result<(Value, Vec<String>), Failure> {
    let is_strict = call.query("fieldValidation") != Some("Ignore");
    let patch = JsonPatch::parse(&call.body, is_strict)?;
    Ok((patch.apply(live)?, patch.unknown))
}

/// `live` after a JSON merge patch.
fn merged(live: &Value, patch: &Value) -> Result<Value, Failure> {
    if !patch.is_object() {
        return Err(status::bad_request("the patch is not an object"));
    }
    let mut patched = live.clone();
    merge(&mut patched, patch);
    Ok(patched)
}

/// Merges `patch` into `target` by RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Value::Object(target) = target {
                target.remove(key);
            }
        } else {
            merge(&mut target[key], value);
        }
    }
}

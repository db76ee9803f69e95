//! The patches: Server-Side Apply and JSON merge patch.

use serde_json::{Value, json};

use super::{
    answer::Answer,
    body::{own_name, own_namespace, parse_patch, warnings},
    ownership,
    request::Call,
    save::{Target, save},
    schema::{self, Mismatch},
    status::{self, API_VERSION, Failure, FieldError},
    store::State,
};

/// Server-Side Apply, which creates what is missing.
pub(crate) fn apply(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    let manager = call.query("fieldManager").ok_or_else(|| {
        let error = FieldError {
            cause: "FieldValueRequired",
            field: "fieldManager".to_owned(),
            message: "Required value: is required for apply patch".to_owned(),
        };
        status::invalid("PatchOptions.meta.k8s.io", "", &[error])
    })?;
    let config = config(call)?;
    let target = Target::new(call, &call.name);
    let live = target.find(state);
    let exists = live.is_some();
    let live = live.as_deref().unwrap_or(&Value::Null);
    let merged = ownership::apply(live, &config, manager, call.flag("force"))?;
    let mut object = schema::decode(&merged)
        .map_err(|m| {
            status::unexpected(format!("failed to convert new typed object to object: {}", m.message))
        })?
        .object;
    if let Some(uid) = object["metadata"]["uid"].as_str()
        && !exists
    {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(status::conflict(&call.name, &why));
    }
    own_namespace(&mut object, &call.namespace)?;
    own_name(&object, &call.name)?;
    if !exists && let Value::Object(metadata) = &mut object["metadata"] {
        metadata.remove("resourceVersion");
    }
    save(state, &target, object)
}

/// The object that an apply lists; its fields must all be known.
fn config(call: &Call) -> Result<Value, Failure> {
    let given = parse_patch(call)?;
    let version = given["apiVersion"].as_str().unwrap_or_default();
    if version != API_VERSION {
        return Err(status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {API_VERSION}"
        )));
    }
    if !given["metadata"]["managedFields"].is_null() {
        return Err(status::bad_request("metadata.managedFields must be nil"));
    }
    let text = |field: &str| given["metadata"][field].as_str().unwrap_or_default().to_owned();
    let refuse = |why: String| {
        let subject = format!("{}/{}; {API_VERSION}, Kind=Lease", text("namespace"), text("name"));
        status::unexpected(format!("failed to create typed patch object ({subject}): {why}"))
    };
    let checked = schema::check(&given).map_err(|m| {
        let Mismatch { path, expected, found, .. } = m;
        refuse(format!("{path}: expected {expected}, got &value.valueUnstructured{{Value:{found}}}"))
    })?;
    match checked.unknown.first() {
        Some(field) => Err(refuse(format!(".{field}: field not declared in schema"))),
        None => Ok(checked.object),
    }
}

/// JSON merge patch, of what is there.
pub(crate) fn patch(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    let patch = parse_patch(call)?;
    let target = Target::new(call, &call.name);
    let live = target.find(state).ok_or_else(|| status::not_found(&call.name))?;
    let mut patched = Value::clone(&live);
    merge(&mut patched, &patch);
    let decoded = schema::decode(&patched).map_err(|m| {
        let error = FieldError {
            cause: "FieldValueInvalid",
            field: "patch".to_owned(),
            message: format!("Invalid value: {:?}: {}", patched.to_string(), m.message),
        };
        status::invalid("", "", &[error])
    })?;
    let warnings = warnings(call, &decoded.unknown)?;
    let mut object = decoded.object;
    ownership::update(&live, &mut object, call.manager());
    own_namespace(&mut object, &call.namespace)?;
    own_name(&object, &call.name)?;
    Ok(save(state, &target, object)?.warn(&warnings))
}

/// RFC 7396.
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

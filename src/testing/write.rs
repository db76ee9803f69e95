//! The writes: create, update, apply, patch, delete.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    answer::Answer,
    clock,
    log::Verb,
    ownership,
    request::Call,
    save::{Rehearsal, Target, may_create, save},
    schema::{self, Mismatch},
    status::{self, API_VERSION, Failure, FieldError},
    store::State,
};

/// Carries out a write.
pub(crate) fn write(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    match call.verb {
        Verb::Create => create(state, call),
        Verb::Update => update(state, call),
        Verb::Apply => apply(state, call),
        Verb::Patch => patch(state, call),
        _ => delete(state, call),
    }
}

fn create(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    let (mut object, warnings) = decode(call)?;
    let name = object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    own_namespace(&mut object, &call.namespace)?;
    let target = Target::new(&call.namespace, &name);
    ownership::update(&Value::Null, &mut object, call.manager());
    may_create(state, &target, &object)?;
    if !object["metadata"]["resourceVersion"].is_null() {
        return Err(status::unexpected(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if target.find(state).is_some() {
        return Err(status::already_exists(&name));
    }
    finish(save(state, &target, object, rehearsal(call)), &warnings)
}

fn update(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    let (mut object, warnings) = decode(call)?;
    own_namespace(&mut object, &call.namespace)?;
    own_name(&object, &call.name)?;
    let target = Target::new(&call.namespace, &call.name);
    let live = target.find(state);
    if let Some(wanted) = object["metadata"]["uid"].as_str() {
        let stored = live
            .as_ref()
            .and_then(|o| o["metadata"]["uid"].as_str())
            .unwrap_or_default();
        if wanted != stored {
            return Err(status::uid_precondition(
                &call.namespace,
                &call.name,
                wanted,
                stored,
            ));
        }
    }
    let live = live.as_deref().unwrap_or(&Value::Null);
    ownership::update(live, &mut object, call.manager());
    finish(save(state, &target, object, rehearsal(call)), &warnings)
}

fn apply(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    let manager = call.query("fieldManager").ok_or_else(|| {
        let error = FieldError {
            cause: "FieldValueRequired",
            field: "fieldManager".to_owned(),
            message: "Required value: is required for apply patch".to_owned(),
        };
        status::invalid("PatchOptions.meta.k8s.io", "", &[error])
    })?;
    let config = config(call)?;
    let target = Target::new(&call.namespace, &call.name);
    let live = target.find(state);
    let exists = live.is_some();
    let live = live.as_deref().unwrap_or(&Value::Null);
    let merged = ownership::apply(live, &config, manager, call.flag("force"))?;
    let mut object = schema::decode(&merged)
        .map_err(|m| {
            status::unexpected(format!(
                "failed to convert new typed object to object: {}",
                m.message
            ))
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
    finish(save(state, &target, object, rehearsal(call)), &[])
}

/// The object that an apply lists; its fields must all be known.
fn config(call: &Call) -> Result<Value, Failure> {
    let given: Value = serde_json::from_slice(&call.body)
        .map_err(|error| status::bad_request(format!("error decoding patch: {error}")))?;
    let version = given["apiVersion"].as_str().unwrap_or_default();
    if version != API_VERSION {
        return Err(status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {API_VERSION}"
        )));
    }
    if !given["metadata"]["managedFields"].is_null() {
        return Err(status::bad_request("metadata.managedFields must be nil"));
    }
    let text = |field: &str| {
        given["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let refuse = |why: String| {
        let subject = format!(
            "{}/{}; {API_VERSION}, Kind=Lease",
            text("namespace"),
            text("name")
        );
        status::unexpected(format!(
            "failed to create typed patch object ({subject}): {why}"
        ))
    };
    let checked = schema::check(&given).map_err(|m| {
        let Mismatch {
            path,
            expected,
            found,
            ..
        } = m;
        refuse(format!(
            "{path}: expected {expected}, got &value.valueUnstructured{{Value:{found}}}"
        ))
    })?;
    match checked.unknown.first() {
        Some(field) => Err(refuse(format!(".{field}: field not declared in schema"))),
        None => Ok(checked.object),
    }
}

fn patch(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    let patch: Value = serde_json::from_slice(&call.body)
        .map_err(|error| status::bad_request(format!("error decoding patch: {error}")))?;
    let target = Target::new(&call.namespace, &call.name);
    let live = target
        .find(state)
        .ok_or_else(|| status::not_found(&call.name))?;
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
    finish(save(state, &target, object, rehearsal(call)), &warnings)
}

fn delete(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    let target = Target::new(&call.namespace, &call.name);
    let live = target
        .find(state)
        .ok_or_else(|| status::not_found(&call.name))?;
    let metadata = &live["metadata"];
    let options = call.json();
    let wanted = &options["preconditions"];
    for (field, name, hint) in [
        ("uid", "UID", "deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "modified"),
    ] {
        if let Some(wanted) = wanted[field].as_str()
            && metadata[field] != wanted
        {
            let found = metadata[field].as_str().unwrap_or_default();
            let why = format!(
                "the {name} in the precondition ({wanted}) does not match the {name} in record ({found}). \
                 The object might have been {hint}"
            );
            return Err(status::delete_precondition(&call.name, &why));
        }
    }
    let success = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": { "name": call.name, "group": status::GROUP, "kind": "leases", "uid": metadata["uid"] },
    });
    let is_finalized = metadata["finalizers"].is_null();
    match (call.dry_run(), is_finalized) {
        (true, _) => Ok(Answer::json(200, &success)),
        (false, true) => {
            state.commit(target.key(), None);
            Ok(Answer::json(200, &success))
        }
        // Somebody asked to be waited for: the last finalizer to go takes the object with it.
        (false, false) => Ok(Answer::json(200, &mark_deleted(state, &target, &live))),
    }
}

fn mark_deleted(state: &mut State, target: &Target, live: &Arc<Value>) -> Arc<Value> {
    if !live["metadata"]["deletionTimestamp"].is_null() {
        return live.clone();
    }
    let mut object = Value::clone(live);
    object["metadata"]["deletionTimestamp"] = clock::seconds().into();
    object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    state.commit(target.key(), Some(object))
}

/// The object in the body, and what it got away with.
fn decode(call: &Call) -> Result<(Value, Vec<String>), Failure> {
    let given: Value = serde_json::from_slice(&call.body).map_err(|error| {
        let start: String = String::from_utf8_lossy(&call.body).chars().take(30).collect();
        status::bad_request(format!(
            "the object provided is unrecognized (must be of type Lease): couldn't get version/kind; \
             json parse error: {error} ({start:?})"
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
        status::bad_request(format!(
            "{kind} in version \"v1\" cannot be handled as a Lease: {why}"
        ))
    };
    match given["kind"].as_str() {
        None | Some("" | "Lease") => {}
        Some(kind) => {
            let why = format!("no kind {kind:?} is registered for version {API_VERSION:?}");
            return Err(refuse(&why));
        }
    }
    let decoded = schema::decode(&given).map_err(|m| refuse(&m.message))?;
    let warnings = warnings(call, &decoded.unknown)?;
    Ok((decoded.object, warnings))
}

/// Unknown fields are dropped with a warning, unless the client asks for more or less.
fn warnings(call: &Call, unknown: &[String]) -> Result<Vec<String>, Failure> {
    let warnings: Vec<String> = unknown
        .iter()
        .map(|field| format!("unknown field {field:?}"))
        .collect();
    match call.query("fieldValidation") {
        Some("Ignore") => Ok(Vec::new()),
        Some("Strict") if !warnings.is_empty() => {
            let why = format!("strict decoding error: {}", warnings.join(", "));
            Err(status::bad_request(format!(
                "Lease in version \"v1\" cannot be handled as a Lease: {why}"
            )))
        }
        _ => Ok(warnings),
    }
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

fn own_namespace(object: &mut Value, namespace: &str) -> Result<(), Failure> {
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

fn own_name(object: &Value, name: &str) -> Result<(), Failure> {
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

fn rehearsal(call: &Call) -> Rehearsal {
    if call.dry_run() {
        Rehearsal::Yes
    } else {
        Rehearsal::No
    }
}

fn finish(
    saved: Result<(u16, Arc<Value>), Failure>,
    warnings: &[String],
) -> Result<Answer, Failure> {
    let (code, object) = saved?;
    let answer = Answer::json(code, &object);
    Ok(warnings
        .iter()
        .fold(answer, |answer, warning| answer.warn(warning)))
}

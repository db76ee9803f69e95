//! The writes: create, update, delete, and the way to the patches.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    answer::Answer,
    body::{bad_option, decode, own_name, own_namespace},
    clock,
    log::Verb,
    ownership,
    patch::{apply, patch},
    request::Call,
    save::{Target, may_create, save},
    status::{self, Failure},
    store::State,
};

/// Carries out a write.
pub(crate) fn write(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    if let Some(other) = call.query("dryRun").filter(|mode| *mode != "All") {
        let why = format!("Unsupported value: [{other:?}]: supported values: \"All\"");
        return Err(bad_option(call, "dryRun", "FieldValueNotSupported", &why));
    }
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
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    own_namespace(&mut object, &call.namespace)?;
    let target = Target::new(call, &name);
    ownership::update(&Value::Null, &mut object, call.manager());
    may_create(state, &target, &object)?;
    if !object["metadata"]["resourceVersion"].is_null() {
        return Err(status::unexpected("resourceVersion should not be set on objects to be created"));
    }
    match target.find(state) {
        None => Ok(save(state, &target, object)?.warn(&warnings)),
        Some(live) if live["metadata"]["deletionTimestamp"].is_null() => Err(status::already_exists(&name)),
        Some(_) => Err(status::being_deleted(&name)),
    }
}

fn update(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    let (mut object, warnings) = decode(call)?;
    own_namespace(&mut object, &call.namespace)?;
    own_name(&object, &call.name)?;
    let target = Target::new(call, &call.name);
    let live = target.find(state);
    if let Some(wanted) = object["metadata"]["uid"].as_str() {
        let stored = live.as_ref().and_then(|o| o["metadata"]["uid"].as_str()).unwrap_or_default();
        if wanted != stored {
            return Err(status::uid_precondition(&call.namespace, &call.name, wanted, stored));
        }
    }
    let live = live.as_deref().unwrap_or(&Value::Null);
    ownership::update(live, &mut object, call.manager());
    Ok(save(state, &target, object)?.warn(&warnings))
}

fn delete(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    let target = Target::new(call, &call.name);
    let live = target.find(state).ok_or_else(|| status::not_found(&call.name))?;
    let metadata = &live["metadata"];
    let options = call.json();
    let wanted = &options["preconditions"];
    for (field, name, hint) in
        [("uid", "UID", "deleted and then recreated"), ("resourceVersion", "ResourceVersion", "modified")]
    {
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
    // Somebody asked to be waited for: the last finalizer to go takes the object with it.
    if !metadata["finalizers"].is_null() {
        return Ok(Answer::json(200, &mark_deleted(state, &target, &live)));
    }
    target.commit(state, None);
    Ok(Answer::json(200, &success))
}

fn mark_deleted(state: &mut State, target: &Target, live: &Arc<Value>) -> Arc<Value> {
    if !live["metadata"]["deletionTimestamp"].is_null() {
        return live.clone();
    }
    let mut object = Value::clone(live);
    object["metadata"]["deletionTimestamp"] = clock::seconds().into();
    object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    target.commit(state, Some(object))
}

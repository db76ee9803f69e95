//! Deletes a Lease.

use std::sync::Arc;

use serde_json::{Value, json};

use super::clock;
use super::options;
use super::request::Call;
use super::response::Response;
use super::save::Target;
use super::status::{self, Failure};
use super::store::State;

/// Deletes the Lease, or marks it as deleted if it has finalizers.
pub(crate) fn delete(state: &mut State, call: &Call) -> Result<Response, Failure> {
    check_body(call)?;
    options::check_delete(call)?;
    let target = Target::new(call, &call.name);
    let live = target.find(state).ok_or_else(|| status::not_found(&call.name))?;
    let metadata = &live["metadata"];
    let wanted = &call.delete_options()["preconditions"];
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
    // The object stays until its last finalizer is removed.
    if !metadata["finalizers"].is_null() {
        return Ok(Response::json(200, &mark_deleted(state, &target, &live)));
    }
    target.commit(state, None);
    Ok(Response::json(200, &success))
}

/// Checks that the body of a delete, if there is one, holds options.
fn check_body(call: &Call) -> Result<(), Failure> {
    if call.body.is_empty() {
        return Ok(());
    }
    let unreadable =
        |why: &str| status::bad_request(format!("couldn't get version/kind; json parse error: {why}"));
    let given: Value = serde_json::from_slice(&call.body).map_err(|error| unreadable(&error.to_string()))?;
    if !given.is_object() && !given.is_null() {
        return Err(unreadable("json: cannot unmarshal it"));
    }
    match given["kind"].as_str() {
        None | Some("" | "DeleteOptions") => Ok(()),
        Some(kind) => {
            let version = given["apiVersion"].as_str().unwrap_or_default();
            Err(status::bad_request(format!("no kind {kind:?} is registered for version {version:?}")))
        }
    }
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

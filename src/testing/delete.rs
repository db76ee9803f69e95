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
    for field in ["uid", "resourceVersion"] {
        if let Some(wanted) = wanted[field].as_str()
            && metadata[field] != wanted
        {
            let why = format!(
                "the {field} in the precondition ({wanted}) is not that of the object ({})",
                metadata[field]
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
    let unreadable = |why: String| status::bad_request(format!("the options cannot be read: {why}"));
    let given: Value = serde_json::from_slice(&call.body).map_err(|error| unreadable(error.to_string()))?;
    if !given.is_object() && !given.is_null() {
        return Err(unreadable("they are not an object".to_owned()));
    }
    match given["kind"].as_str() {
        None | Some("" | "DeleteOptions") => Ok(()),
        Some(kind) => Err(unreadable(format!("their kind is {kind:?}"))),
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

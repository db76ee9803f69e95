//! Carries out writes: create and update here, the others in their own files.

use serde_json::Value;

use super::body::{check_name, check_namespace, decode};
use super::delete::delete;
use super::options;
use super::ownership;
use super::patch::{apply, patch};
use super::request::{Call, parse_version};
use super::response::Response;
use super::save::{Target, insert, may_create, save};
use super::status::{self, Failure};
use super::store::State;
use super::unsupported;
use super::verb::Verb;

/// Carries out a write.
pub(crate) fn write(state: &mut State, call: &Call) -> Result<Response, Failure> {
    if call.verb != Verb::Delete {
        options::check_write(call)?;
    }
    match call.verb {
        Verb::Create => create(state, call),
        Verb::Update => update(state, call),
        Verb::Apply => apply(state, call),
        Verb::Patch => patch(state, call),
        _ => delete(state, call),
    }
}

fn create(state: &mut State, call: &Call) -> Result<Response, Failure> {
    unsupported::check_create(call)?;
    let (mut object, warnings) = decode(call)?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    check_namespace(&mut object, &call.namespace)?;
    let target = Target::new(call, &name);
    ownership::update(&Value::Null, &mut object, call.manager());
    may_create(state, &target, &object)?;
    // The real server ignores a malformed version, and any version in a dry run.
    let version = object["metadata"]["resourceVersion"].as_str().and_then(|v| parse_version(v).ok());
    if version.is_some_and(|version| version > 0) && !call.dry_run() {
        return Err(status::unexpected("resourceVersion should not be set on objects to be created"));
    }
    match target.find(state) {
        None => Ok(insert(state, &target, object)?.warn(&warnings)),
        Some(live) if live["metadata"]["deletionTimestamp"].is_null() => Err(status::already_exists(&name)),
        Some(_) => Err(status::being_deleted(&name)),
    }
}

fn update(state: &mut State, call: &Call) -> Result<Response, Failure> {
    let (mut object, warnings) = decode(call)?;
    check_namespace(&mut object, &call.namespace)?;
    check_name(&object, &call.name)?;
    let target = Target::new(call, &call.name);
    let live = target.find(state);
    if let Some(wanted) = object["metadata"]["uid"].as_str() {
        let stored = live.as_ref().and_then(|o| o["metadata"]["uid"].as_str()).unwrap_or_default();
        if wanted != stored {
            let why = format!("the uid in the request ({wanted}) is not that of the object ({stored})");
            return Err(status::conflict(&call.name, &why));
        }
    }
    let live = live.as_deref().unwrap_or(&Value::Null);
    ownership::update(live, &mut object, call.manager());
    Ok(save(state, &target, object)?.warn(&warnings))
}

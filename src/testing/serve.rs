//! The API: the response to every call.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::connection::Connection;
use super::options;
use super::request::Call;
use super::response::Response;
use super::selector::Selector;
use super::status::{self, API_VERSION, Failure};
use super::store::{State, Store};
use super::unsupported;
use super::verb::Verb;
use super::watch;
use super::write::write;

/// Carries out one call, and returns the response.
pub(crate) fn serve(store: &Arc<Store>, connection: &Arc<Mutex<Connection>>, call: &Call) -> Response {
    if let Err(refusal) = call.check() {
        return refusal;
    }
    let response = match call.verb {
        Verb::Get => store.read(|state| get(state, call)),
        Verb::List => store.read(|state| list(state, call)),
        Verb::Watch => watch::open(store, connection, call),
        _ => store.write(|state| write(state, call)),
    };
    response.unwrap_or_else(Response::from)
}

fn get(state: &State, call: &Call) -> Result<Response, Failure> {
    check_version_exists(state, call)?;
    let found = state.lease(&call.namespace, &call.name);
    let lease = found.ok_or_else(|| status::not_found(&call.name))?;
    Ok(Response::json(200, lease))
}

fn list(state: &State, call: &Call) -> Result<Response, Failure> {
    options::check_read(call)?;
    if let Err(failure) = call.revision() {
        return Err(status::bad_request(failure.message));
    }
    check_version_exists(state, call)?;
    let selector = Selector::parse(call)?;
    let items = state.leases.iter().filter(|(key, lease)| selector.matches(key, lease));
    let items: Vec<_> = items.map(|(_, lease)| without_type(lease)).collect();
    unsupported::check_list(state, call, items.len())?;
    let list = json!({
        "kind": "LeaseList",
        "apiVersion": API_VERSION,
        "metadata": { "resourceVersion": state.head.revision.to_string() },
        "items": items,
    });
    Ok(Response::json(200, &list))
}

/// The items of a list do not state their type: the list does.
fn without_type(lease: &Value) -> Value {
    let mut item = lease.clone();
    if let Value::Object(fields) = &mut item {
        fields.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind"));
    }
    item
}

/// Refuses a read that asks for a version that does not exist yet.
fn check_version_exists(state: &State, call: &Call) -> Result<(), Failure> {
    let (wanted, current) = (call.revision()?, state.head.revision);
    if wanted > current { Err(status::too_large(wanted, current)) } else { Ok(()) }
}

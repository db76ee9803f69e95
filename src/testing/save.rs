//! The last step of every write: checks an object against the stored one, and stores or refuses it.

use std::sync::Arc;

use serde_json::Value;

use super::clock;
use super::request::{Call, parse_version};
use super::response::Response;
use super::status::{self, Failure, FieldError, KIND, RESOURCE};
use super::store::{Phase, State};
use super::validate;

/// The Lease that a write is for, and whether the write is a dry run.
pub(crate) struct Target {
    namespace: String,
    name: String,
    dry_run: bool,
}

impl Target {
    pub(crate) fn new(call: &Call, name: &str) -> Self {
        Self { namespace: call.namespace.clone(), name: name.to_owned(), dry_run: call.dry_run() }
    }

    pub(crate) fn find(&self, state: &State) -> Option<Arc<Value>> {
        state.lease(&self.namespace, &self.name).cloned()
    }

    /// Stores the object, or deletes the stored one if `object` is `None`. A dry run changes nothing.
    pub(crate) fn commit(&self, state: &mut State, object: Option<Value>) -> Arc<Value> {
        match (self.dry_run, object) {
            (false, object) => state.commit((self.namespace.clone(), self.name.clone()), object),
            (true, object) => object.map(Arc::new).or_else(|| self.find(state)).unwrap_or_default(),
        }
    }
}

/// Stores `object`. If there is no Lease yet, this creates it; otherwise `object` must name the stored version.
pub(crate) fn save(state: &mut State, target: &Target, object: Value) -> Result<Response, Failure> {
    let version = version_of(&object)?;
    match target.find(state) {
        None => insert(state, target, object),
        Some(live) => {
            check_version(target, &live, version)?;
            replace(state, target, &live, object)
        }
    }
}

/// Checks that `object` may be created.
pub(crate) fn may_create(state: &State, target: &Target, object: &Value) -> Result<(), Failure> {
    match state.namespaces.get(&target.namespace) {
        None => return Err(status::namespace_not_found(&target.namespace)),
        Some(Phase::Terminating) => {
            return Err(status::terminating(&target.namespace, &target.name));
        }
        Some(Phase::Active) => {}
    }
    refuse_if_any(&target.name, &validate::lease(&without_coordination(&Value::Null, object.clone())))
}

/// Stores a new object.
pub(crate) fn insert(state: &mut State, target: &Target, object: Value) -> Result<Response, Failure> {
    may_create(state, target, &object)?;
    let mut object = without_coordination(&Value::Null, object);
    object["metadata"]["uid"] = state.next_uid().into();
    object["metadata"]["creationTimestamp"] = clock::seconds().into();
    if let Value::Object(metadata) = &mut object["metadata"] {
        metadata.remove("deletionTimestamp");
        metadata.remove("deletionGracePeriodSeconds");
    }
    Ok(Response::json(201, &target.commit(state, Some(object))))
}

fn replace(
    state: &mut State,
    target: &Target,
    live: &Arc<Value>,
    object: Value,
) -> Result<Response, Failure> {
    let mut object = without_coordination(live, object);
    for field in ["creationTimestamp", "generation"] {
        keep_live(&mut object, live, field);
    }
    for field in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if object["metadata"][field].is_null() {
            keep_live(&mut object, live, field);
        }
    }
    let mut errors = validate::unchanged(live, &object);
    errors.extend(validate::lease(&object));
    refuse_if_any(&target.name, &errors)?;

    let metadata = &object["metadata"];
    let is_gone = !metadata["deletionTimestamp"].is_null() && metadata["finalizers"].is_null();
    if same_but_for_times(live, &object) {
        return Ok(Response::json(200, live));
    }
    if is_gone {
        target.commit(state, None);
        return Ok(Response::json(200, &object));
    }
    Ok(Response::json(200, &target.commit(state, Some(object))))
}

/// The version that an object names, or 0 if it names none.
fn version_of(object: &Value) -> Result<u64, Failure> {
    match object["metadata"]["resourceVersion"].as_str() {
        None | Some("") => Ok(0),
        Some(text) => parse_version(text),
    }
}

/// The optimistic lock: an update must name the stored version.
fn check_version(target: &Target, live: &Value, version: u64) -> Result<(), Failure> {
    if version == 0 {
        let error = FieldError {
            cause: "FieldValueInvalid",
            field: "metadata.resourceVersion".to_owned(),
            message: "Invalid value: 0: must be specified for an update".to_owned(),
        };
        return Err(status::invalid(RESOURCE, &target.name, &[error]));
    }
    let current = live["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if current.parse() != Ok(version) {
        return Err(status::modified(&target.name));
    }
    Ok(())
}

/// `object` without the new fields of coordinated leader election, which is off by default. The fields stay if the
/// stored object has them.
fn without_coordination(live: &Value, mut object: Value) -> Value {
    if let Value::Object(spec) = &mut object["spec"] {
        spec.retain(|field, _| {
            !matches!(field.as_str(), "strategy" | "preferredHolder") || !live["spec"][field].is_null()
        });
    }
    object
}

fn keep_live(object: &mut Value, live: &Value, field: &str) {
    match &live["metadata"][field] {
        Value::Null => {
            if let Value::Object(metadata) = &mut object["metadata"] {
                metadata.remove(field);
            }
        }
        value => object["metadata"][field] = value.clone(),
    }
}

fn refuse_if_any(name: &str, errors: &[FieldError]) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(status::invalid(KIND, name, errors))
}

/// Whether a write changes nothing. The times in `managedFields` do not count.
fn same_but_for_times(live: &Value, object: &Value) -> bool {
    // First what differs most often.
    live["spec"] == object["spec"]
        && live["metadata"]["annotations"] == object["metadata"]["annotations"]
        && without_times(live) == without_times(object)
}

fn without_times(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(entries) = object["metadata"]["managedFields"].as_array_mut() {
        for entry in entries {
            if let Value::Object(entry) = entry {
                entry.remove("time");
            }
        }
    }
    object
}

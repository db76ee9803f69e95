//! Field ownership: Server-Side Apply merges fields, and every other write takes them over.

mod fields;
mod managers;

pub(crate) use managers::{Manager, Operation};

use serde_json::Value;

use super::clock;
use super::status::{self, Failure};
use fields::{Set, stored};
use managers::{Entry, Managers, decode, encode};

/// Records in `new` the owners after a PUT, POST or merge patch of `live` by `name`. A null `live` stands for a new
/// object. There is never a conflict: from now on `name` owns every field that the write changes.
pub(crate) fn update(live: &Value, new: &mut Value, name: &str) {
    let given = &new["metadata"]["managedFields"];
    let mut managers = decode(given);
    if managers.is_empty() && !is_reset(given) {
        managers = decode(&live["metadata"]["managedFields"]);
    }
    // If a client cleared the list, tracking starts again with the next apply.
    if !managers.is_empty() || live.is_null() {
        take_over(&mut managers, live, new, &Manager::new(name, Operation::Update));
    }
    record(new, &managers);
}

/// Applies `config` to `live` for the manager `name`. A null `live` stands for a new object.
pub(crate) fn apply(live: &Value, config: &Value, name: &str, force: bool) -> Result<Value, Failure> {
    let applier = Manager::new(name, Operation::Apply);
    let mut managers = decode(&live["metadata"]["managedFields"]);
    if managers.is_empty() {
        let earlier = Manager::new("before-first-apply", Operation::Update);
        take_over(&mut managers, &Value::Null, live, &earlier);
    }

    let mut merged = merge(live, config);
    let mut owned = Set::new();
    for (path, value) in fields::in_order(config) {
        fields::set(&mut merged, &path, value.clone());
        owned.insert(path);
    }
    let entry = managers.entry(applier.clone()).or_default();
    let dropped = std::mem::replace(&mut entry.fields, owned);
    for path in &dropped {
        let is_owned = |entry: &Entry| entry.fields.iter().any(|owned| owned.starts_with(path));
        if !managers.values().any(is_owned) {
            fields::remove(&mut merged, path);
        }
    }

    let Difference { changed, removed } = Difference::between(live, &merged);
    let others = managers.iter_mut().filter(|(m, _)| **m != applier);
    let mut conflicts = Vec::new();
    for (manager, entry) in others {
        for path in entry.fields.intersection(&changed) {
            conflicts.push((manager.display(), fields::display(path)));
        }
        entry.fields.retain(|p| !changed.contains(p) && !removed.contains(p));
    }
    if !force && !conflicts.is_empty() {
        return Err(status::field_conflicts(&conflicts));
    }
    if live.is_null() || !changed.is_empty() || !removed.is_empty() {
        managers.entry(applier).or_default().time = Some(clock::seconds());
    }
    managers.retain(|_, entry| !entry.fields.is_empty());
    record(&mut merged, &managers);
    Ok(merged)
}

/// The error message about a list in `config` that has an item twice, if there is one.
pub(crate) fn duplicate(config: &Value) -> Option<String> {
    let path = fields::duplicate(config)?;
    let (item, list) = path.split_last()?;
    let item = fields::display(std::slice::from_ref(item));
    Some(format!("{}: duplicate entries for key {item}", fields::display(list)))
}

fn record(object: &mut Value, managers: &Managers) {
    object["metadata"]["managedFields"] = encode(managers);
    if managers.is_empty()
        && let Value::Object(metadata) = &mut object["metadata"]
    {
        metadata.remove("managedFields");
    }
}

/// Gives every field in which `new` differs from `live` to `manager`.
fn take_over(managers: &mut Managers, live: &Value, new: &Value, manager: &Manager) {
    let Difference { changed, removed } = Difference::between(live, new);
    for entry in managers.values_mut() {
        entry.fields.retain(|p| !changed.contains(p) && !removed.contains(p));
    }
    if !changed.is_empty() {
        let Entry { fields, time } = managers.entry(manager.clone()).or_default();
        fields.extend(changed);
        *time = Some(clock::seconds());
    }
    managers.retain(|_, entry| !entry.fields.is_empty());
}

/// `live` with the parts of `config` that are not fields: they identify the object.
fn merge(live: &Value, config: &Value) -> Value {
    let mut merged = without_managers(live);
    for key in ["apiVersion", "kind"] {
        merged[key] = config[key].clone();
    }
    for key in ["name", "namespace", "uid", "resourceVersion"] {
        let value = &config["metadata"][key];
        if !value.is_null() {
            merged["metadata"][key] = value.clone();
        }
    }
    merged
}

/// A copy without `managedFields`, which are large, and which the write replaces.
fn without_managers(object: &Value) -> Value {
    let Value::Object(members) = object else {
        return object.clone();
    };
    let copied = members.iter().map(|(name, value)| match value {
        Value::Object(fields) if name == "metadata" => {
            let fields = fields.iter().filter(|(name, _)| *name != "managedFields");
            (name.clone(), Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect()))
        }
        _ => (name.clone(), value.clone()),
    });
    Value::Object(copied.collect())
}

/// Whether `given` asks to drop all ownership: an empty list or one empty entry, as Kubernetes documents.
fn is_reset(given: &Value) -> bool {
    match given.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    }
}

struct Difference {
    changed: Set,
    removed: Set,
}

impl Difference {
    fn between(old: &Value, new: &Value) -> Self {
        let (old, new) = (stored(old), stored(new));
        let changed = new.iter().filter(|(path, value)| old.get(*path) != Some(value));
        let removed = old.keys().filter(|path| !new.contains_key(*path));
        Self { changed: changed.map(|(path, _)| path.clone()).collect(), removed: removed.cloned().collect() }
    }
}

//! A Lease as a set of fields. Server-Side Apply owns fields, not objects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The path of a field, in the notation of `managedFields`: `f:name`, `k:{"uid":"..."}`, `v:"value"`.
pub(crate) type Path = Vec<String>;
/// A set of fields.
pub(crate) type Set = BTreeSet<Path>;

/// Metadata that no manager owns: the server sets it, or it identifies the object.
const SYSTEM: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// Fields whose items are owned one by one.
const COLLECTIONS: [&str; 4] = ["annotations", "finalizers", "labels", "ownerReferences"];

/// Every field with its value. An apply owns what it lists, including nulls and empty collections.
pub(crate) fn fields(object: &Value) -> BTreeMap<Path, Value> {
    in_order(object).into_iter().collect()
}

/// The same, with the items of a list in the order of the list.
pub(crate) fn in_order(object: &Value) -> Vec<(Path, Value)> {
    let mut found = Vec::new();
    for (name, value) in members(&object["metadata"]) {
        if SYSTEM.contains(&name.as_str()) {
            continue;
        }
        let path = vec!["f:metadata".to_owned(), format!("f:{name}")];
        let items = items(name, value);
        if items.is_empty() {
            found.push((path.clone(), value.clone()));
        }
        for (key, item) in items {
            let mut path = path.clone();
            path.push(key);
            found.push((path, item));
        }
    }
    let spec = vec!["f:spec".to_owned()];
    for (name, value) in members(&object["spec"]) {
        let mut path = spec.clone();
        path.push(format!("f:{name}"));
        found.push((path, value.clone()));
    }
    if object.get("spec").is_some_and(|s| s.is_null() || *s == json!({})) {
        found.push((spec, json!({})));
    }
    found
}

/// Every field of a stored object. Collections are fields too, and can be added and removed.
pub(crate) fn stored(object: &Value) -> BTreeMap<Path, Value> {
    let mut found = fields(object);
    // Every stored object has a spec: it is never added or removed.
    found.remove(&["f:spec".to_owned()][..]);
    let collections: Set = found.keys().filter(|p| p.len() > 2).map(|p| p[..2].to_vec()).collect();
    found.extend(collections.into_iter().map(|p| (p, Value::Null)));
    found
}

/// The first field that occurs twice.
pub(crate) fn duplicate(object: &Value) -> Option<Path> {
    let mut seen = Set::new();
    in_order(object).into_iter().map(|(path, _)| path).find(|path| !seen.insert(path.clone()))
}

/// Writes one field.
pub(crate) fn set(object: &mut Value, path: &[String], value: Value) {
    let [area, field, item @ ..] = path else {
        return;
    };
    let name = &field[2..];
    let field = &mut object[&area[2..]][name];
    match item.first().map(|item| item.split_at(2)) {
        // An empty collection changes nothing.
        None if COLLECTIONS.contains(&name) => {}
        None => *field = value,
        Some(("f:", name)) => field[name] = value,
        Some(_) => {
            if !field.is_array() {
                *field = Value::Array(Vec::new());
            }
            if let Value::Array(list) = field {
                match list.iter_mut().find(|old| key(old) == item[0]) {
                    Some(old) => *old = value,
                    None => list.push(value),
                }
            }
        }
    }
}

/// Removes one field.
pub(crate) fn remove(object: &mut Value, path: &[String]) {
    let [area, field, item @ ..] = path else {
        return;
    };
    let Some(Value::Object(area)) = object.get_mut(&area[2..]) else {
        return;
    };
    let Some(item) = item.first() else {
        area.remove(&field[2..]);
        return;
    };
    match area.get_mut(&field[2..]) {
        Some(Value::Object(map)) => {
            map.remove(&item[2..]);
        }
        Some(Value::Array(list)) => list.retain(|old| key(old) != *item),
        _ => {}
    }
}

/// A path as error messages write it: `.metadata.ownerReferences[uid="..."]`.
pub(crate) fn display(path: &[String]) -> String {
    path.iter()
        .map(|element| match element.split_at(2) {
            ("k:", uid) => {
                let key: Value = serde_json::from_str(uid).unwrap_or_default();
                format!("[uid={}]", key["uid"])
            }
            ("v:", value) => format!("[={value}]"),
            (_, name) => format!(".{name}"),
        })
        .collect()
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

/// The items of a collection, each of which has its own owner.
fn items(name: &str, value: &Value) -> Vec<(String, Value)> {
    match (name, value) {
        ("labels" | "annotations", Value::Object(map)) => {
            map.iter().map(|(k, v)| (format!("f:{k}"), v.clone())).collect()
        }
        ("ownerReferences" | "finalizers", Value::Array(list)) => {
            list.iter().map(|item| (key(item), item.clone())).collect()
        }
        _ => Vec::new(),
    }
}

/// The key of an item in a list: the uid of an owner, or the finalizer itself.
fn key(item: &Value) -> String {
    match item {
        Value::Object(owner) => {
            let uid = owner.get("uid").cloned().unwrap_or_default();
            let key: Map<String, Value> = [("uid".to_owned(), uid)].into_iter().collect();
            format!("k:{}", Value::Object(key))
        }
        plain => format!("v:{plain}"),
    }
}

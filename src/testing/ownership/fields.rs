//! A Lease as a set of fields. Server-Side Apply owns fields, not objects.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The path of a field, in the notation of `managedFields`: `f:name`, `k:{"uid":"..."}`, `v:"value"`.
pub(crate) type Path = Vec<Element>;
/// One element of a path. The common ones need no memory of their own.
pub(crate) type Element = Cow<'static, str>;
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

/// Common elements of paths.
const COMMON: [&str; 10] = [
    "f:metadata",
    "f:spec",
    "f:annotations",
    "f:labels",
    "f:ownerReferences",
    "f:holderIdentity",
    "f:leaseDurationSeconds",
    "f:acquireTime",
    "f:renewTime",
    "f:leaseTransitions",
];

/// An element of a path from its text.
pub(crate) fn element(text: &str) -> Element {
    let common = COMMON.iter().find(|common| **common == text);
    common.map_or_else(|| Cow::Owned(text.to_owned()), |common| Cow::Borrowed(*common))
}

/// The element of a path for the member `name` of an object.
fn member(name: &str) -> Element {
    let common = COMMON.iter().find(|common| common[2..] == *name);
    common.map_or_else(|| Cow::Owned(format!("f:{name}")), |common| Cow::Borrowed(*common))
}

/// Every field with its value, with the items of a list in the order of the list. An apply owns what it lists,
/// including nulls and empty collections.
pub(crate) fn in_order(object: &Value) -> Vec<(Path, &Value)> {
    let mut found = Vec::new();
    for (name, value) in members(&object["metadata"]) {
        if SYSTEM.contains(&name.as_str()) {
            continue;
        }
        let (metadata, field) = (element("f:metadata"), member(name));
        let items = items(name, value);
        if items.is_empty() {
            found.push((vec![metadata, field], value));
            continue;
        }
        for (key, item) in items {
            found.push((vec![metadata.clone(), field.clone(), key], item));
        }
    }
    for (name, value) in members(&object["spec"]) {
        found.push((vec![element("f:spec"), member(name)], value));
    }
    if let Some(spec) = object.get("spec").filter(|s| s.is_null() || **s == json!({})) {
        found.push((vec![element("f:spec")], spec));
    }
    found
}

/// Every field of a stored object. Collections are fields too, and can be added and removed.
pub(crate) fn stored(object: &Value) -> BTreeMap<Path, &Value> {
    let mut found: BTreeMap<_, _> = in_order(object).into_iter().collect();
    // Every stored object has a spec: it is never added or removed.
    found.remove(&[element("f:spec")][..]);
    let collections: Set = found.keys().filter(|p| p.len() > 2).map(|p| p[..2].to_vec()).collect();
    found.extend(collections.into_iter().map(|p| (p, &Value::Null)));
    found
}

/// The first field that occurs twice.
pub(crate) fn duplicate(object: &Value) -> Option<Path> {
    let mut seen = Set::new();
    in_order(object).into_iter().map(|(path, _)| path).find(|path| !seen.insert(path.clone()))
}

/// Writes one field.
pub(crate) fn set(object: &mut Value, path: &[Element], value: Value) {
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
pub(crate) fn remove(object: &mut Value, path: &[Element]) {
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
pub(crate) fn display(path: &[Element]) -> String {
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
fn items<'a>(name: &str, value: &'a Value) -> Vec<(Element, &'a Value)> {
    match (name, value) {
        ("labels" | "annotations", Value::Object(map)) => map.iter().map(|(k, v)| (member(k), v)).collect(),
        ("ownerReferences" | "finalizers", Value::Array(list)) => {
            list.iter().map(|item| (key(item).into(), item)).collect()
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

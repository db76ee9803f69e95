//! `metadata.managedFields`: the managers, and the fields that each owns.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::{Value, json};

use super::fields::{self, Path, Set};
use crate::testing::status::API_VERSION;

/// A manager. An applier and an updater of the same name are two managers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Manager {
    pub name: String,
    pub operation: Operation,
    pub subresource: String,
}

/// The kind of write by which a manager got its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

/// The fields of one manager, and the time of its last change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    pub fields: Set,
    pub time: Option<String>,
}

/// All managers of one object.
pub(crate) type Managers = BTreeMap<Manager, Entry>;

impl Manager {
    pub(crate) fn new(name: &str, operation: Operation) -> Self {
        let name = if name.is_empty() { "unknown" } else { name };
        Self { name: name.to_owned(), operation, subresource: String::new() }
    }

    /// The manager as conflict messages name it.
    pub(crate) fn display(&self) -> String {
        let name = format!("{:?}", self.name);
        match self.operation {
            Operation::Apply => name,
            Operation::Update => format!("{name} using {API_VERSION}"),
        }
    }
}

/// Reads `managedFields`.
pub(crate) fn decode(entries: &Value) -> Managers {
    let mut managers = Managers::new();
    for entry in entries.as_array().into_iter().flatten() {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => continue,
        };
        let manager = Manager { name: text("manager"), operation, subresource: text("subresource") };
        let mut fields = Set::new();
        collect(&entry["fieldsV1"], &mut Path::new(), &mut fields);
        let time = entry["time"].as_str().map(ToOwned::to_owned);
        managers.insert(manager, Entry { fields, time });
    }
    managers
}

/// Writes `managedFields` in the order of the real server: appliers first, then by age.
pub(crate) fn encode(managers: &Managers) -> Value {
    let mut sorted: Vec<_> = managers.iter().collect();
    sorted.sort_by_key(|(m, e)| (m.operation, e.time.clone().unwrap_or_default(), m.name.clone()));
    sorted.into_iter().map(|(m, e)| encode_one(m, e)).collect()
}

fn encode_one(manager: &Manager, entry: &Entry) -> Value {
    let operation = match manager.operation {
        Operation::Apply => "Apply",
        Operation::Update => "Update",
    };
    let mut encoded = json!({
        "manager": manager.name,
        "operation": operation,
        "apiVersion": API_VERSION,
        "fieldsType": "FieldsV1",
        "fieldsV1": tree(&entry.fields),
    });
    if let Some(time) = &entry.time {
        encoded["time"] = time.as_str().into();
    }
    if !manager.subresource.is_empty() {
        encoded["subresource"] = manager.subresource.as_str().into();
    }
    encoded
}

/// The set as nested objects. "." marks a collection that itself has an owner.
fn tree(set: &Set) -> Value {
    let mut root = json!({});
    for path in set {
        let node = path.iter().fold(&mut root, |node, element| &mut node[&**element]);
        *node = json!({});
        let mut after = set.range::<Path, _>((Bound::Excluded(path), Bound::Unbounded));
        if after.next().is_some_and(|next| next.starts_with(path)) {
            node["."] = json!({});
        }
    }
    root
}

fn collect(node: &Value, path: &mut Path, found: &mut Set) {
    let Value::Object(children) = node else {
        return;
    };
    if children.is_empty() && !path.is_empty() {
        found.insert(path.clone());
    }
    for (element, child) in children {
        if element == "." {
            found.insert(path.clone());
        } else if element.len() > 2 {
            path.push(fields::element(element));
            collect(child, path, found);
            path.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_fields_survive_decoding_and_encoding() {
        let entries = json!([{
            "manager": "kubectl",
            "operation": "Update",
            "apiVersion": API_VERSION,
            "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {
                    "f:labels": { ".": {}, "f:app": {} },
                    "f:ownerReferences": { "k:{\"uid\":\"1\"}": {} },
                },
                "f:spec": { "f:holderIdentity": {} },
            },
        }]);
        assert_eq!(encode(&decode(&entries)), entries);
    }
}

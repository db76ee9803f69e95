//! Replaces the parts of a response that differ between two equal servers by names that do not differ.

use std::collections::BTreeMap;

use serde_json::Value;

/// The responses of one server with its uids, resourceVersions and times replaced. A uid or a resourceVersion is named
/// after the step in which it first occurred. An unchanged value therefore keeps its name. A new resourceVersion that is
/// less than the last new one is marked as old. Of a time, the form remains. Messages are removed: clients decide by codes,
/// reasons and details.
pub(crate) fn normalize(responses: &[Value]) -> Vec<Value> {
    let mut names = Names::default();
    let rename = |(i, response): (usize, &Value)| {
        let mut response = response.clone();
        names.collect(i + 1, &response);
        names.replace(&mut response);
        response
    };
    responses.iter().enumerate().map(rename).collect()
}

#[derive(Default)]
struct Names {
    uids: Vec<(String, String)>,
    versions: BTreeMap<u64, String>,
    last: u64,
}

impl Names {
    fn collect(&mut self, step: usize, value: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(uid) = value["metadata"]["uid"].as_str() {
                    self.collect_uid(step, uid);
                }
                if let Some(version) = version(value)
                    && is_lease(value)
                {
                    self.collect_version(step, version);
                }
                object.values().for_each(|v| self.collect(step, v));
            }
            Value::Array(list) => list.iter().for_each(|v| self.collect(step, v)),
            _ => {}
        }
    }

    fn collect_uid(&mut self, step: usize, uid: &str) {
        if !self.uids.iter().any(|(old, _)| old == uid) {
            let others =
                self.uids.iter().filter(|(_, name)| name.starts_with(&format!("uid{step}."))).count();
            self.uids.push((uid.to_owned(), format!("uid{step}.{others}")));
        }
    }

    fn collect_version(&mut self, step: usize, version: u64) {
        if !self.versions.contains_key(&version) {
            let others = self.versions.values().filter(|name| name.contains(&format!("v{step}."))).count();
            let old = if version < self.last { "old " } else { "" };
            self.last = version;
            self.versions.insert(version, format!("{old}v{step}.{others}"));
        }
    }

    fn replace(&self, value: &mut Value) {
        if let Some(version) = version(value) {
            let name = match self.versions.get(&version) {
                Some(name) if is_lease(value) => name.clone(),
                // A collection is as new as its last change, or newer, because other resources are written too.
                _ => self.at_least(version),
            };
            value["metadata"]["resourceVersion"] = name.into();
        }
        match value {
            Value::Object(object) => {
                object.remove("message");
                for (key, value) in object {
                    match (key.as_str(), &mut *value) {
                        ("creationTimestamp" | "deletionTimestamp" | "time", Value::String(time)) => {
                            *time = shape(time);
                        }
                        ("managedFields", Value::Array(entries)) => {
                            // Their order depends on whether a second ended between two requests.
                            entries.sort_by_key(|e| (e["operation"].to_string(), e["manager"].to_string()));
                            for entry in entries {
                                self.replace(entry);
                            }
                        }
                        // The managers in a conflict come in the order of a map in Go.
                        ("causes", Value::Array(causes)) if causes.iter().all(is_conflict) => {
                            causes.sort_by_key(Value::to_string);
                        }
                        // The times of bookmarks vary, but a bookmark always ends a list.
                        ("events", Value::Array(events)) => {
                            events.retain(|event| event["type"] != "BOOKMARK" || ends_list(event));
                            for event in events {
                                self.replace(event);
                            }
                        }
                        _ => self.replace(value),
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|v| self.replace(v)),
            Value::String(text) => {
                for (uid, name) in &self.uids {
                    *text = text.replace(uid, name);
                }
            }
            _ => {}
        }
    }

    fn at_least(&self, version: u64) -> String {
        match self.versions.range(..=version).next_back() {
            Some((_, name)) => format!("{name} or later"),
            None => "before all".to_owned(),
        }
    }
}

fn version(object: &Value) -> Option<u64> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

/// Whether this is a stored Lease. A bookmark has the kind Lease too, but no name.
fn is_lease(object: &Value) -> bool {
    object["metadata"]["name"].is_string()
}

fn is_conflict(cause: &Value) -> bool {
    cause["reason"] == "FieldManagerConflict"
}

fn ends_list(event: &Value) -> bool {
    !event["object"]["metadata"]["annotations"].is_null()
}

fn shape(time: &str) -> String {
    time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
}

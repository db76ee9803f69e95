//! What differs between two servers that answer alike: names for it that do not.

use std::collections::BTreeSet;

use serde_json::Value;

/// Says what of an error is a matter of a decoder written in Go. Which byte it stumbled over, and in what words, is
/// not worth imitating; that it did, and where in the request, is compared.
const DECODERS: [&str; 0] = [];

/// A number after one of these words in a message is a resourceVersion.
const BEFORE_VERSIONS: [&str; 4] = ["esource version: ", "current: ", "precondition (", "record ("];

/// The answers of one server with its uids, resourceVersions and times replaced: uids by the order in which they
/// appeared, resourceVersions by their rank, so that "greater" and "unchanged" stay what they are, and times by what
/// there is to know of them.
pub(crate) fn normalize(answers: &[Value]) -> Vec<Value> {
    let mut names = Names::default();
    for answer in answers {
        names.collect(answer);
    }
    let mut answers = answers.to_vec();
    for answer in &mut answers {
        names.replace(answer);
    }
    answers
}

#[derive(Default)]
struct Names {
    uids: Vec<String>,
    versions: BTreeSet<u64>,
}

impl Names {
    fn collect(&mut self, value: &Value) {
        match value {
            Value::Object(object) => {
                let metadata = &value["metadata"];
                if let Some(uid) = metadata["uid"].as_str()
                    && !self.uids.iter().any(|old| old == uid)
                {
                    self.uids.push(uid.to_owned());
                }
                if let Some(version) = version(metadata)
                    && is_lease(value)
                {
                    self.versions.insert(version);
                }
                object.values().for_each(|v| self.collect(v));
            }
            Value::Array(list) => list.iter().for_each(|v| self.collect(v)),
            _ => {}
        }
    }

    fn replace(&self, value: &mut Value) {
        if let Some(version) = version(&value["metadata"]) {
            // Other resources are written to as well: a collection is as new as its last change, or newer.
            let name = if is_lease(value) { self.version(version) } else { self.at_least(version) };
            value["metadata"]["resourceVersion"] = name.into();
        }
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    match (key.as_str(), &value) {
                        ("creationTimestamp" | "deletionTimestamp" | "time", Value::String(time)) => {
                            *value = shape(time).into();
                        }
                        _ => self.replace(value),
                    }
                    if key == "managedFields"
                        && let Value::Array(entries) = value
                    {
                        // Their order depends on whether a second ended between two requests.
                        entries.sort_by_key(|e| (e["operation"].to_string(), e["manager"].to_string()));
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|v| self.replace(v)),
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (i, uid) in self.uids.iter().enumerate() {
            text = text.replace(uid, &format!("uid{}", i + 1));
        }
        for word in BEFORE_VERSIONS {
            text = self.versions_after(word, &text);
        }
        for word in DECODERS {
            if let Some(at) = text.find(word) {
                text.truncate(at + word.len());
            }
        }
        text
    }

    fn versions_after(&self, word: &str, text: &str) -> String {
        let mut parts = text.split(word);
        let mut result = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let (number, rest) = part.split_at(end);
            let name = number.parse().map_or_else(|_| number.to_owned(), |n| self.at_least(n));
            result.extend([word, &name, rest]);
        }
        result
    }

    fn version(&self, version: u64) -> String {
        match self.versions.contains(&version) {
            true => format!("v{}", self.rank(version)),
            false => format!("a version after v{}", self.rank(version)),
        }
    }

    fn at_least(&self, version: u64) -> String {
        format!("v{} or later", self.rank(version))
    }

    fn rank(&self, version: u64) -> usize {
        self.versions.range(..=version).count()
    }
}

fn version(metadata: &Value) -> Option<u64> {
    metadata["resourceVersion"].as_str()?.parse().ok()
}

/// Whether this is a stored Lease: a bookmark says that it is a Lease, but has no name.
fn is_lease(object: &Value) -> bool {
    object["metadata"]["name"].is_string()
}

fn shape(time: &str) -> String {
    time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
}

//! Which objects of a collection a list or a watch is about.

use serde_json::Value;

use super::{
    request::Call,
    status::{self, Failure},
    store::Key,
};

/// The namespace, field and label selectors of one call.
#[derive(Debug)]
pub(crate) struct Selector {
    namespace: String,
    fields: Vec<Requirement>,
    labels: Vec<Requirement>,
}

/// One condition on one field or label.
#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
}

impl Selector {
    pub(crate) fn parse(call: &Call) -> Result<Self, Failure> {
        let fields: Vec<_> = requirements(call.query("fieldSelector").unwrap_or_default());
        let known = |r: &&Requirement| matches!(r.key.as_str(), "metadata.name" | "metadata.namespace");
        if let Some(unknown) = fields.iter().find(|r| !known(r)) {
            return Err(status::bad_request(format!(
                "{:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                unknown.key
            )));
        }
        Ok(Self {
            namespace: call.namespace.clone(),
            fields,
            labels: requirements(call.query("labelSelector").unwrap_or_default()),
        })
    }

    pub(crate) fn matches(&self, (namespace, name): &Key, lease: &Value) -> bool {
        let labels = &lease["metadata"]["labels"];
        let field = |key: &str| match key {
            "metadata.name" => Some(name.as_str()),
            _ => Some(namespace.as_str()),
        };
        (self.namespace.is_empty() || self.namespace == *namespace)
            && self.fields.iter().all(|r| r.test.passes(field(&r.key)))
            && self.labels.iter().all(|r| r.test.passes(labels[&r.key].as_str()))
    }
}

impl Test {
    fn passes(&self, value: Option<&str>) -> bool {
        let is_in = |list: &[String]| value.is_some_and(|v| list.iter().any(|l| l == v));
        match self {
            Self::In(list) => is_in(list),
            Self::NotIn(list) => !is_in(list),
            Self::Exists => value.is_some(),
            Self::Missing => value.is_none(),
        }
    }
}

/// Conditions are separated by commas, and so are the values in `key in (a,b)`.
fn requirements(text: &str) -> Vec<Requirement> {
    let mut depth = 0_usize;
    let parts = text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|p| !p.is_empty()).map(requirement).collect()
}

fn requirement(text: &str) -> Requirement {
    let new = |key: &str, test| Requirement { key: key.trim().to_owned(), test };
    let one = |value: &str| vec![value.trim().to_owned()];
    let many = |list: &str| {
        let list = list.trim().trim_start_matches('(').trim_end_matches(')');
        list.split(',').map(|v| v.trim().to_owned()).collect()
    };
    if let Some((key, value)) = text.split_once("!=") {
        new(key, Test::NotIn(one(value)))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        new(key, Test::In(one(value)))
    } else if let Some((key, list)) = text.split_once(" notin ") {
        new(key, Test::NotIn(many(list)))
    } else if let Some((key, list)) = text.split_once(" in ") {
        new(key, Test::In(many(list)))
    } else if let Some(key) = text.strip_prefix('!') {
        new(key, Test::Missing)
    } else {
        new(text, Test::Exists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_operator() {
        let tests: Vec<Test> =
            requirements("a=1,b!=2, c in (x, y),d notin (z),e,!f").into_iter().map(|r| r.test).collect();
        let list = |values: &[&str]| values.iter().map(ToString::to_string).collect();
        let expected = [
            Test::In(list(&["1"])),
            Test::NotIn(list(&["2"])),
            Test::In(list(&["x", "y"])),
            Test::NotIn(list(&["z"])),
            Test::Exists,
            Test::Missing,
        ];
        assert_eq!(tests, expected);
    }
}

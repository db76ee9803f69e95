//! Selects the objects of a list or a watch.

use serde_json::Value;

use super::request::Call;
use super::status::{self, Failure};
use super::store::Key;
use super::validate;

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
    Greater(i64),
    Less(i64),
}

impl Selector {
    pub(crate) fn parse(call: &Call) -> Result<Self, Failure> {
        let labels = call.query("labelSelector").map_or_else(|| Ok(Vec::new()), labels);
        let fields = call.query("fieldSelector").map_or_else(|| Ok(Vec::new()), fields);
        Ok(Self { namespace: call.namespace.clone(), labels: labels?, fields: fields? })
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
        let number = value.and_then(|v| v.parse::<i64>().ok());
        let is_in = |list: &[String]| value.is_some_and(|v| list.iter().any(|l| l == v));
        match self {
            Self::In(list) => is_in(list),
            Self::NotIn(list) => !is_in(list),
            Self::Exists => value.is_some(),
            Self::Missing => value.is_none(),
            Self::Greater(bound) => number.is_some_and(|n| n > *bound),
            Self::Less(bound) => number.is_some_and(|n| n < *bound),
        }
    }
}

/// The conditions on fields.
fn fields(text: &str) -> Result<Vec<Requirement>, Failure> {
    let mut fields = Vec::new();
    for part in parts(text).filter(|part| !part.is_empty()) {
        let Some(field) = comparison(part) else {
            let why = format!("invalid selector: '{text}'; can't understand '{part}'");
            return Err(status::bad_request(why));
        };
        if !matches!(field.key.as_str(), "metadata.name" | "metadata.namespace") {
            return Err(status::bad_request(format!(
                "{:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                field.key
            )));
        }
        fields.push(field);
    }
    Ok(fields)
}

/// The conditions on labels.
fn labels(text: &str) -> Result<Vec<Requirement>, Failure> {
    let parsed = parts(text).map(|part| {
        let valid = label(part).filter(Requirement::is_valid);
        valid.ok_or_else(|| status::bad_request(format!("unable to parse requirement: {part:?}")))
    });
    parsed.collect()
}

/// Splits a selector at the commas between conditions, but not at those in `key in (a,b)`.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let parts = text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim)
}

fn label(text: &str) -> Option<Requirement> {
    let new = |key: &str, test| Some(Requirement { key: key.trim().to_owned(), test });
    let many = |list: &str| -> Option<Vec<String>> {
        let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(list.split(',').map(|v| v.trim().to_owned()).collect())
    };
    if let Some(comparison) = comparison(text) {
        Some(comparison)
    } else if let Some((key, bound)) = text.split_once('>') {
        new(key, Test::Greater(bound.trim().parse().ok()?))
    } else if let Some((key, bound)) = text.split_once('<') {
        new(key, Test::Less(bound.trim().parse().ok()?))
    } else if let Some((key, list)) = text.split_once(" notin ") {
        new(key, Test::NotIn(many(list)?))
    } else if let Some((key, list)) = text.split_once(" in ") {
        new(key, Test::In(many(list)?))
    } else if let Some(key) = text.strip_prefix('!') {
        new(key, Test::Missing)
    } else {
        new(text, Test::Exists)
    }
}

/// `a=b`, `a==b` or `a!=b`.
fn comparison(text: &str) -> Option<Requirement> {
    let one = |value: &str| vec![value.trim().to_owned()];
    let new = |key: &str, test| Some(Requirement { key: key.trim().to_owned(), test });
    if let Some((key, value)) = text.split_once("!=") {
        return new(key, Test::NotIn(one(value)));
    }
    let (key, value) = text.split_once("==").or_else(|| text.split_once('='))?;
    new(key, Test::In(one(value)))
}

impl Requirement {
    /// Whether its key and its values are valid for a label.
    fn is_valid(&self) -> bool {
        let values = match &self.test {
            Test::In(values) | Test::NotIn(values) => values.as_slice(),
            _ => &[],
        };
        validate::qualified_name(&self.key).is_empty()
            && values.iter().all(|value| validate::label_value(value).is_empty())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn every_operator_is_parsed() {
        let read = labels("a=1,b!=2, c in (x, y),d notin (z),e,!f,g>1,h<2").ok().unwrap();
        let tests: Vec<Test> = read.into_iter().map(|r| r.test).collect();
        let list = |values: &[&str]| values.iter().map(ToString::to_string).collect();
        let expected = [
            Test::In(list(&["1"])),
            Test::NotIn(list(&["2"])),
            Test::In(list(&["x", "y"])),
            Test::NotIn(list(&["z"])),
            Test::Exists,
            Test::Missing,
            Test::Greater(1),
            Test::Less(2),
        ];
        assert_eq!(tests, expected);
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for text in [",", "(", "a b", "a=1=2", "a in 1", "a in (", "-=1", "a=-", "a>x"] {
            assert!(labels(text).is_err(), "{text}");
        }
        assert!(fields("metadata.name").is_err());
    }
}

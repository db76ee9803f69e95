//! JSON Patch (RFC 6902), with the deviations of the library that the real server uses.
//!
//! That library compares the text of scalars, not their values. The document has the text that Go writes, so that a
//! test of a string with `<`, `>` or `&` fails if the patch does not escape these characters. It takes a member that is
//! null for a missing one, and it replaces a missing member.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Deserializer, Value};

use super::status::{self, Failure};

const MAX_OPERATIONS: usize = 10_000;
/// The characters that Go escapes in a string and `serde_json` does not.
const ESCAPED: [(char, &str); 5] =
    [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];

/// A parsed patch, and the warnings about its unknown members.
pub(crate) struct JsonPatch {
    operations: Vec<Operation>,
    pub unknown: Vec<String>,
}

/// One operation. Each part is `None` if it is missing or unusable.
struct Operation {
    kind: Option<String>,
    path: Option<String>,
    from: Option<String>,
    value: Option<Node>,
}

/// An operation does not apply. The real server does not say why.
struct Inapplicable;

/// A JSON value that keeps the text of its scalars.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Null,
    Scalar(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

impl JsonPatch {
    /// Parses the body of a request. Only a strict parser refuses parts of operations that have a wrong type.
    pub(crate) fn parse(body: &[u8], strict: bool) -> Result<Self, Failure> {
        let refuse = || status::bad_request("the patch is not a list of operations");
        let given = str::from_utf8(body).ok().and_then(Node::parse).ok_or_else(refuse)?;
        let list = match given {
            Node::Null => Vec::new(),
            Node::List(list) => list,
            _ => return Err(refuse()),
        };
        let count = list.len();
        let mut unknown = Vec::new();
        let mut operations = Vec::new();
        for (i, given) in list.into_iter().enumerate() {
            let mut members = match given {
                Node::Null => BTreeMap::new(),
                Node::Map(members) => members,
                _ => return Err(refuse()),
            };
            let mut take = |name: &str| match members.remove(name) {
                None | Some(Node::Null) => Ok(None),
                Some(node) => match node.as_text() {
                    None if strict => Err(refuse()),
                    text => Ok(text),
                },
            };
            let (kind, path, from) = (take("op")?, take("path")?, take("from")?);
            let value = members.remove("value");
            unknown
                .extend(members.into_keys().map(|name| format!("json patch unknown field \"[{i}].{name}\"")));
            operations.push(Operation { kind, path, from, value });
        }
        if count > MAX_OPERATIONS {
            let why =
                format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}");
            return Err(status::too_large_entity(&why));
        }
        Ok(Self { operations, unknown })
    }

    /// The document after all operations.
    pub(crate) fn apply(&self, document: &Value) -> Result<Value, Failure> {
        let mut text = document.to_string();
        for (character, escape) in ESCAPED {
            text = text.replace(character, escape);
        }
        let mut node = Node::parse(&text).unwrap_or(Node::Null);
        let applied = self.operations.iter().try_for_each(|operation| operation.apply(&mut node));
        applied.map_err(|Inapplicable| status::inapplicable())?;
        let mut text = String::new();
        node.write(&mut text);
        serde_json::from_str(&text).map_err(|_| status::inapplicable())
    }
}

impl Operation {
    fn apply(&self, document: &mut Node) -> Result<(), Inapplicable> {
        let value = || self.value.clone().unwrap_or(Node::Null);
        let path = self.path.as_deref();
        match self.kind.as_deref().ok_or(Inapplicable)? {
            "add" => document.add(path, value()),
            "remove" => document.remove(path).map(drop),
            "replace" if path == Some("") => match value() {
                new @ (Node::List(_) | Node::Map(_)) => {
                    *document = new;
                    Ok(())
                }
                Node::Null | Node::Scalar(_) => Err(Inapplicable),
            },
            "replace" => document.replace(path, value()),
            "move" => {
                let value = document.remove(self.from.as_deref())?;
                document.add(path, value)
            }
            "copy" => {
                let value = document.get(self.from.as_deref())?;
                document.add(path, value)
            }
            "test" if path == Some("") => succeed_if(*document == value()),
            // A null matches only a missing member or a null; no value at all matches the same.
            "test" => succeed_if(document.get(path)? == value()),
            _ => Err(Inapplicable),
        }
    }
}

impl Node {
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_str::<IgnoredAny>(text).ok()?;
        Reader { rest: text }.node()
    }

    /// The string, if it is one.
    fn as_text(&self) -> Option<String> {
        match self {
            Self::Scalar(text) => serde_json::from_str(text).ok(),
            _ => None,
        }
    }

    fn get(&mut self, path: Option<&str>) -> Result<Self, Inapplicable> {
        match self.locate(path)? {
            (Self::Map(members), key) => Ok(members.get(&key).cloned().unwrap_or(Self::Null)),
            (Self::List(items), key) => Ok(items[index(&key, items.len())?].clone()),
            _ => Err(Inapplicable),
        }
    }

    fn add(&mut self, path: Option<&str>, value: Self) -> Result<(), Inapplicable> {
        match self.locate(path)? {
            (Self::Map(members), key) => drop(members.insert(key, value)),
            (Self::List(items), key) if key == "-" => items.push(value),
            (Self::List(items), key) => items.insert(index(&key, items.len() + 1)?, value),
            _ => return Err(Inapplicable),
        }
        Ok(())
    }

    fn replace(&mut self, path: Option<&str>, value: Self) -> Result<(), Inapplicable> {
        match self.locate(path)? {
            (Self::Map(members), key) => drop(members.insert(key, value)),
            (Self::List(items), key) => {
                let index = index(&key, items.len())?;
                items[index] = value;
            }
            _ => return Err(Inapplicable),
        }
        Ok(())
    }

    fn remove(&mut self, path: Option<&str>) -> Result<Self, Inapplicable> {
        match self.locate(path)? {
            (Self::Map(members), key) => members.remove(&key).ok_or(Inapplicable),
            (Self::List(items), key) => Ok(items.remove(index(&key, items.len())?)),
            _ => Err(Inapplicable),
        }
    }

    /// The collection that contains the target of a path, and the last part of the path. The text before the first slash
    /// does not count.
    fn locate(&mut self, path: Option<&str>) -> Result<(&mut Self, String), Inapplicable> {
        let (parents, key) = path.and_then(|path| path.rsplit_once('/')).ok_or(Inapplicable)?;
        let mut node = self;
        for part in parents.split('/').skip(1) {
            let part = decode(part);
            node = match node {
                Self::Map(members) => members.get_mut(&part).ok_or(Inapplicable)?,
                Self::List(items) => {
                    let index = index(&part, items.len())?;
                    &mut items[index]
                }
                Self::Null | Self::Scalar(_) => return Err(Inapplicable),
            };
        }
        Ok((node, decode(key)))
    }

    fn write(&self, text: &mut String) {
        match self {
            Self::Null => text.push_str("null"),
            Self::Scalar(scalar) => text.push_str(scalar),
            Self::List(items) => {
                text.push('[');
                for (i, item) in items.iter().enumerate() {
                    text.push_str(if i == 0 { "" } else { "," });
                    item.write(text);
                }
                text.push(']');
            }
            Self::Map(members) => {
                text.push('{');
                for (i, (name, member)) in members.iter().enumerate() {
                    text.push_str(if i == 0 { "" } else { "," });
                    text.push_str(&Value::from(name.as_str()).to_string());
                    text.push(':');
                    member.write(text);
                }
                text.push('}');
            }
        }
    }
}

/// Reads a text that is valid JSON.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn node(&mut self) -> Option<Node> {
        match self.peek()? {
            '[' => {
                let mut items = Vec::new();
                self.each(|reader| {
                    items.push(reader.node()?);
                    Some(())
                })?;
                Some(Node::List(items))
            }
            '{' => {
                let mut members = BTreeMap::new();
                self.each(|reader| {
                    let name = reader.take::<String>()?.0;
                    reader.skip(':');
                    members.insert(name, reader.node()?);
                    Some(())
                })?;
                Some(Node::Map(members))
            }
            _ => match self.take::<IgnoredAny>()?.1.as_str() {
                "null" => Some(Node::Null),
                scalar => Some(Node::Scalar(scalar.to_owned())),
            },
        }
    }

    /// Reads the items of a list, or the members of an object.
    fn each(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.rest = &self.rest[1..];
        while !matches!(self.peek()?, ']' | '}') {
            item(self)?;
            self.skip(',');
        }
        self.rest = &self.rest[1..];
        Some(())
    }

    /// The next scalar and its text.
    fn take<T: DeserializeOwned>(&mut self) -> Option<(T, String)> {
        let mut values = Deserializer::from_str(self.rest.trim_start()).into_iter::<T>();
        let value = values.next()?.ok()?;
        let (text, rest) = self.rest.trim_start().split_at(values.byte_offset());
        self.rest = rest;
        Some((value, text.to_owned()))
    }

    fn skip(&mut self, separator: char) {
        let rest = self.rest.trim_start();
        self.rest = rest.strip_prefix(separator).unwrap_or(rest);
    }

    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }
}

/// An index into a list of `length` items. A negative index counts from the end.
fn index(key: &str, length: usize) -> Result<usize, Inapplicable> {
    let number: isize = key.parse().map_err(|_| Inapplicable)?;
    let index =
        if number < 0 { length.checked_sub(number.unsigned_abs()) } else { usize::try_from(number).ok() };
    index.filter(|index| *index < length).ok_or(Inapplicable)
}

fn decode(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

fn succeed_if(holds: bool) -> Result<(), Inapplicable> {
    if holds { Ok(()) } else { Err(Inapplicable) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(document: &Value, patch: &Value) -> Option<Value> {
        patched_text(document, &patch.to_string())
    }

    fn patched_text(document: &Value, patch: &str) -> Option<Value> {
        JsonPatch::parse(patch.as_bytes(), true).ok().unwrap().apply(document).ok()
    }

    #[test]
    fn operations_apply_in_order() {
        let patch = json!([
            { "op": "test", "path": "/a~1b", "value": 1 },
            { "op": "add", "path": "/list/-", "value": [2] },
            { "op": "add", "path": "/list/0", "value": null },
            { "op": "replace", "path": "/list/-1", "value": { "c": "d" } },
            { "op": "copy", "from": "/list/2", "path": "/copy" },
            { "op": "move", "from": "/a~1b", "path": "/copy/e" },
            { "op": "remove", "path": "/list/1" },
        ]);
        let after = patched(&json!({ "a/b": 1, "list": [1] }), &patch);
        assert_eq!(after, Some(json!({ "list": [null, { "c": "d" }], "copy": { "c": "d", "e": 1 } })));
    }

    #[test]
    fn an_operation_without_its_target_does_not_apply() {
        for operation in [
            json!({ "op": "add", "path": "/b/c", "value": 1 }),
            json!({ "op": "add", "path": "/n/c", "value": 1 }),
            json!({ "op": "add", "path": "/s/c", "value": 1 }),
            json!({ "op": "add", "path": "/list/3", "value": 1 }),
            json!({ "op": "add", "path": "", "value": 1 }),
            json!({ "op": "add", "value": 1 }),
            json!({ "op": "remove", "path": "/b" }),
            json!({ "op": "remove", "path": "/list/1" }),
            json!({ "op": "replace", "path": "/list/-2", "value": 1 }),
            json!({ "op": "move", "from": "/b", "path": "/c" }),
            json!({ "op": "copy", "from": "/b/c", "path": "/c" }),
            json!({ "op": "test", "path": "/s", "value": "t" }),
            json!({ "op": "test", "path": "/s" }),
            json!({ "op": "test", "path": "/b/c", "value": null }),
            json!({ "op": "merge", "path": "/s", "value": "t" }),
            Value::Null,
        ] {
            let document = json!({ "s": "text", "n": null, "list": [1] });
            assert_eq!(patched(&document, &json!([operation])), None, "{operation}");
        }
    }

    #[test]
    fn a_null_matches_a_missing_member() {
        let document = json!({ "n": null, "s": "text" });
        for path in ["/n", "/missing"] {
            let test = json!([{ "op": "test", "path": path, "value": null }]);
            assert!(patched(&document, &test).is_some(), "{path}");
        }
        assert!(patched(&document, &json!([{ "op": "test", "path": "/s", "value": null }])).is_none());
    }

    #[test]
    fn a_test_compares_text() {
        let document = json!({ "number": 1, "text": "a<b", "map": { "a": [1, "x"], "b": null } });
        for (path, value, holds) in [
            ("/number", "1", true),
            ("/number", "1.0", false),
            ("/text", r#""a<b""#, false),
            ("/text", r#""a\u003cb""#, true),
            ("/map", r#" { "b" : null, "a": [ 1, "x" ] } "#, true),
            ("/map", r#"{"a":[1,"x"]}"#, false),
        ] {
            let patch = format!(r#"[{{ "op": "test", "path": "{path}", "value": {value} }}]"#);
            assert_eq!(patched_text(&document, &patch).is_some(), holds, "{patch}");
        }
    }
}

//! The differences between two responses.

use serde_json::Value;

/// One line for each difference. Equal responses have none.
pub(crate) fn diff(real: &Value, ours: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if real["code"] == ours["code"] {
        walk("", real, ours, &mut lines);
    } else {
        // If the status differs, so does everything else.
        lines.push(line("", &summary(real), &summary(ours)));
    }
    lines
}

fn walk(path: &str, real: &Value, ours: &Value, lines: &mut Vec<String>) {
    match (real, ours) {
        _ if real == ours => {}
        (Value::Object(left), Value::Object(right)) => {
            let mut keys: Vec<_> = left.keys().chain(right.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let missing = &Value::Null;
                let (l, r) = (left.get(key).unwrap_or(missing), right.get(key).unwrap_or(missing));
                walk(&format!("{path}.{key}"), l, r, lines);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (i, (l, r)) in left.iter().zip(right).enumerate() {
                walk(&format!("{path}[{i}]"), l, r, lines);
            }
        }
        _ => lines.push(line(path, &real.to_string(), &ours.to_string())),
    }
}

fn summary(response: &Value) -> String {
    format!("{} {}", response["code"], response["body"])
}

fn line(path: &str, real: &str, ours: &str) -> String {
    format!("  {path}\n    real: {}\n    ours: {}", short(real), short(ours))
}

fn short(text: &str) -> String {
    const MAX: usize = 1000;
    let mut short: String = text.chars().take(MAX).collect();
    if short.len() < text.len() {
        short.push_str(" ...");
    }
    short
}

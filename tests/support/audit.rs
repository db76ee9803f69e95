//! The audit log of the API server: its requests, and the users that sent them.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// One request and the status of its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    /// The user that sent the request, or that the request impersonated.
    pub(crate) user: String,
    pub(crate) user_agent: String,
    /// A verb of RBAC rules: get, create, update, patch, watch, ...
    pub(crate) verb: String,
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The HTTP status of the answer.
    pub(crate) code: u64,
}

pub(super) fn read(log: &Path) -> Vec<Request> {
    let log = fs::read_to_string(log).expect("the audit log: start the control plane with `start_audited()`");
    // The last line may be half written.
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(is_answer)
        .map(|event| request(&event))
        .collect()
}

/// A watch is answered when it starts. It would count twice if its end counted too.
fn is_answer(event: &Value) -> bool {
    let stage = if event["verb"] == "watch" { "ResponseStarted" } else { "ResponseComplete" };
    event["stage"] == stage
}

fn request(event: &Value) -> Request {
    let text = |pointer| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let impersonated = text("/impersonatedUser/username");
    Request {
        user: if impersonated.is_empty() { text("/user/username") } else { impersonated },
        user_agent: text("/userAgent"),
        verb: text("/verb"),
        resource: text("/objectRef/resource"),
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
    }
}

//! Refuses requests that a real server supports and this one does not. A wrong response would mislead a test.

use super::request::Call;
use super::status::{self, Failure};
use super::store::State;

/// Refuses a creation that leaves the name to the server.
pub(crate) fn check_create(call: &Call) -> Result<(), Failure> {
    let metadata = &call.json()["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    if text("name").is_empty() && !text("generateName").is_empty() {
        return Err(status::unsupported("generateName"));
    }
    Ok(())
}

/// Refuses lists in pages, and lists of the past.
pub(crate) fn check_list(state: &State, call: &Call, length: usize) -> Result<(), Failure> {
    let limit =
        call.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    if call.query("continue").is_some() || limit.is_some_and(|limit| limit < length) {
        return Err(status::unsupported("a list in pages"));
    }
    if call.query("resourceVersionMatch") == Some("Exact") && call.revision()? < state.head.revision {
        return Err(status::unsupported("a list of the past"));
    }
    Ok(())
}

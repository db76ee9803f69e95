//! What a real server does and this one does not: it says so, rather than answer as nobody would.

use http::Method;

use super::request::Call;
use super::status::{self, Failure};
use super::store::State;

const PATCHES: [&str; 2] = ["application/json-patch+json", "application/strategic-merge-patch+json"];

/// Requests that are not understood.
pub(crate) fn check_request(
    method: &Method,
    (namespace, name): (&str, &str),
    media_type: &str,
    accept: &str,
) -> Result<(), Failure> {
    let is_json = |kind: &str| {
        !kind.contains(";as=") && ["json", "*/*", "application/*"].iter().any(|it| kind.contains(it))
    };
    if method == Method::DELETE && name.is_empty() && !namespace.is_empty() {
        Err(status::unsupported("the deletion of a collection"))
    } else if method == Method::PATCH && !name.is_empty() && PATCHES.contains(&media_type) {
        Err(status::unsupported(media_type))
    } else if !accept.is_empty() && !accept.split(',').next().is_some_and(is_json) {
        Err(status::unsupported(&format!("an answer as {accept}")))
    } else {
        Ok(())
    }
}

/// Creations that leave the name to the server.
pub(crate) fn check_create(call: &Call) -> Result<(), Failure> {
    let metadata = &call.json()["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    if text("name").is_empty() && !text("generateName").is_empty() {
        return Err(status::unsupported("generateName"));
    }
    Ok(())
}

/// Lists in pages, and lists of the past.
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

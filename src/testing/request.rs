//! An HTTP request as the API understands it.

use std::collections::HashMap;

use http::{Method, header, request::Parts};
use serde_json::Value;

use super::{
    answer::Answer,
    log::Verb,
    status::{self, Failure},
};

const ROOT: &str = "/apis/coordination.k8s.io/v1/";
const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";

/// One call of the API.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    /// Empty: all namespaces.
    pub(crate) namespace: String,
    /// Empty: the collection. A create learns it from its body.
    pub(crate) name: String,
    /// Undecoded: what is wrong with it is for the verb to say.
    pub(crate) body: Vec<u8>,
    query: HashMap<String, String>,
    agent: String,
}

impl Call {
    /// Finds out what a request asks for; what is not in the API is answered right here.
    pub(crate) fn parse(parts: &Parts, body: Vec<u8>) -> Result<Self, Answer> {
        let (namespace, name) = target(parts.uri.path()).ok_or_else(Answer::no_such_page)?;
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let query: HashMap<_, _> = form_urlencoded::parse(query).into_owned().collect();
        let watches = matches!(query.get("watch").map(String::as_str), Some("true" | "1"));
        let text = |name| {
            let value = parts.headers.get(name).and_then(|v| v.to_str().ok());
            value.unwrap_or_default()
        };
        let media_type = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default();
        let verb = match (&parts.method, name) {
            (&Method::GET, "") if watches => Verb::Watch,
            (&Method::GET, "") => Verb::List,
            (&Method::GET, _) => Verb::Get,
            (&Method::POST, "") if !namespace.is_empty() => Verb::Create,
            (&Method::PUT, name) if !name.is_empty() => Verb::Update,
            (&Method::DELETE, name) if !name.is_empty() => Verb::Delete,
            (&Method::PATCH, name) if !name.is_empty() => match media_type {
                APPLY => Verb::Apply,
                MERGE => Verb::Patch,
                _ => return Err(status::unsupported_media_type().into()),
            },
            _ => return Err(status::method_not_allowed().into()),
        };
        Ok(Self {
            verb,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            body,
            query,
            agent: text(header::USER_AGENT).to_owned(),
        })
    }

    /// A query parameter; an empty one is as good as none.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// Whether a query parameter says yes.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.query(name), Some("true" | "1"))
    }

    /// Whether the write is only a rehearsal. A delete may say so in its body.
    pub(crate) fn dry_run(&self) -> bool {
        self.query("dryRun").is_some() || self.verb == Verb::Delete && !self.json()["dryRun"].is_null()
    }

    /// The body as JSON, null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A resourceVersion in the query; unset and 0 both mean any.
    pub(crate) fn revision(&self) -> Result<u64, Failure> {
        let text = self.query("resourceVersion").unwrap_or("0");
        text.parse().map_err(|_| {
            status::unexpected(format!(
                "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        })
    }

    /// Who writes: the field manager, or what the client calls itself.
    pub(crate) fn manager(&self) -> &str {
        let agent = self.agent.split('/').next().unwrap_or_default();
        self.query("fieldManager").unwrap_or(agent)
    }
}

/// The namespace and name in a path, empty where it has none.
fn target(path: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = path.strip_prefix(ROOT)?.split('/').collect();
    match parts[..] {
        ["leases"] => Some(("", "")),
        ["namespaces", namespace, "leases"] => Some((namespace, "")),
        ["namespaces", namespace, "leases", name] => Some((namespace, name)),
        _ => None,
    }
}

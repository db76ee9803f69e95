//! Parses an HTTP request into a call of the API.

use http::request::Parts;
use http::{Method, header};
use serde_json::{Value, json};

use super::response::Response;
use super::status::{self, Failure};
use super::verb::Verb;

const GROUP: &str = "/apis/coordination.k8s.io/";
const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
const JSON_PATCH: &str = "application/json-patch+json";
/// A patch of the real server that this one refuses.
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// One call of the API.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub verb: Verb,
    /// Empty for all namespaces.
    pub namespace: String,
    /// Empty for the collection. The name of a create is in its body.
    pub name: String,
    /// Not decoded: the errors depend on the verb.
    pub body: Vec<u8>,
    /// Whether the body of a patch is a JSON Patch, not a JSON merge patch.
    pub is_json_patch: bool,
    query: Vec<(String, String)>,
    agent: String,
}

impl Call {
    /// Parses a request. Fails with the response to a request that is not part of the API.
    pub(crate) fn parse(parts: &Parts, body: Vec<u8>) -> Result<Self, Response> {
        let (namespace, name) = target(parts.uri.path())?;
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let query: Vec<_> = form_urlencoded::parse(query).into_owned().collect();
        let watches = first(&query, "watch").is_some_and(is_yes);
        let text = |name| {
            let value = parts.headers.get(name).and_then(|v| v.to_str().ok());
            value.unwrap_or_default()
        };
        let media_type = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default();
        check_supported(&parts.method, (namespace, name), media_type, text(header::ACCEPT))?;
        let verb = match (&parts.method, name) {
            (&Method::GET, "") if watches => Verb::Watch,
            (&Method::GET, "") => Verb::List,
            (&Method::GET, _) => Verb::Get,
            (&Method::POST, "") if !namespace.is_empty() => written(Verb::Create, media_type)?,
            (&Method::PUT, name) if !name.is_empty() => written(Verb::Update, media_type)?,
            (&Method::DELETE, name) if !name.is_empty() => Verb::Delete,
            (&Method::PATCH, name) if !name.is_empty() => match media_type {
                APPLY => Verb::Apply,
                MERGE | JSON_PATCH => Verb::Patch,
                _ => return Err(status::unsupported_patch().into()),
            },
            _ => return Err(status::method_not_allowed().into()),
        };
        Ok(Self {
            verb,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            body,
            is_json_patch: media_type == JSON_PATCH,
            query,
            agent: text(header::USER_AGENT).to_owned(),
        })
    }

    /// A query parameter. An empty one counts as missing.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        first(&self.query, name).filter(|v| !v.is_empty())
    }

    /// Whether a query parameter is set to true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        first(&self.query, name).is_some_and(is_yes)
    }

    /// All values of the query parameter `dryRun`, which may be repeated.
    pub(crate) fn dry_runs(&self) -> Value {
        let values = self.query.iter().filter(|(name, _)| name == "dryRun");
        values.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether the write is a dry run.
    pub(crate) fn dry_run(&self) -> bool {
        let runs =
            if self.verb == Verb::Delete { self.delete_options()["dryRun"].clone() } else { self.dry_runs() };
        runs.as_array().is_some_and(|runs| !runs.is_empty())
    }

    /// The options of a delete: from the body or, if there is none, from the query.
    pub(crate) fn delete_options(&self) -> Value {
        if !self.body.is_empty() {
            return self.json();
        }
        json!({ "dryRun": self.dry_runs(), "propagationPolicy": self.query("propagationPolicy") })
    }

    /// A number in the query.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        let parse = |text: &str| {
            let why = || status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
            text.parse().map_err(|_| why())
        };
        self.query(name).map(parse).transpose()
    }

    /// The body as JSON, or null if it is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The resourceVersion in the query. Unset and 0 both mean any.
    pub(crate) fn revision(&self) -> Result<u64, Failure> {
        let text = self.query("resourceVersion").unwrap_or("0");
        parse_version(text)
            .map_err(|why| status::unexpected(format!("resourceVersion: Invalid value: {text:?}: {why}")))
    }

    /// The name of the writer: the field manager or, if there is none, the user agent.
    pub(crate) fn manager(&self) -> &str {
        let agent = self.agent.split('/').next().unwrap_or_default();
        self.query("fieldManager").unwrap_or(agent)
    }
}

/// Parses a resourceVersion. The error is the message of the real server.
pub(crate) fn parse_version(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        format!("strconv.ParseUint: parsing {text:?}: {why}")
    })
}

/// The namespace and name in a path. Either is empty if the path has none.
fn target(path: &str) -> Result<(&str, &str), Response> {
    let path = path.strip_prefix(GROUP).ok_or_else(Response::no_such_page)?;
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    match parts[..] {
        ["v1", "leases"] => Ok(("", "")),
        ["v1", "namespaces", namespace, "leases"] => Ok((namespace, "")),
        ["v1", "namespaces", namespace, "leases", name] => Ok((namespace, name)),
        _ => Err(status::no_such_resource().into()),
    }
}

/// Refuses the requests that this server does not support.
fn check_supported(
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
    } else if method == Method::PATCH && !name.is_empty() && media_type == STRATEGIC {
        Err(status::unsupported(media_type))
    } else if !accept.is_empty() && !accept.split(',').next().is_some_and(is_json) {
        Err(status::unsupported(&format!("an answer as {accept}")))
    } else {
        Ok(())
    }
}

/// Checks that the media type of a whole object is one that this server reads.
fn written(verb: Verb, media_type: &str) -> Result<Verb, Response> {
    match media_type {
        "" | JSON => Ok(verb),
        _ => Err(status::unsupported_object().into()),
    }
}

fn first<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Whether a flag is true: any value except "false" and "0".
fn is_yes(text: &str) -> bool {
    !matches!(text, "false" | "0")
}

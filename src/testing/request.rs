//! Parses an HTTP request into a call of the API.

use http::request::Parts;
use http::{HeaderName, Method, header};
use kube::client::Body;
use serde_json::{Value, json};

use super::response::Response;
use super::status::{self, Failure};
use super::verb::Verb;

const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
const JSON_PATCH: &str = "application/json-patch+json";
/// A patch of the real server that this one refuses.
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// One request: a call of the API of Leases, or of anything else.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub verb: Verb,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource in the plural; empty if the path is not that of a resource.
    pub resource: String,
    /// Empty for all namespaces.
    pub namespace: String,
    /// Empty for the collection. The name of a create is in its body.
    pub name: String,
    /// Whether the path is one of Leases.
    pub is_for_leases: bool,
    /// Not decoded: the errors depend on the verb.
    pub body: Vec<u8>,
    parts: Parts,
    query: Vec<(String, String)>,
}

/// What a path names.
#[derive(Default)]
struct Target<'a> {
    group: &'a str,
    resource: &'a str,
    namespace: &'a str,
    name: &'a str,
    is_for_leases: bool,
}

impl Call {
    /// Parses any request. [`check`](Self::check) tells whether this server can carry it out.
    pub(crate) fn parse(parts: Parts, body: Vec<u8>) -> Self {
        let Target { group, resource, namespace, name, is_for_leases } = Target::parse(parts.uri.path());
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let query: Vec<_> = form_urlencoded::parse(query).into_owned().collect();
        let is_collection = !resource.is_empty() && name.is_empty();
        let verb = match parts.method {
            Method::GET if is_collection && first(&query, "watch").is_some_and(is_yes) => Verb::Watch,
            Method::GET if is_collection => Verb::List,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH if media_type(&parts) == APPLY => Verb::Apply,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            // And methods for which the API has no verb, such as OPTIONS.
            _ => Verb::Get,
        };
        Self {
            verb,
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            is_for_leases,
            body,
            query,
            parts,
        }
    }

    /// The path of the URL.
    pub(crate) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The request as the client sent it.
    pub(crate) fn to_request(&self) -> http::Request<Body> {
        http::Request::from_parts(self.parts.clone(), self.body.clone().into())
    }

    /// Refuses a request that is not part of the API, or that this server does not support.
    pub(crate) fn check(&self) -> Result<(), Response> {
        if !self.is_for_leases {
            return Err(refusal(&self.parts.method, self.path()));
        }
        let (namespace, name) = (self.namespace.as_str(), self.name.as_str());
        let media_type = media_type(&self.parts);
        check_supported(&self.parts, (namespace, name), media_type)?;
        match (&self.parts.method, name) {
            (&Method::GET, _) => Ok(()),
            (&Method::POST, "") if !namespace.is_empty() => check_object(media_type),
            (&Method::PUT, name) if !name.is_empty() => check_object(media_type),
            (&Method::DELETE, name) if !name.is_empty() => Ok(()),
            (&Method::PATCH, name) if !name.is_empty() => match media_type {
                APPLY | MERGE | JSON_PATCH => Ok(()),
                _ => Err(status::unsupported_patch().into()),
            },
            _ => Err(status::method_not_allowed().into()),
        }
    }

    /// Whether the response is a stream that may never end: a watch, or a log that is followed.
    pub(crate) fn is_stream(&self) -> bool {
        self.verb == Verb::Watch || self.flag("follow")
    }

    /// Whether the body of a patch is a JSON Patch, not a JSON merge patch.
    pub(crate) fn is_json_patch(&self) -> bool {
        media_type(&self.parts) == JSON_PATCH
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
            text.parse().map_err(|_| status::bad_request(format!("{name} is not a number: {text:?}")))
        };
        self.query(name).map(parse).transpose()
    }

    /// The body as JSON, or null if it is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The resourceVersion in the query. Unset and 0 both mean any.
    pub(crate) fn revision(&self) -> Result<u64, Failure> {
        parse_version(self.query("resourceVersion").unwrap_or("0"))
    }

    /// The name of the writer: the field manager or, if there is none, the user agent.
    pub(crate) fn manager(&self) -> &str {
        let agent = text(&self.parts, header::USER_AGENT).split('/').next().unwrap_or_default();
        self.query("fieldManager").unwrap_or(agent)
    }
}

/// Parses a resourceVersion.
pub(crate) fn parse_version(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| status::unexpected(format!("invalid resource version: {text:?}")))
}

impl<'a> Target<'a> {
    fn parse(path: &'a str) -> Self {
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').skip(1).collect();
        let (group, version, place) = match &parts[..] {
            ["api", version, place @ ..] => ("", *version, place),
            ["apis", group, version, place @ ..] => (*group, *version, place),
            _ => return Self::default(),
        };
        let (namespace, place) = match place {
            ["namespaces", namespace, place @ ..] if !place.is_empty() => (*namespace, place),
            place => ("", place),
        };
        let (resource, name) = match place {
            [] => return Self { group, ..Self::default() },
            [resource] => (*resource, ""),
            [resource, name, ..] => (*resource, *name),
        };
        let is_for_leases = (group, version, resource) == (status::GROUP, "v1", status::PLURAL)
            && place.len() <= 2
            && (name.is_empty() || !namespace.is_empty());
        Self { group, resource, namespace, name, is_for_leases }
    }
}

/// The response to a request that is not for Leases.
fn refusal(method: &Method, path: &str) -> Response {
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').skip(1).collect();
    match &parts[..] {
        ["apis", status::GROUP, _version, _, ..] => status::no_such_resource().into(),
        // The real server knows a group of this kind only if somebody has defined resources in it.
        ["apis", group, ..] if group.contains('.') && !group.ends_with(".k8s.io") => Response::no_such_page(),
        ["api" | "apis" | "healthz" | "livez" | "metrics" | "openapi" | "readyz" | "version", ..] => {
            let what = format!(
                "{method} {path}. It serves Leases only. `Link::client_with` makes a client for which another service \
                 answers such requests"
            );
            status::unsupported(&what).into()
        }
        _ => Response::no_such_page(),
    }
}

/// Refuses the requests about Leases that this server does not support.
fn check_supported(parts: &Parts, (namespace, name): (&str, &str), media_type: &str) -> Result<(), Failure> {
    let is_json = |kind: &str| {
        !kind.contains(";as=") && ["json", "*/*", "application/*"].iter().any(|it| kind.contains(it))
    };
    let accept = text(parts, header::ACCEPT);
    if parts.method == Method::DELETE && name.is_empty() && !namespace.is_empty() {
        Err(status::unsupported("the deletion of a collection"))
    } else if parts.method == Method::PATCH && !name.is_empty() && media_type == STRATEGIC {
        Err(status::unsupported(media_type))
    } else if !accept.is_empty() && !accept.split(',').next().is_some_and(is_json) {
        Err(status::unsupported(&format!("an answer as {accept}")))
    } else {
        Ok(())
    }
}

/// Checks that the media type of a whole object is one that this server reads.
fn check_object(media_type: &str) -> Result<(), Response> {
    match media_type {
        "" | JSON => Ok(()),
        _ => Err(status::unsupported_object().into()),
    }
}

fn media_type(parts: &Parts) -> &str {
    text(parts, header::CONTENT_TYPE).split(';').next().unwrap_or_default()
}

/// A header as text; empty if it is missing.
fn text(parts: &Parts, name: HeaderName) -> &str {
    parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn first<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Whether a flag is true: any value except "false" and "0".
fn is_yes(text: &str) -> bool {
    !matches!(text, "false" | "0")
}

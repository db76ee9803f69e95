//! The requests of a script.

use std::fmt;

use http::Method;
use http::request::Builder;
use kube::client::Body;
use serde_json::{Value, json};

const ROOT: &str = "/apis/coordination.k8s.io/v1";

/// A request to either server. In it, `<a.uid>` and `<a.rv>` stand for the uid and the resourceVersion in that server's
/// response to the step named "a". `<ns>` stands for the namespace of the script.
#[derive(Clone)]
pub(crate) struct Request {
    method: Method,
    path: String,
    query: Vec<String>,
    headers: Vec<(&'static str, String)>,
    body: String,
}

pub(crate) fn get(name: &str) -> Request {
    Request::new(Method::GET, &one(name))
}

pub(crate) fn list() -> Request {
    Request::new(Method::GET, &all())
}

/// A watch. Add the query `timeoutSeconds`, after which the server ends it.
pub(crate) fn watch() -> Request {
    list().query("watch=true")
}

pub(crate) fn post(body: Value) -> Request {
    Request::new(Method::POST, &all()).json(body)
}

pub(crate) fn put(name: &str, body: Value) -> Request {
    Request::new(Method::PUT, &one(name)).json(body)
}

pub(crate) fn merge(name: &str, body: Value) -> Request {
    Request::new(Method::PATCH, &one(name)).json(body).content_type("application/merge-patch+json")
}

pub(crate) fn json_patch(name: &str, operations: Value) -> Request {
    Request::new(Method::PATCH, &one(name)).json(operations).content_type("application/json-patch+json")
}

pub(crate) fn apply(name: &str, manager: &str, body: Value) -> Request {
    let request = Request::new(Method::PATCH, &one(name)).json(body);
    request.content_type("application/apply-patch+yaml").query(&format!("fieldManager={manager}"))
}

pub(crate) fn delete(name: &str) -> Request {
    Request::new(Method::DELETE, &one(name))
}

/// A Lease.
pub(crate) fn lease(metadata: Value, spec: Value) -> Value {
    json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec })
}

/// A Lease with that name and spec.
pub(crate) fn named(name: &str, spec: Value) -> Value {
    lease(json!({ "name": name }), spec)
}

/// A Lease with that name, held by `holder`.
pub(crate) fn held(name: &str, holder: &str) -> Value {
    named(name, json!({ "holderIdentity": holder }))
}

fn all() -> String {
    format!("{ROOT}/namespaces/<ns>/leases")
}

fn one(name: &str) -> String {
    format!("{}/{name}", all())
}

impl Request {
    pub(crate) fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), query: Vec::new(), headers: Vec::new(), body: String::new() }
    }

    /// Moves the request to another namespace, or to all namespaces if `namespace` is empty.
    pub(crate) fn within(mut self, namespace: &str) -> Self {
        let scope = if namespace.is_empty() { "/".to_owned() } else { format!("/namespaces/{namespace}/") };
        self.path = self.path.replace("/namespaces/<ns>/", &scope);
        self
    }

    pub(crate) fn query(mut self, pair: &str) -> Self {
        self.query.push(pair.to_owned());
        self
    }

    pub(crate) fn dry(self) -> Self {
        self.query("dryRun=All")
    }

    pub(crate) fn force(self) -> Self {
        self.query("force=true")
    }

    pub(crate) fn by(self, manager: &str) -> Self {
        self.query(&format!("fieldManager={manager}"))
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(old, _)| *old != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn content_type(self, kind: &str) -> Self {
        self.header("content-type", kind)
    }

    pub(crate) fn json(self, body: Value) -> Self {
        self.text(&body.to_string()).content_type("application/json")
    }

    pub(crate) fn text(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// The request to one server. `fill` replaces the placeholders in angle brackets.
    pub(crate) fn build(&self, fill: impl Fn(&str) -> String) -> http::Request<Body> {
        let mut uri = fill(&self.path);
        if !self.query.is_empty() {
            uri = format!("{uri}?{}", fill(&self.query.join("&")));
        }
        let request =
            http::Request::builder().method(&self.method).uri(uri).header("user-agent", "tester/1.0");
        let request = self.headers.iter().fold(request, |r: Builder, (name, value)| r.header(*name, value));
        request.body(Body::from(fill(&self.body).into_bytes())).unwrap()
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path.trim_start_matches(ROOT))?;
        if !self.query.is_empty() {
            write!(f, "?{}", self.query.join("&"))?;
        }
        for (name, value) in &self.headers {
            write!(f, " {name}: {value}")?;
        }
        let body: String = self.body.chars().take(300).collect();
        write!(f, " {body}")
    }
}

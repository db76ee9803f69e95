//! The log of one link: its requests, and the status of their responses.

use std::fmt;

use serde_json::Value;
use tokio::time::Instant;

use super::request::Call;
use super::verb::Verb;

/// One request that a client sent.
///
/// It is displayed in one line, such as `Apply /apis/coordination.k8s.io/v1/namespaces/default/leases/a-lock -> 409`.
#[derive(Clone)]
#[non_exhaustive]
pub struct Request {
    /// The kind of the request.
    pub verb: Verb,
    /// The path of the URL. That of a Lease begins with `/apis/coordination.k8s.io/v1/`.
    pub path: String,
    /// The namespace; empty for all namespaces.
    pub namespace: String,
    /// The name of the object; empty for a collection.
    pub name: String,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// The object or patch in its body; null if it had none.
    pub body: Value,
    /// When the client sent it.
    pub received: Instant,
    /// When the response reached the client, if it did.
    pub answered: Option<Instant>,
    /// The HTTP status of the response; `None` if there is no response yet, or never will be.
    pub status: Option<u16>,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, path, dry_run, status, .. } = self;
        write!(f, "{verb:?} {path}{} -> ", if *dry_run { " (dry run)" } else { "" })?;
        match status {
            Some(status) => write!(f, "{status}"),
            None => f.write_str("no response"),
        }
    }
}

/// The same line, so that failing assertions are easy to read.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All requests of one link.
#[derive(Debug, Default)]
pub(crate) struct Log {
    requests: Vec<Request>,
    /// How many requests were cleared. The numbers of later requests count them too.
    forgotten: usize,
}

impl Log {
    /// Records a request, and returns its number.
    pub(crate) fn record_request(&mut self, call: &Call) -> usize {
        let body = call.json();
        let name = match call.verb {
            Verb::Create => body["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            _ => call.name.clone(),
        };
        self.requests.push(Request {
            verb: call.verb,
            path: call.path().to_owned(),
            namespace: call.namespace.clone(),
            name,
            dry_run: call.dry_run(),
            body,
            received: Instant::now(),
            answered: None,
            status: None,
        });
        self.forgotten + self.requests.len() - 1
    }

    /// Records the status of a response.
    pub(crate) fn record_response(&mut self, number: usize, status: u16) {
        let index = number.checked_sub(self.forgotten);
        if let Some(request) = index.and_then(|i| self.requests.get_mut(i)) {
            request.answered = Some(Instant::now());
            request.status = Some(status);
        }
    }

    pub(crate) fn requests(&self) -> &[Request] {
        &self.requests
    }

    pub(crate) fn forget(&mut self) {
        self.forgotten += self.requests.len();
        self.requests.clear();
    }
}

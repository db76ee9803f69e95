//! The log of one link: what was asked, when, and how it was answered.

use serde_json::Value;
use tokio::time::Instant;

use super::request::Call;
use super::verb::Verb;

/// One request that a client sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// What it does.
    pub verb: Verb,
    /// In which namespace; empty for all of them.
    pub namespace: String,
    /// To which Lease; empty for a collection.
    pub name: String,
    /// Whether it was only a rehearsal.
    pub dry_run: bool,
    /// The object or patch that it carried; null if it had none.
    pub body: Value,
    /// When the client sent it.
    pub received: Instant,
    /// When the answer was sent, if it was.
    pub answered: Option<Instant>,
    /// The HTTP status that was answered: `None` for a request that got no answer yet, or never will.
    pub status: Option<u16>,
}

/// All requests of one link.
#[derive(Debug, Default)]
pub(crate) struct Log {
    requests: Vec<Request>,
    /// How many were forgotten: a request keeps its number.
    forgotten: usize,
}

impl Log {
    /// Notes a request, and gives it a number.
    pub(crate) fn record_request(&mut self, call: &Call) -> usize {
        let body = call.json();
        let name = match call.verb {
            Verb::Create => body["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            _ => call.name.clone(),
        };
        self.requests.push(Request {
            verb: call.verb,
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

    /// Notes the answer.
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

//! The writes of the record that nodes sent, and what each was conditional on.

use std::sync::Arc;

use kube_lease_lock::testing::{Request, Verb};
use serde_json::Value;
use tokio::time::Instant;

use crate::history::{Record, State};
use crate::node::Node;

/// A write of some node.
pub(super) struct SentWrite {
    pub at: Instant,
    pub by: Arc<Node>,
    pub verb: Verb,
}

/// Identifies a write: its holder, its `renewTime`, and what it is conditional on.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct WriteKey {
    pub holder: String,
    renewed: String,
    on: Condition,
}

#[derive(PartialEq, Eq, Hash)]
enum Condition {
    /// The Lease has this revision, or does not exist.
    Revision(Option<u64>),
    /// This object has a record with this holder and `renewTime`.
    Record(String, String, String),
}

impl WriteKey {
    /// `None`: the request does not write the record.
    pub(super) fn of(request: &Request) -> Option<Self> {
        if let Some(operations) = request.body.as_array() {
            return Self::of_json_patch(operations);
        }
        let spec = &request.body["spec"];
        let on = request.body["metadata"]["resourceVersion"].as_str();
        Some(Self {
            holder: spec["holderIdentity"].as_str()?.to_owned(),
            renewed: spec["renewTime"].to_string(),
            on: Condition::Revision(on.and_then(|revision| revision.parse().ok())),
        })
    }

    fn of_json_patch(operations: &[Value]) -> Option<Self> {
        let value = |kind: &str, path: &str| {
            let found = |operation: &&Value| operation["op"] == kind && operation["path"] == path;
            operations.iter().find(found).map(|operation| &operation["value"])
        };
        let text = |kind, path| value(kind, path).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self {
            holder: value("add", "/spec/holderIdentity")?.as_str()?.to_owned(),
            renewed: value("add", "/spec/renewTime")?.to_string(),
            on: Condition::Record(
                text("test", "/metadata/uid"),
                text("test", "/spec/holderIdentity"),
                value("test", "/spec/renewTime").map_or_else(String::new, Value::to_string),
            ),
        })
    }

    /// The writes that would have led from `before` to `state`.
    pub(super) fn leading_to(state: &State, before: Option<&Record>) -> Vec<Self> {
        let Some(record) = &state.lease else { return Vec::new() };
        let on_record = before.map(|before| {
            Condition::Record(before.uid.clone(), before.holder.clone(), before.renewed.clone())
        });
        let conditions = [Condition::Revision(state.replaced)].into_iter().chain(on_record);
        let key = |on| Self { holder: record.holder.clone(), renewed: record.renewed.clone(), on };
        conditions.map(key).collect()
    }

    /// The holder and the `renewTime` that it writes.
    pub(super) fn writes(&self) -> (&String, &String) {
        (&self.holder, &self.renewed)
    }
}

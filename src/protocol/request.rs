//! The writes that a machine sends to the API server, and the outcomes that its driver reports.

use std::time::Duration;

use super::queue::Queue;
use super::record::{Record, Snapshot, Version};

/// One conditional write: this record, and only if the Lease is still in this version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    /// `None` creates the Lease if it does not exist.
    pub on: Option<Version>,
    pub record: Record,
    /// The queue that the Lease will carry. `None` if it carries none and will carry none.
    pub queue: Option<Queue>,
}

impl Write {
    /// Creates the Lease if it does not exist.
    pub(super) fn create(record: Record) -> Self {
        Self { on: None, record, queue: None }
    }

    /// Replaces exactly the state that was seen.
    pub(super) fn replace(seen: &Snapshot, record: Record, queue: Queue) -> Self {
        let queue = (!seen.queue.is_empty() || !queue.is_empty()).then_some(queue);
        Self { on: Some(seen.version.clone()), record, queue }
    }
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// The write was definitely made. This is the object after it.
    Written(Snapshot),
    /// The read succeeded. This is the Lease now, or `None` if it does not exist.
    Read(Option<Snapshot>),
    /// The request is in doubt. There was no answer, or an error that may hide a commit, or a conflict: a conflict can be
    /// the answer to a silent repetition of a write that was made. Nothing further is sent for `pause`.
    Unknown { pause: Duration },
}

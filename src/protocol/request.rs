//! The requests that a machine sends to the API server, and the outcomes that its driver reports.

use std::time::Duration;

use super::done::DoneKeys;
use super::queue::{Queue, Ticket};
use super::record::{Record, Snapshot, Version};

/// One conditional write: this record, and only if the Lease is still in this version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    /// `None` creates the Lease if it does not exist.
    pub on: Option<Version>,
    /// If set, the write is made on every version of that object with this record. It leaves the queue as it is, and the keys of work
    /// that is done if there are none in `done`.
    pub on_record: Option<Box<Record>>,
    pub record: Record,
    /// The queue that the Lease will carry.
    pub queue: Queue,
    /// The keys of work that is done, which the Lease will carry.
    pub done: DoneKeys,
}

impl Write {
    /// Creates the Lease if it does not exist.
    pub(super) fn create(record: Record) -> Self {
        Self { on: None, on_record: None, record, queue: Queue::EMPTY, done: DoneKeys::Empty }
    }

    /// Replaces exactly the state that was seen. The keys of work that is done stay as they are.
    pub(super) fn replace(seen: &Snapshot, record: Record, queue: Queue) -> Self {
        Self { on: Some(seen.version.clone()), on_record: None, record, queue, done: seen.done.clone() }
    }

    /// Replaces the record that was seen, whatever else is written meanwhile. The record has a holder identity of this process,
    /// so that no other process has claimed the Lease meanwhile.
    pub(super) fn replace_record(seen: &Snapshot, record: Record, queue: Queue) -> Self {
        let recognisable = seen.record.holder.is_some() && seen.record.renewed.is_some();
        let on_record = recognisable.then(|| Box::new(seen.record.clone()));
        let done = if on_record.is_some() { DoneKeys::Empty } else { seen.done.clone() };
        Self { on_record, done, ..Self::replace(seen, record, queue) }
    }
}

/// The write that joins the queue: it adds a ticket to the list of joining tickets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Join {
    /// It is made only on this object.
    pub uid: String,
    /// It is made only under this holder (empty: while nobody holds the Lease). `None`: under any.
    pub under: Option<String>,
    /// The list as this process expects it when the write arrives.
    pub expected: Vec<Ticket>,
    /// Whether it is made also if the list is another one, whose tickets are then lost.
    pub forced: bool,
    pub ticket: Ticket,
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// The write was definitely made. This is the object after it.
    Written(Snapshot),
    /// The read succeeded. This is the Lease now, or `None` if it does not exist.
    Read(Option<Snapshot>),
    /// The object is not as the write expected it. This can be the answer to a silent repetition of a write that was made.
    Conflict,
    /// There was no answer, or an error that may hide a commit.
    InDoubt {
        /// The pause that the server asked for.
        retry_after: Option<Duration>,
        /// Whether an API server has ever answered this client.
        server_known: bool,
        /// Whether the server refuses the request, for a reason that may pass: tokens rotate, quotas are raised.
        refused: bool,
    },
    /// The server refused the request. It has had no effect, and the same request would be refused again.
    Denied {
        /// Whether every write of this process would be refused.
        any_write: bool,
    },
}

//! The rules of the lock as pure state machines: `(state, event, now) -> action`.
//!
//! No I/O, no clock, no runtime: time is an argument, randomness is an argument. What drives these
//! machines against a Kubernetes API server also drives them in tests and in a model checker.
//!
//! - [`Judge`] tells whether a Lease that somebody else may hold may be claimed.
//! - [`Contention`] is one acquisition: it looks, waits and claims, until it has won.
//! - [`Holder`] keeps a Lease that this process holds, and knows when it no longer does.
//! - [`Release`] gives a held Lease back.

mod contention;
mod holder;
mod judge;
#[cfg(test)]
mod model;
mod release;

pub(crate) use contention::{Claim, Contention, ContentionStep};
pub(crate) use holder::{Holder, Loss, Step};
pub(crate) use judge::Judge;
pub(crate) use release::{Release, ReleaseStep, Released};

use std::time::Duration;

use crate::queue::Queue;
use crate::record::{Record, Snapshot, Version};
use crate::time::{Moment, Stamp};

/// The largest relative rate error assumed of any clock: 1 %. NTP keeps real clocks within 0.05 %.
pub(crate) const CLOCK_RATE_ERROR: f64 = 0.01;

/// The timings that a holder lives by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    /// How long a contender waits after the last change of the record before it takes over.
    pub lease_duration: Duration,
    /// How long the holder trusts the Lease after sending the last write that succeeded.
    pub renew_deadline: Duration,
    /// The time from sending one successful write to sending the next.
    pub renew_interval: Duration,
}

/// One write: this record, and only if the Lease is still in this version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    /// `None` creates the Lease if it is absent.
    pub on: Option<Version>,
    pub record: Record,
    /// The queue as it is to be; `None` where there is none, and none to be.
    pub queue: Option<Queue>,
}

impl Write {
    /// Creates the Lease if it is absent.
    fn create(record: Record) -> Self {
        Self { on: None, record, queue: None }
    }

    /// Replaces exactly what was seen.
    fn replace(seen: &Snapshot, record: Record, queue: Queue) -> Self {
        let queue = (!seen.queue.is_empty() || !queue.is_empty()).then_some(queue);
        Self { on: Some(seen.version.clone()), record, queue }
    }
}

/// What one acquisition of a process leaves to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) enum Left {
    /// Look first.
    #[default]
    Unknown,
    /// It released the Lease, and this is what it left.
    Free(Snapshot),
    /// It did not release the Lease, but handed it on: its hold is over, its record is still there.
    Passed { by: String, snapshot: Snapshot },
}

impl Left {
    pub(crate) fn revision(&self) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::Free(snapshot) | Self::Passed { snapshot, .. } => Some(snapshot.version.revision),
        }
    }
}

/// What a request brought to light.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// The write was definitely made; this is the object it left.
    Written(Snapshot),
    /// A read: the Lease as it is now, or `None` where there is none.
    Seen(Option<Snapshot>),
    /// Nobody knows: no answer, an error that may hide a commit, or a conflict, which may be the answer
    /// to a silent repetition of a write that was made. Nothing further is sent for `pause`.
    Unknown { pause: Duration },
}

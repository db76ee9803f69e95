//! The rules of the lock as pure state machines: `(state, event, now) -> action`.
//!
//! This module imports nothing of the crate. It does no I/O, reads no clock and needs no runtime: time and randomness are
//! arguments. The module `driver` runs these machines against a Kubernetes API server; the tests run them in
//! virtual time and in an exhaustive search.
//!
//! The nouns:
//!
//! - [`time`] has the two kinds of time, [`record`] what a Lease says, [`queue`] the queue of processes that it carries.
//! - [`request`] has what a machine sends, and the outcome that the driver reports.
//! - [`Timings`] are the durations that the machines obey. [`Carryover`] is what one acquisition leaves to the next.
//!
//! The rules:
//!
//! - [`ExpiryTracker`] decides whether a Lease that another process may hold can be claimed.
//! - [`AcquireState`] is one acquisition: it reads, waits and claims until the claim is won.
//! - [`HoldState`] is one hold: it renews the Lease, and decides when the hold is over.
//! - [`ReleaseState`] gives up a hold, or withdraws a claim.
//! - [`QueuePolicy`] decides when to join the queue, and how long to leave a free Lease to the processes ahead.

mod acquire;
mod carryover;
mod expiry;
mod hold;
pub(crate) mod identity;
mod loss;
#[cfg(test)]
mod model;
mod queue;
mod queueing;
mod record;
mod release;
mod request;
mod time;
mod timings;

pub(crate) use acquire::{AcquireState, AcquireStep, Claim};
pub(crate) use carryover::Carryover;
pub(crate) use expiry::ExpiryTracker;
pub(crate) use hold::{HoldState, HoldStep};
pub(crate) use loss::Loss;
pub(crate) use queue::{Queue, Ticket};
pub(crate) use queueing::{ContentionWindow, QueuePolicy};
pub(crate) use record::{Record, Snapshot, Version};
pub(crate) use release::{ReleaseOutcome, ReleaseState, ReleaseStep};
pub(crate) use request::{Outcome, Write};
pub(crate) use time::{Instant, WallTime};
pub(crate) use timings::{CLOCK_RATE_ERROR, Timings};

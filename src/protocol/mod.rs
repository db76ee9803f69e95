//! The rules of the lock as pure state machines: `(state, event, now) -> action`.
//!
//! This module imports nothing of the crate. It does no I/O, reads no clock and needs no runtime: time and randomness are
//! arguments. The module `driver` runs these machines against a Kubernetes API server; the tests run them in
//! virtual time and in an exhaustive search.
//!
//! The nouns:
//!
//! - [`time`] has the two kinds of time, [`record`] what a Lease says, [`queue`] the queue of processes that it carries, and
//!   [`done`] the keys of work that is done.
//! - [`request`] has what a machine sends, and the outcome that the driver reports.
//! - [`Timings`] are the durations that the machines obey. [`Memory`] is what a lock knows from one acquisition to the next.
//!
//! The rules:
//!
//! - [`AcquireState`] is one acquisition: it reads, waits, joins the queue and claims, until a claim wins or it gives up.
//! - [`Recreation`](recreation::Recreation) decides when a Lease that was deleted is created again.
//! - [`Patience`](patience::Patience) decides how long it goes on if no server accepts its requests.
//! - [`ClaimState`](claim::ClaimState) decides what can be claimed, and finds out what became of a claim without an answer.
//! - [`ExpiryTracker`](expiry::ExpiryTracker) decides whether a Lease that another process may hold can be claimed.
//! - [`HoldState`] is one hold: it renews the Lease, and decides when the hold is over, and whether it is handed off.
//! - [`ReleaseState`] gives up a hold, or withdraws a claim.
//! - [`BreakState`] ends the hold of another process by force.
//! - [`ObserveState`] observes who holds the Lease, for a process that does not contend.
//! - [`QueuePolicy`](queueing::QueuePolicy) decides when to join the queue, and how long to leave a free Lease to the processes ahead.
//! - [`Hedging`] decides when a request without an answer is sent once more.
//! - [`WatchHealth`](watch_health::WatchHealth) decides when to open the watch, and whether to believe it.

mod acquire;
mod backoff;
mod break_hold;
mod carryover;
mod claim;
mod contention;
mod done;
mod expiry;
mod hedging;
mod hold;
pub(crate) mod identity;
mod loss;
mod memory;
#[cfg(test)]
mod model;
mod observe;
mod patience;
mod queue;
mod queueing;
mod record;
mod recreation;
mod release;
mod request;
mod round_trip;
mod time;
mod timings;
mod watch_health;

pub use acquire::CreateMode;
pub(crate) use acquire::{AcquireState, AcquireStep, GiveUp, Mode};
pub(crate) use backoff::{Backoff, jittered};
pub(crate) use break_hold::{BreakOutcome, BreakState, BreakStep, HoldId};
#[cfg(test)]
pub(crate) use carryover::Carryover;
pub(crate) use claim::Claim;
pub(crate) use done::{DoneKey, DoneKeys};
pub(crate) use hedging::Hedging;
pub(crate) use hold::{HoldState, HoldStep, HoldStop};
pub(crate) use loss::Loss;
pub(crate) use memory::Memory;
pub(crate) use observe::{Observation, ObserveState, ObserveStep};
pub(crate) use queue::{Queue, Ticket};
pub(crate) use record::{Coordination, Record, Snapshot, Version};
pub(crate) use release::{ReleaseOutcome, ReleaseState, ReleaseStep};
pub(crate) use request::{Join, Outcome, Write};
pub(crate) use time::{Instant, WallTime};
pub(crate) use timings::{CLOCK_RATE_ERROR, Timings};
pub(crate) use watch_health::WatchEvent;

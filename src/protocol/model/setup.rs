//! The parameters of one exploration.

use std::time::Duration;

use super::Timings;

/// One exploration.
#[derive(Clone)]
pub(super) struct Setup {
    /// The rate of each process's clock, in percent of true time: 100 is right.
    pub rates: &'static [u64],
    /// In seconds, as the two fields below.
    pub lease_duration: u64,
    pub token_deadline: u64,
    pub horizon: u64,
    pub faults: Faults,
    pub flaw: Option<Flaw>,
}

/// How often each fault may happen on one path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Faults {
    /// Requests whose client gives up. They may arrive all the same.
    pub timeouts: u8,
    /// Writes that arrive twice.
    pub repetitions: u8,
    /// Holds that are released.
    pub releases: u8,
    /// Acquisitions that are given up.
    pub withdrawals: u8,
    /// Holds that are handed off to the next acquisition of the same process.
    pub hand_offs: u8,
    /// Processes that acquire once more.
    pub returns: u8,
    /// Joins that leave their process.
    pub joins: u8,
    /// States that a watch delivers.
    pub events: u8,
    /// Watches that break off, by turns because the server has forgotten their revision.
    pub breaks: u8,
    /// Edits by another client that remove the queue.
    pub strips: u8,
    /// The store comes back in the state before the last change.
    pub set_backs: u8,
    /// Edits beside the record, by another client.
    pub edits: u8,
    /// Deletions of the Lease, by another client.
    pub deletions: u8,
    /// Claims by another client that does not respect the holder.
    pub seizures: u8,
    /// Holders that another client empties.
    pub clearings: u8,
}

/// Deliberate breaches of the protocol. The search has to find each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A claim counts from its answer.
    StampedAtAnswer,
    /// The server makes every write and ignores its condition.
    Unconditional,
    /// A record counts as received when the read was sent.
    ReceivedAtRequest,
}

impl Setup {
    pub(super) fn timings(&self) -> Timings {
        Timings {
            lease_duration: Duration::from_secs(self.lease_duration),
            token_deadline: Duration::from_secs(self.token_deadline),
            renew_interval: Duration::from_secs(self.token_deadline / 2),
            startup_timeout: Duration::from_secs(self.lease_duration),
            max_pause: Duration::ZERO,
        }
    }
}

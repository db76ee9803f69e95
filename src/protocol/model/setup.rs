//! What is explored.

use std::time::Duration;

use super::Timings;

/// One exploration.
#[derive(Clone)]
pub(super) struct Setup {
    /// The rate of each process's clock, in percent of true time: 100 is right.
    pub rates: &'static [u64],
    /// All in seconds.
    pub lease_duration: u64,
    pub token_deadline: u64,
    pub horizon: u64,
    pub faults: Faults,
    pub flaw: Option<Flaw>,
}

/// How often something may happen on the way through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Faults {
    /// Requests given up on; they may arrive all the same.
    pub timeouts: u8,
    /// Writes that arrive twice.
    pub repetitions: u8,
    /// Holds given back.
    pub releases: u8,
    /// Acquisitions given up.
    pub withdrawals: u8,
    /// Holds handed on to the next acquisition of the same process.
    pub hand_offs: u8,
    /// Processes that acquire once more.
    pub returns: u8,
    /// States told by a watch.
    pub news: u8,
    /// Edits beside the record, by somebody else.
    pub edits: u8,
    /// Deletions of the Lease, by somebody else.
    pub deletions: u8,
    /// Claims by somebody else, who does not care for whose the Lease is.
    pub intrusions: u8,
    /// Holders emptied by somebody else.
    pub clearings: u8,
}

/// Deliberate breaches of the protocol, to see that the search finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A claim counts from its answer.
    StampedAtAnswer,
    /// The server takes every write, whatever it is conditional on.
    Unconditional,
    /// A record counts as received when it was asked for.
    ReceivedAtRequest,
}

impl Setup {
    pub(super) fn timings(&self) -> Timings {
        Timings {
            lease_duration: Duration::from_secs(self.lease_duration),
            token_deadline: Duration::from_secs(self.token_deadline),
            renew_interval: Duration::from_secs(self.token_deadline / 2),
        }
    }
}

//! The options of the command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures kube-lease-lock on a real kube-apiserver with etcd, and compares it with the plain requests that any lock
/// needs.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// The groups to measure; all of them by default
    #[arg(value_enum)]
    groups: Vec<Group>,
    /// Use small counts: this shows that the program works, but not how fast the lock is
    #[arg(long)]
    pub(crate) quick: bool,
    /// How the clients of all contenders connect
    #[arg(long, value_enum, default_value = "lock")]
    pub(crate) client: ClientKind,
    /// How long the contenders in the group `fairness` take turns, in seconds [default: 60, quick: 5]
    #[arg(long)]
    fairness: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Many locks of one process. This group is first, because memory that another group has freed would not count
    Held,
    /// Plain requests
    Floor,
    /// A free Lease
    Acquire,
    /// From a release to the next holder
    Handover,
    /// From a crash to the next holder
    Crash,
    /// The requests of a holder and of a waiter
    Idle,
    /// Many processes wait
    Waiters,
    /// Many processes take turns
    Fairness,
    /// Many tasks of one process wait
    Tasks,
    /// Other lock crates, and other systems
    Peers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientKind {
    /// The client from `kube::Client::try_from`
    Ordinary,
    /// The client from `kube_lease_lock::lock_client`
    Lock,
}

impl Options {
    pub(crate) fn wants(&self, group: Group) -> bool {
        self.groups.is_empty() || self.groups.contains(&group)
    }

    /// The count for a quick run, or that for a full run.
    pub(crate) fn count(&self, quick: usize, full: usize) -> usize {
        if self.quick { quick } else { full }
    }

    pub(crate) fn fairness(&self) -> Duration {
        let default = if self.quick { 5 } else { 60 };
        Duration::from_secs(self.fairness.unwrap_or(default))
    }
}

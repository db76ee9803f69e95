//! What the user asks for.

use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures kube-lease-lock against a real kube-apiserver with etcd, beside the plain requests that any lock
/// has to make.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// What to measure; all of it by default
    #[arg(value_enum)]
    groups: Vec<Group>,
    /// Small counts: shows that it works, not how fast
    #[arg(long)]
    pub(crate) quick: bool,
    /// How the clients of all contenders connect
    #[arg(long, value_enum, default_value = "lock")]
    pub(crate) client: ClientKind,
    /// How long contenders take turns in the group `fairness`, in seconds [default: 60, quick: 5]
    #[arg(long)]
    fairness: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Many locks of one process: first, because memory that others have left is reused and does not count
    Held,
    /// Plain requests
    Floor,
    /// A free Lease
    Acquire,
    /// From a release to the next holder
    Handover,
    /// From a crash to the next holder
    Crash,
    /// What holding and waiting cost the API server
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
    /// What `kube::Client::try_from` makes
    Ordinary,
    /// What `kube_lease_lock::lock_client` makes
    Lock,
}

impl Options {
    pub(crate) fn wants(&self, group: Group) -> bool {
        self.groups.is_empty() || self.groups.contains(&group)
    }

    /// How many, in a quick run and else.
    pub(crate) fn count(&self, quick: usize, full: usize) -> usize {
        if self.quick { quick } else { full }
    }

    pub(crate) fn fairness(&self) -> Duration {
        let default = if self.quick { 5 } else { 60 };
        Duration::from_secs(self.fairness.unwrap_or(default))
    }
}

//! The systems that are measured, and their settings.

use std::env;
use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tokio::task::spawn_blocking;

use super::contender::Contender;
use super::namespace::Namespace;
use super::{kube_lease_lock_peer, versions};
use crate::support::{ELECTOR, ETCDLOCK, peers};

#[derive(Clone, Copy)]
pub(crate) struct System {
    program: Program,
    /// How the settings are called in the table.
    pub(crate) settings: &'static str,
    pub(crate) lease: Duration,
    flags: Flags,
    /// Whether the leases are shorter than with the settings that most users have.
    pub(crate) is_short: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// This program.
    Ours,
    /// One of `tests/peers`.
    Peer(&'static str),
    ClientGo,
    Etcd,
}

/// Each system with its defaults, and with leases as short as it allows or as is useful.
pub(crate) const ALL: [System; 15] = [
    usual(OURS, "defaults", 15, &[]),
    usual(OURS, "defaults, lock_client", 15, &["--client", "lock"]),
    short(OURS, "3 s leases", 3, &[]),
    usual(KUBE_LEASE_MANAGER, "defaults", 30, &["--grace", "5s"]),
    short(KUBE_LEASE_MANAGER, "2 s leases, 1 s grace", 2, &["--grace", "1s"]),
    usual(KUBERT, "defaults", 30, &["--grace", "1s"]),
    short(KUBERT, "2 s leases, 1 s grace", 2, &["--grace", "1s"]),
    usual(KUBE_LEADER_ELECTION, "15 s leases, asked every 5 s", 15, &[]),
    short(KUBE_LEADER_ELECTION, "2 s leases, asked every 0.67 s", 2, &[]),
    usual(KUBE_COORDINATE, "defaults", 15, &["--grace", "5s", "--retry-period", "2s"]),
    short(
        KUBE_COORDINATE,
        "2 s leases, 1.5 s renew deadline",
        2,
        &["--grace", "500ms", "--retry-period", "1s"],
    ),
    usual(CLIENT_GO, "defaults, ReleaseOnCancel", 15, &[]),
    short(
        CLIENT_GO,
        "2 s leases, 0.25 s retry period",
        2,
        &["--renew-deadline", "1500ms", "--retry-period", "250ms"],
    ),
    usual(ETCD, "defaults", 60, &[]),
    short(ETCD, "2 s leases", 2, &[]),
];

const OURS: Program = Program::Ours;
const KUBE_LEASE_MANAGER: Program = Program::Peer("kube-lease-manager");
const KUBERT: Program = Program::Peer("kubert");
const KUBE_LEADER_ELECTION: Program = Program::Peer("kube-leader-election");
const KUBE_COORDINATE: Program = Program::Peer("kube-coordinate");
const CLIENT_GO: Program = Program::ClientGo;
const ETCD: Program = Program::Etcd;

type Flags = &'static [&'static str];

const fn usual(program: Program, settings: &'static str, lease: u64, flags: Flags) -> System {
    System { program, settings, lease: Duration::from_secs(lease), flags, is_short: false }
}

const fn short(program: Program, settings: &'static str, lease: u64, flags: Flags) -> System {
    System { is_short: true, ..usual(program, settings, lease, flags) }
}

impl System {
    /// Its name and version.
    pub(crate) fn name(&self) -> String {
        let (name, version) = match self.program {
            Program::Ours => ("kube-lease-lock", versions::of_crate("kube-lease-lock")),
            Program::Peer(name) => (name, versions::of_crate(name)),
            Program::ClientGo => ("client-go", versions::of_module("k8s.io/client-go")),
            Program::Etcd => ("etcd's own lock", versions::of_module("go.etcd.io/etcd/client/v3")),
        };
        format!("{name} {version}")
    }

    /// Whether its waiters learn of a release immediately. The waiters of the other systems poll, some seconds later.
    pub(crate) fn is_prompt(&self) -> bool {
        matches!(self.program, Program::Ours | Program::Etcd)
    }

    /// Whether it treats a Lease with an empty spec as free.
    pub(crate) fn knows_blank_leases(&self) -> bool {
        self.program != KUBE_LEADER_ELECTION
    }

    /// Builds the program if necessary.
    pub(crate) async fn build(&self) -> Result<()> {
        let program = self.program;
        spawn_blocking(move || program.command().map(drop)).await?
    }

    /// Starts a process that contends by orders.
    pub(crate) fn start(&self, namespace: &Namespace, identity: &str) -> Result<Contender> {
        let mut command = self.program.command()?;
        command
            .args(["--namespace", namespace.name()])
            .args(["--lease-duration", &format!("{}s", self.lease.as_secs())])
            .args(self.flags);
        if self.program == Program::Etcd {
            command.args(["--etcd", namespace.etcd()?]);
        } else {
            command.args(["--kubeconfig".as_ref(), namespace.kubeconfig()]).args(["--identity", identity]);
        }
        Contender::start(command)
    }
}

impl Program {
    fn command(self) -> Result<Command> {
        Ok(match self {
            Self::Ours => with(env::current_exe()?, kube_lease_lock_peer::CONTEND),
            Self::Peer(name) => {
                let mut command = with(peers(), name);
                command.arg("--by-order");
                command
            }
            Self::ClientGo => with(ELECTOR.path(), "--by-order"),
            Self::Etcd => Command::new(ETCDLOCK.path()),
        })
    }
}

fn with(program: impl AsRef<OsStr>, argument: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(argument);
    command
}

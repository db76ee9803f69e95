//! Which systems are measured, and with which settings.

use std::env;
use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tokio::task::spawn_blocking;

use super::contender::Contender;
use super::place::Place;
use super::{ours, versions};
use crate::support::{ELECTOR, ETCDLOCK, peers};

#[derive(Clone, Copy)]
pub(crate) struct System {
    program: Program,
    /// How it is called here.
    pub(crate) settings: &'static str,
    pub(crate) lease: Duration,
    flags: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// This program itself.
    Ours,
    /// One of `tests/peers`.
    Peer(&'static str),
    ClientGo,
    Etcd,
}

/// Each with its defaults, and with the shortest leases that it allows or that make sense.
pub(crate) const ALL: [System; 14] = [
    system(Program::Ours, "defaults", 15, &[]),
    system(Program::Ours, "3 s leases", 3, &[]),
    system(Program::Peer("kube-lease-manager"), "defaults", 30, &["--grace", "5s"]),
    system(Program::Peer("kube-lease-manager"), "2 s leases, 1 s grace", 2, &["--grace", "1s"]),
    system(Program::Peer("kubert"), "defaults", 30, &["--grace", "1s"]),
    system(Program::Peer("kubert"), "2 s leases, 1 s grace", 2, &["--grace", "1s"]),
    system(Program::Peer("kube-leader-election"), "15 s leases, asked every 5 s", 15, &[]),
    system(Program::Peer("kube-leader-election"), "2 s leases, asked every 0.67 s", 2, &[]),
    system(Program::Peer("kube-coordinate"), "defaults", 15, &["--grace", "5s", "--retry-period", "2s"]),
    system(
        Program::Peer("kube-coordinate"),
        "2 s leases, 1.5 s renew deadline",
        2,
        &["--grace", "500ms", "--retry-period", "1s"],
    ),
    system(Program::ClientGo, "defaults, ReleaseOnCancel", 15, &[]),
    system(
        Program::ClientGo,
        "2 s leases, 0.25 s retry period",
        2,
        &["--renew-deadline", "1500ms", "--retry-period", "250ms"],
    ),
    system(Program::Etcd, "defaults", 60, &[]),
    system(Program::Etcd, "2 s leases", 2, &[]),
];

const fn system(
    program: Program,
    settings: &'static str,
    lease: u64,
    flags: &'static [&'static str],
) -> System {
    System { program, settings, lease: Duration::from_secs(lease), flags }
}

impl System {
    /// With its version.
    pub(crate) fn name(&self) -> String {
        let (name, version) = match self.program {
            Program::Ours => ("kube-lease-lock", versions::of_crate("kube-lease-lock")),
            Program::Peer(name) => (name, versions::of_crate(name)),
            Program::ClientGo => ("client-go", versions::of_module("k8s.io/client-go")),
            Program::Etcd => ("etcd's own lock", versions::of_module("go.etcd.io/etcd/client/v3")),
        };
        format!("{name} {version}")
    }

    /// Whether its waiters are told of a release. Those of the others look again some seconds later.
    pub(crate) fn is_prompt(&self) -> bool {
        matches!(self.program, Program::Ours | Program::Etcd)
    }

    /// Whether its settings are not another choice for the same program.
    pub(crate) fn is_first_of_its_kind(&self) -> bool {
        ALL.iter()
            .find(|system| system.program == self.program)
            .is_some_and(|first| first.settings == self.settings)
    }

    /// Builds the program, if it has not been.
    pub(crate) async fn build(&self) -> Result<()> {
        let program = self.program;
        spawn_blocking(move || program.command().map(drop)).await?
    }

    /// Starts a process that contends by order.
    pub(crate) fn start(&self, place: &Place, identity: &str) -> Result<Contender> {
        let mut command = self.program.command()?;
        command.args(["--lease-duration", &format!("{}s", self.lease.as_secs())]).args(self.flags);
        if self.program == Program::Etcd {
            command.args(["--etcd", place.etcd()?]);
        } else {
            command.args(["--kubeconfig".as_ref(), place.kubeconfig()]).args([
                "--namespace",
                place.namespace(),
                "--identity",
                identity,
            ]);
        }
        Contender::start(command)
    }
}

impl Program {
    fn command(self) -> Result<Command> {
        Ok(match self {
            Self::Ours => with(env::current_exe()?, ours::CONTEND),
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

//! Contenders that use other libraries, each in a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::control_plane::blocking;
use super::{go_build, peers_build};

const LINE_TIMEOUT: Duration = Duration::from_secs(60);

/// The library that the contender uses, with the settings that only this library has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Library {
    ClientGo { renew_deadline: Duration, retry_period: Duration, release_on_cancel: bool },
    KubeCoordinate { grace: Duration, retry_period: Duration },
    KubeLeaderElection,
    KubeLeaseManager { grace: Duration },
    Kubert { grace: Duration },
}

/// The settings that all libraries have.
#[derive(Clone)]
pub(crate) struct NeighbourOptions<'a> {
    pub(crate) kubeconfig: &'a Path,
    pub(crate) namespace: &'a str,
    pub(crate) lease: &'a str,
    pub(crate) register: SocketAddr,
    pub(crate) pace: Pace,
}

#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) lease_duration: Duration,
    /// How long each hold lasts.
    pub(crate) hold: Duration,
    /// The pause after each hold.
    pub(crate) rest: Duration,
}

/// A process that contends until this is dropped.
pub(crate) struct Neighbour {
    orders: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    identity: String,
    process: Child,
}

impl Neighbour {
    /// Its holds in the register are named `<identity>#1` and so on.
    pub(crate) async fn start(library: Library, identity: &str, options: &NeighbourOptions<'_>) -> Self {
        let mut command = blocking(move || library.command()).await;
        command
            .args(["--kubeconfig".as_ref(), options.kubeconfig])
            .args(["--namespace", options.namespace, "--lease", options.lease, "--identity", identity])
            .args(["--register", &options.register.to_string()])
            .args(["--lease-duration", &seconds(options.pace.lease_duration)])
            .args(["--term", &milliseconds(options.pace.hold)])
            .args(["--rest", &milliseconds(options.pace.rest)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process =
            tokio::process::Command::from(command).kill_on_drop(true).spawn().expect("a neighbour started");
        let orders = process.stdin.take().expect("its standard input");
        let output = BufReader::new(process.stdout.take().expect("its standard output")).lines();
        Self { orders, output, identity: identity.to_owned(), process }
    }

    /// Sends an order to its network: `hold requests`, `hold replies` or `pass`. `hold` affects all requests, or those
    /// of one method, as in `hold requests PATCH`. Each order replaces the one before, also for requests that are held
    /// back.
    pub(crate) async fn order(&mut self, order: &str) {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.expect("an order taken");
        self.wait_for(&format!("obeying {order}")).await;
    }

    /// Fails the test if the process has ended.
    pub(crate) fn assert_runs(&mut self) {
        let ended = self.process.try_wait().expect("the state of its process");
        assert!(ended.is_none(), "{} ended: {ended:?}", self.identity);
    }

    /// Waits until it prints this line.
    pub(crate) async fn wait_for(&mut self, expected: &str) {
        let found = timeout(LINE_TIMEOUT, async {
            while let Some(line) = self.output.next_line().await.expect("its standard output") {
                if line == expected {
                    return;
                }
            }
            panic!("{} ended", self.identity);
        });
        found.await.unwrap_or_else(|_| panic!("{} never printed {expected:?}", self.identity));
    }
}

impl Library {
    /// The command that runs the program, which is built if necessary.
    fn command(self) -> Command {
        match self {
            Self::ClientGo { renew_deadline, retry_period, release_on_cancel } => {
                let mut command = Command::new(go_build::ELECTOR.path());
                command
                    .args(["--renew-deadline", &milliseconds(renew_deadline)])
                    .args(["--retry-period", &milliseconds(retry_period)])
                    .arg(format!("--release-on-cancel={release_on_cancel}"));
                command
            }
            Self::KubeCoordinate { grace, retry_period } => {
                let mut command = with_grace(peer("kube-coordinate"), grace);
                command.args(["--retry-period", &milliseconds(retry_period)]);
                command
            }
            Self::KubeLeaderElection => peer("kube-leader-election"),
            Self::KubeLeaseManager { grace } => with_grace(peer("kube-lease-manager"), grace),
            Self::Kubert { grace } => with_grace(peer("kubert"), grace),
        }
    }
}

fn peer(name: &str) -> Command {
    let mut command = Command::new(peers_build::program());
    command.arg(name);
    command
}

fn with_grace(mut peer: Command, grace: Duration) -> Command {
    peer.args(["--grace", &seconds(grace)]);
    peer
}

fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

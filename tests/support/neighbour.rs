//! Contenders of other makes, each a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::control_plane::blocking;
use super::{go_build, peers_build};

/// Which one, with the settings that it has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Make {
    ClientGo { renew_deadline: Duration, retry_period: Duration, release_on_cancel: bool },
    KubeCoordinate { grace: Duration, retry_period: Duration },
    KubeLeaderElection,
    KubeLeaseManager { grace: Duration },
    Kubert { grace: Duration },
}

/// What they all want to know.
#[derive(Clone)]
pub(crate) struct Terms<'a> {
    pub(crate) kubeconfig: &'a Path,
    pub(crate) namespace: &'a str,
    pub(crate) lease: &'a str,
    pub(crate) register: SocketAddr,
    pub(crate) pace: Pace,
}

#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) lease_duration: Duration,
    /// For how long to lead at a time.
    pub(crate) term: Duration,
    /// For how long to rest after that.
    pub(crate) rest: Duration,
}

/// A process that contends until this is dropped.
pub(crate) struct Neighbour {
    orders: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
    identity: String,
    process: Child,
}

impl Neighbour {
    /// Its holds in the register are named `<identity>#1` and so on.
    pub(crate) async fn start(make: Make, identity: &str, terms: &Terms<'_>) -> Self {
        let mut command = blocking(move || make.command()).await;
        command
            .args(["--kubeconfig".as_ref(), terms.kubeconfig])
            .args(["--namespace", terms.namespace, "--lease", terms.lease, "--identity", identity])
            .args(["--register", &terms.register.to_string()])
            .args(["--lease-duration", &seconds(terms.pace.lease_duration)])
            .args(["--term", &milliseconds(terms.pace.term)])
            .args(["--rest", &milliseconds(terms.pace.rest)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process =
            tokio::process::Command::from(command).kill_on_drop(true).spawn().expect("a neighbour started");
        let orders = process.stdin.take().expect("its standard input");
        let says = BufReader::new(process.stdout.take().expect("its standard output")).lines();
        Self { orders, says, identity: identity.to_owned(), process }
    }

    /// What its network does from now on: `hold requests` or `hold replies`, all or those of one method, as
    /// in `hold requests PATCH`; or `pass`. Each replaces the last one, for what is held back too.
    pub(crate) async fn order(&mut self, order: &str) {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.expect("an order taken");
        self.says(&format!("obeying {order}")).await;
    }

    /// Fails the test where it has ended.
    pub(crate) fn assert_runs(&mut self) {
        let ended = self.process.try_wait().expect("its state");
        assert!(ended.is_none(), "{} ended: {ended:?}", self.identity);
    }

    /// Waits until it says this.
    pub(crate) async fn says(&mut self, what: &str) {
        let found = timeout(Duration::from_secs(60), async {
            while let Some(line) = self.says.next_line().await.expect("its standard output") {
                if line == what {
                    return;
                }
            }
            panic!("{} ended", self.identity);
        });
        found.await.unwrap_or_else(|_| panic!("{} never said {what:?}", self.identity));
    }
}

impl Make {
    /// Builds the program, if it has not been.
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

//! Faults that a test may inject into a control plane of its own.

use std::path::PathBuf;

use super::ControlPlane;
use super::control_plane::{blocking, lock};
use super::process::{signal, signal_group};

impl ControlPlane {
    /// The folder with all its data. It is removed when the control plane ends.
    pub(crate) fn data(&self) -> PathBuf {
        lock(&self.own()).path("data")
    }

    /// The process that leads its process group.
    pub(crate) fn pid(&self) -> u32 {
        lock(&self.own()).pid()
    }

    /// The process of etcd, which is that of the API server unless it was
    /// [started with a separate etcd](Self::start_with_separate_etcd).
    pub(crate) fn etcd_pid(&self) -> u32 {
        lock(&self.own()).field("etcdPid").parse().expect("the process id of etcd")
    }

    /// Kills it without a shutdown. Its connections are reset, and new connections are refused.
    pub(crate) async fn kill(&self) {
        let process = self.own();
        blocking(move || lock(&process).kill()).await;
    }

    /// Kills it if it runs, and starts it again with the same data and address.
    pub(crate) async fn restart(&self) {
        let process = self.own();
        blocking(move || lock(&process).restart()).await;
        self.ready().await;
    }

    /// Closes its standard input, as the end of the test process would.
    pub(crate) async fn end(&self) {
        let process = self.own();
        let ended = blocking(move || lock(&process).end()).await;
        assert!(ended, "the control plane did not end with its standard input");
    }

    /// Stops it in its tracks: connections stay, nothing answers. It continues when the returned
    /// value is dropped.
    pub(crate) fn pause(&self) -> Paused {
        let pid = self.pid();
        assert!(signal_group(pid, "STOP"), "cannot pause a process that was killed");
        Paused::Group(pid)
    }

    /// Stops etcd alone: the API server answers those requests that do not need etcd.
    pub(crate) fn pause_etcd(&self) -> Paused {
        let etcd = self.etcd_pid();
        assert_ne!(etcd, self.pid(), "etcd has no process of its own: use `start_with_separate_etcd()`");
        assert!(signal(etcd, "STOP"), "cannot pause a process that was killed");
        Paused::Process(etcd)
    }
}

/// The control plane, or one process of it, is stopped until this is dropped.
#[must_use]
pub(crate) enum Paused {
    Group(u32),
    Process(u32),
}

impl Drop for Paused {
    fn drop(&mut self) {
        match *self {
            Self::Group(leader) => signal_group(leader, "CONT"),
            Self::Process(pid) => signal(pid, "CONT"),
        };
    }
}

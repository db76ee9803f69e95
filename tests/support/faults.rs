//! What a test may do to a control plane of its own.

use std::path::PathBuf;

use super::ControlPlane;
use super::control_plane::{blocking, lock};
use super::process::signal;

impl ControlPlane {
    /// The folder with all that it keeps. It goes when the control plane ends.
    pub(crate) fn data(&self) -> PathBuf {
        lock(&self.own()).path("data")
    }

    pub(crate) fn pid(&self) -> u32 {
        lock(&self.own()).pid()
    }

    /// Ends it as a power cut would. Connections are reset, and new ones refused.
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
        assert!(signal(pid, "STOP"), "nothing to pause: it was killed");
        Paused { pid }
    }
}

/// Until dropped, the control plane stands still.
#[must_use]
pub(crate) struct Paused {
    pid: u32,
}

impl Drop for Paused {
    fn drop(&mut self) {
        signal(self.pid, "CONT");
    }
}

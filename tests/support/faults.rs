//! Faults that a test may inject into a control plane of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

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

    /// Copies the data of its store, as a crash of the machine at this moment would leave them.
    pub(crate) async fn copy_store(&self) -> StoreCopy {
        let (data, paused) = (self.data(), self.pause());
        sleep(STOP_TIME).await;
        let copy = StoreCopy(data.join("copy-of-the-store"));
        let _ = fs::remove_dir_all(&copy.0);
        copy_store(&data, &copy.0);
        drop(paused);
        copy
    }

    /// Kills it, and starts it again with this earlier state of its store. The address stays the same.
    pub(crate) async fn restart_from(&self, copy: &StoreCopy) {
        self.kill().await;
        let data = self.data();
        store_entries(&data).for_each(|entry| remove(&entry));
        copy_store(&copy.0, &data);
        self.restart().await;
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

/// A stopped process has come to rest after this time.
const STOP_TIME: Duration = Duration::from_millis(50);

/// The folder with an earlier state of the store.
pub(crate) struct StoreCopy(PathBuf);

/// The files and folders of etcd or kine in a folder.
fn store_entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder with the store");
    entries.map(|entry| entry.expect("an entry of the folder").path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "etcd" || name.starts_with("kine.db")
    })
}

fn copy_store(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder for the copy");
    let mut copied = 0;
    for entry in store_entries(from) {
        copy(&entry, &to.join(entry.file_name().unwrap_or_default()));
        copied += 1;
    }
    assert!(copied > 0, "there is no store in {}", from.display());
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).expect("a folder for the copy");
        for entry in fs::read_dir(from).expect("a folder of the store").flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).expect("a file of the store copied");
    }
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.expect("a part of the store removed");
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

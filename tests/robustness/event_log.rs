//! The log of all events of a run, for the engineer who has to understand why the run failed.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::support::now;

/// A file with one event per line: the time in nanoseconds of `CLOCK_MONOTONIC`, the actor, and what happened.
pub(crate) struct EventLog {
    path: PathBuf,
    file: Mutex<File>,
}

impl EventLog {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("robustness-{name}-{}.log", std::process::id()));
        let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, file: Mutex::new(file) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn record(&self, actor: impl Display, event: impl Display) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{} {actor}: {event}", now()).expect("space for the event log");
    }

    pub(crate) fn remove(&self) {
        // Best effort: a file that stays only takes space.
        let _ = fs::remove_file(&self.path);
    }
}

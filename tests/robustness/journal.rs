//! All that happened in a run, for those who have to understand why it failed.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::support::now;

/// A file with one line per event: the time in nanoseconds of `CLOCK_MONOTONIC`, who, and what.
pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("robustness-{name}.log"));
        let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, file: Mutex::new(file) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn note(&self, who: impl Display, what: impl Display) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{} {who}: {what}", now()).expect("space for the journal");
    }

    pub(crate) fn remove(&self) {
        // Best effort: it only takes space.
        let _ = fs::remove_file(&self.path);
    }
}

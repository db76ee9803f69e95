//! Builds that take long: one process at a time does them, and the terminal shows their progress.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Runs the command to its end, and writes its standard error to a log.
pub(super) fn run(what: &str, command: &mut Command, log: &Path, advice: &str) {
    let log_file = File::create(log).expect("a log of the build");
    let mut child = command.stderr(log_file).spawn().unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => panic!("{advice}"),
        _ => panic!("cannot run {}: {error}", command.get_program().display()),
    });
    let status = wait(what, || child.try_wait().expect("the state of the build"));
    if !status.success() {
        let errors = fs::read_to_string(log).unwrap_or_else(|error| error.to_string());
        panic!("{what}: {status}\n{errors}");
    }
}

/// Locks this folder against other processes until the returned file is dropped.
pub(super) fn lock(folder: &Path) -> File {
    fs::create_dir_all(folder).expect("a folder for the program");
    let lock = File::create(folder.join("lock")).expect("the lock on the build");
    wait("waiting for another process to build it", || match lock.try_lock() {
        Ok(()) => Some(()),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(error)) => panic!("cannot lock the build: {error}"),
    });
    lock
}

/// Polls until there is a value, and prints what takes so long. The test harness does not capture what is written this
/// way, unlike `eprintln`.
fn wait<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut next = Duration::from_secs(1);
    loop {
        if let Some(value) = poll() {
            return value;
        }
        if start.elapsed() >= next {
            let _ = writeln!(std::io::stderr(), "{what}: {} s", next.as_secs());
            next += Duration::from_secs(5);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

//! A control plane as a child process. It prints one line of JSON when it is ready, and runs as long as its standard
//! input is open. So it ends with the test process, in whatever way that ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::find;

const START_TIMEOUT: Duration = Duration::from_secs(120);
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// The options of a control plane.
#[derive(Clone, Copy, Default)]
pub(super) struct Options {
    /// With an audit log.
    pub(super) audit: bool,
    /// With coordinated leader elections.
    pub(super) coordinated: bool,
    /// With etcd in a process of its own.
    pub(super) separate_etcd: bool,
}

pub(super) struct Process {
    child: Child,
    ready: Value,
    options: Options,
}

impl Options {
    fn flags(self) -> Vec<&'static str> {
        [
            (self.audit, "--audit"),
            (self.coordinated, "--coordinated"),
            (self.separate_etcd, "--separate-etcd"),
        ]
        .into_iter()
        .filter_map(|(wanted, flag)| wanted.then_some(flag))
        .collect()
    }
}

impl Process {
    pub(super) fn start(options: Options) -> Self {
        let (child, ready) = launch(&options.flags());
        Self { child, ready, options }
    }

    /// Kills the process if it runs, and starts it again with the same data.
    pub(super) fn restart(&mut self) {
        self.kill();
        let data = self.path("data");
        let mut flags = self.options.flags();
        flags.extend(["--resume", data.to_str().expect("a path in UTF-8")]);
        (self.child, self.ready) = launch(&flags);
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A field of the line of JSON that the control plane printed.
    pub(super) fn field(&self, name: &str) -> &str {
        let value = self.ready.get(name).and_then(Value::as_str);
        value.unwrap_or_else(|| panic!("no {name} in the output of the control plane: {}", self.ready))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.field(name).into()
    }

    /// The end of its log, for error messages.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_else(|error| error.to_string());
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    pub(super) fn kill(&mut self) {
        if self.ended().is_none() {
            signal_group(self.pid(), "KILL");
            self.child.wait().expect("the end of a killed process");
        }
    }

    /// Closes its standard input, and returns whether the process has ended because of that.
    pub(super) fn end(&mut self) -> bool {
        drop(self.child.stdin.take());
        let start = Instant::now();
        while self.ended().is_none() {
            if start.elapsed() > END_TIMEOUT {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child process")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.end() {
            self.kill();
        }
        // The process has removed the folder itself, unless it was killed.
        let _ = fs::remove_dir_all(self.path("data"));
    }
}

fn launch(flags: &[&str]) -> (Child, Value) {
    let mut child = find::command()
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the control plane started");
    let ready = first_line(&mut child).and_then(|line| serde_json::from_str(&line).ok());
    let Some(ready) = ready else {
        drop(child.stdin.take());
        let _ = child.wait();
        panic!("the control plane ended or hung before it was ready: see standard error");
    };
    (child, ready)
}

fn first_line(child: &mut Child) -> Option<String> {
    let stdout = child.stdout.take()?;
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let line = BufReader::new(stdout).lines().next();
        let _ = send.send(line);
    });
    receive.recv_timeout(START_TIMEOUT).ok()??.ok()
}

/// Sends a signal to a control plane and all processes that it started: each control plane leads a process group.
/// Returns whether there was one.
pub(super) fn signal_group(leader: u32, name: &str) -> bool {
    kill(name, &format!("-{leader}"))
}

/// Sends a signal to one process. Returns whether there was one.
pub(crate) fn signal(pid: u32, name: &str) -> bool {
    kill(name, &pid.to_string())
}

fn kill(signal: &str, target: &str) -> bool {
    // Every shell has a builtin `kill`. The standard library has no such function, and the program is not installed
    // everywhere.
    let mut kill = Command::new("sh");
    kill.args(["-c", r#"kill -s "$0" -- "$1""#, signal, target]).stderr(Stdio::null());
    kill.status().expect("sh").success()
}

//! A contender in a process of its own, as the process that started it sees it.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::event_log::EventLog;
use crate::proxy::Proxy;
use crate::support::signal;

/// The environment variable that turns this binary into a contender process.
pub(crate) const SPEC: &str = "ROBUSTNESS_CONTENDER";

/// Longer than anything here takes, even on a busy machine.
const EVENT_TIMEOUT: Duration = Duration::from_secs(120);

/// An event that a contender reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) at: u64,
    pub(crate) word: String,
    pub(crate) rest: String,
}

/// It is killed when it is dropped.
pub(crate) struct Contender {
    name: String,
    /// The proxy between this contender and the API server.
    pub(crate) link: Arc<Proxy>,
    spec: Value,
    event_log: Arc<EventLog>,
    events: Arc<watch::Sender<Vec<Event>>>,
    child: Child,
}

impl Contender {
    pub(crate) fn start(name: &str, link: Proxy, mut spec: Value, event_log: Arc<EventLog>) -> Self {
        spec["name"] = name.into();
        spec["proxy"] = link.address().to_string().into();
        let events = Arc::default();
        let child = spawn(name, &spec, &event_log, &events);
        Self { name: name.to_owned(), link: Arc::new(link), spec, event_log, events, child }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is a hold of this contender.
    pub(crate) fn owns(&self, hold: &str) -> bool {
        hold.rsplit_once('_').is_some_and(|(identity, _)| identity == self.name)
    }

    pub(crate) async fn kill(&mut self) {
        self.event_log.record(&self.name, "kill -9");
        self.assert_alive();
        self.child.kill().await.expect("a process to kill");
    }

    /// Starts the same contender as a new process.
    pub(crate) fn restart(&mut self) {
        self.spec["seed"] = json!(self.spec["seed"].as_u64().unwrap_or_default().wrapping_add(1));
        self.child = spawn(&self.name, &self.spec, &self.event_log, &self.events);
    }

    /// Stops the process (`SIGSTOP`) until the returned value is dropped.
    pub(crate) fn stop(&self) -> Stopped {
        let pid = self.child.id().expect("a process to stop");
        self.event_log.record(&self.name, "stopped");
        assert!(signal(pid, "STOP"));
        Stopped { pid, name: self.name.clone(), event_log: Arc::clone(&self.event_log) }
    }

    /// Waits for the first event with this word since then.
    pub(crate) async fn wait_for(&self, word: &str, since: u64) -> Event {
        let find =
            |events: &[Event]| events.iter().find(|event| event.word == word && event.at >= since).cloned();
        let mut events = self.events.subscribe();
        let event = timeout(EVENT_TIMEOUT, events.wait_for(|events| find(events).is_some())).await;
        let Ok(event) = event else { panic!("{} never reported {word:?}", self.name) };
        find(&event.expect("the sender is here")).expect("the event that was just seen")
    }

    /// Whether it has reported such an event since then.
    pub(crate) fn has_reported(&self, word: &str, since: u64) -> bool {
        self.events.borrow().iter().any(|event| event.word == word && event.at >= since)
    }

    /// Fails the test if the process has ended: it never ends by itself.
    pub(crate) fn assert_alive(&mut self) {
        let ended: Option<ExitStatus> = self.child.try_wait().expect("the state of a child process");
        assert_eq!(ended, None, "{} ended by itself: see {}", self.name, self.event_log.path().display());
    }
}

/// The contender is stopped until this is dropped.
#[must_use]
pub(crate) struct Stopped {
    pid: u32,
    name: String,
    event_log: Arc<EventLog>,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.event_log.record(&self.name, "continued");
        signal(self.pid, "CONT");
    }
}

fn spawn(
    name: &str,
    spec: &Value,
    event_log: &Arc<EventLog>,
    events: &Arc<watch::Sender<Vec<Event>>>,
) -> Child {
    event_log.record(name, "started");
    let mut child = Command::new(std::env::current_exe().expect("the path of this binary"))
        .args(["contender_process::run", "--exact", "--include-ignored", "--nocapture"])
        .env(SPEC, spec.to_string())
        // It runs as long as its standard input is open, and so it ends with this process. If it is stopped then, the
        // system continues it, because its process group is orphaned.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .expect("this binary started again");
    let stderr = child.stderr.take().expect("piped");
    tokio::spawn(read_events(stderr, name.to_owned(), Arc::clone(event_log), Arc::clone(events)));
    child
}

/// Records every line of its standard error. Lines that begin with `@` are events.
async fn read_events(
    stderr: ChildStderr,
    name: String,
    event_log: Arc<EventLog>,
    events: Arc<watch::Sender<Vec<Event>>>,
) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        event_log.record(&name, &line);
        let mut words = line.strip_prefix("@ ").unwrap_or_default().splitn(3, ' ');
        if let (Some(at), Some(word), Some(rest)) = (words.next(), words.next(), words.next())
            && let Ok(at) = at.parse()
        {
            let event = Event { at, word: word.to_owned(), rest: rest.to_owned() };
            events.send_modify(|events| events.push(event));
        }
    }
}

//! A contender in a process of its own, as the process that started it sees it.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::journal::Journal;
use crate::proxy::Proxy;
use crate::support::signal;

/// The variable that makes a contender of this binary.
pub(crate) const SPEC: &str = "ROBUSTNESS_CONTENDER";

/// Longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(120);

/// Something that a contender said.
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
    /// Between this contender and the API server.
    pub(crate) link: Arc<Proxy>,
    spec: Value,
    journal: Arc<Journal>,
    events: Arc<watch::Sender<Vec<Event>>>,
    child: Child,
}

impl Contender {
    pub(crate) fn start(name: &str, link: Proxy, mut spec: Value, journal: Arc<Journal>) -> Self {
        spec["name"] = name.into();
        spec["proxy"] = link.address().to_string().into();
        let events = Arc::default();
        let child = spawn(name, &spec, &journal, &events);
        Self { name: name.to_owned(), link: Arc::new(link), spec, journal, events, child }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is a hold of this contender.
    pub(crate) fn owns(&self, hold: &str) -> bool {
        hold.rsplit_once('_').is_some_and(|(identity, _)| identity == self.name)
    }

    pub(crate) async fn kill(&mut self) {
        self.journal.note(&self.name, "kill -9");
        self.assert_alive();
        self.child.kill().await.expect("a process to kill");
    }

    /// The same one as a new process.
    pub(crate) fn start_again(&mut self) {
        self.spec["seed"] = json!(self.spec["seed"].as_u64().unwrap_or_default().wrapping_add(1));
        self.child = spawn(&self.name, &self.spec, &self.journal, &self.events);
    }

    /// Stops it in its tracks, until the returned value is dropped.
    pub(crate) fn stop(&self) -> Stopped {
        let pid = self.child.id().expect("a process to stop");
        self.journal.note(&self.name, "stopped");
        assert!(signal(pid, "STOP"));
        Stopped { pid, name: self.name.clone(), journal: Arc::clone(&self.journal) }
    }

    /// The first that it said with this word since then; waits for it.
    pub(crate) async fn said(&self, word: &str, since: u64) -> Event {
        let find =
            |events: &[Event]| events.iter().find(|event| event.word == word && event.at >= since).cloned();
        let mut events = self.events.subscribe();
        let event = timeout(PATIENCE, events.wait_for(|events| find(events).is_some())).await;
        let Ok(event) = event else { panic!("{} never said {word:?}", self.name) };
        find(&event.expect("the sender is here")).expect("just seen")
    }

    /// Whether it has said this since then.
    pub(crate) fn has_said(&self, word: &str, since: u64) -> bool {
        self.events.borrow().iter().any(|event| event.word == word && event.at >= since)
    }

    /// It never ends by itself.
    pub(crate) fn assert_alive(&mut self) {
        let ended: Option<ExitStatus> = self.child.try_wait().expect("the state of a child process");
        assert_eq!(ended, None, "{} ended by itself: see {}", self.name, self.journal.path().display());
    }
}

/// Until dropped, the contender stands still.
#[must_use]
pub(crate) struct Stopped {
    pid: u32,
    name: String,
    journal: Arc<Journal>,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.journal.note(&self.name, "continued");
        signal(self.pid, "CONT");
    }
}

fn spawn(name: &str, spec: &Value, journal: &Arc<Journal>, events: &Arc<watch::Sender<Vec<Event>>>) -> Child {
    journal.note(name, "started");
    let mut child = Command::new(std::env::current_exe().expect("the path of this binary"))
        .args(["life::contender", "--exact", "--include-ignored", "--nocapture"])
        .env(SPEC, spec.to_string())
        // It lives as long as its standard input is open, and so ends with this process. One that is stopped then
        // is continued by the system, because its process group has lost its last tie.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .expect("this binary started once more");
    let stderr = child.stderr.take().expect("piped");
    tokio::spawn(listen(stderr, name.to_owned(), Arc::clone(journal), Arc::clone(events)));
    child
}

/// Notes all that it says. Events are the lines that begin with a mark.
async fn listen(
    stderr: ChildStderr,
    name: String,
    journal: Arc<Journal>,
    events: Arc<watch::Sender<Vec<Event>>>,
) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        journal.note(&name, &line);
        let mut words = line.strip_prefix("@ ").unwrap_or_default().splitn(3, ' ');
        if let (Some(at), Some(word), Some(rest)) = (words.next(), words.next(), words.next())
            && let Ok(at) = at.parse()
        {
            let event = Event { at, word: word.to_owned(), rest: rest.to_owned() };
            events.send_modify(|events| events.push(event));
        }
    }
}

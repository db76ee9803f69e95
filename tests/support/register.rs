//! A register to which the contenders for one lock write. It judges whether the lock excluded them.
//!
//! It listens on 127.0.0.1, with one connection per contender process and one message per line:
//!
//! ```text
//! held <hold> <fencing|-> <nanos>    the contender read this time, then asked its guard, which said that it is held
//! write <hold> <fencing|-> <value>   a guarded write, which the register answers with `ok` or `stale`
//! left <hold> <nanos>                the contender ended the hold at this time
//! ```
//!
//! Each hold has a unique name. All times are of `CLOCK_MONOTONIC`, which all processes of a machine share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::verdict::{Hold, Verdict};

/// Now, in nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).expect("a clock that began at zero")
}

/// The register listens until it is dropped.
pub(crate) struct Register {
    address: SocketAddr,
    history: Arc<Mutex<History>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Register {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("the address just bound");
        let history = Arc::default();
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, Arc::clone(&history))));
        Self { address, history, _accepting: accepting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name of the hold that was last reported as held.
    pub(crate) fn latest(&self) -> Option<String> {
        let history = lock(&self.history);
        history.holds.values().max_by_key(|hold| hold.last).map(|hold| hold.name.clone())
    }

    /// The verdict on all messages so far.
    pub(crate) fn verdict(&self) -> Verdict {
        let history = lock(&self.history);
        Verdict::new(
            history.holds.values().cloned().collect(),
            history.written,
            history.stale,
            history.violations.clone(),
        )
    }
}

async fn accept(listener: TcpListener, history: Arc<Mutex<History>>) {
    let mut connections = JoinSet::new();
    for contender in 0.. {
        let (stream, _) = listener.accept().await.expect("a connection");
        connections.spawn(serve(stream, contender, Arc::clone(&history)));
    }
}

/// Serves one contender until its connection ends. That may be at any time, because tests kill contenders.
async fn serve(mut stream: TcpStream, contender: usize, history: Arc<Mutex<History>>) {
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.split();
    let (mut reader, mut line) = (BufReader::new(reader), String::new());
    // A line without a line break is the last of a contender that was killed.
    while reader.read_line(&mut line).await.is_ok() && line.ends_with('\n') {
        let reply = lock(&history).receive(contender, line.trim_end());
        if writer.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
        line.clear();
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct History {
    holds: BTreeMap<String, Hold>,
    /// The highest fencing token of all writes.
    highest: Option<u64>,
    written: u64,
    stale: u64,
    violations: Vec<String>,
}

impl History {
    /// Receives a message. Returns the reply, which is empty if the message needs none.
    fn receive(&mut self, contender: usize, line: &str) -> &'static str {
        let words: Vec<_> = line.split(' ').collect();
        let time = words.last().and_then(|word| word.parse().ok());
        match (&*words, time) {
            (["held", hold, fencing, _], Some(at)) => self.held(contender, hold, fencing.parse().ok(), at),
            (["left", hold, _], Some(at)) => self.ended(hold, at),
            (["write", _, fencing, _], _) => return self.write(fencing.parse().ok()),
            _ => self.violations.push(format!("contender {contender} sent {line:?}")),
        }
        ""
    }

    fn held(&mut self, contender: usize, name: &str, fencing: Option<u64>, at: u64) {
        let hold = self.holds.entry(name.to_owned()).or_insert_with(|| Hold {
            name: name.to_owned(),
            contender,
            fencing,
            first: at,
            last: at,
            ended: None,
        });
        if (hold.contender, hold.fencing) != (contender, fencing) {
            self.violations.push(format!("two holds have the name {name}"));
        } else if hold.ended.is_some_and(|ended| ended < at) {
            self.violations.push(format!("{name} was held after its end"));
        }
        hold.last = hold.last.max(at);
    }

    fn ended(&mut self, name: &str, at: u64) {
        if let Some(hold) = self.holds.get_mut(name) {
            hold.ended = Some(at);
        }
    }

    fn write(&mut self, fencing: Option<u64>) -> &'static str {
        if fencing.is_some() && fencing < self.highest {
            self.stale += 1;
            return "stale\n";
        }
        self.highest = self.highest.max(fencing);
        self.written += 1;
        "ok\n"
    }
}

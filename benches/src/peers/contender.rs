//! A process that acquires and releases locks by orders, and reports the exact times: see `tests/peers/src/orders.rs`.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// Longer than any acquisition here takes.
const EVENT_TIMEOUT: Duration = Duration::from_secs(180);

/// The process runs until this is dropped.
pub(crate) struct Contender {
    process: Child,
    orders: Arc<AsyncMutex<ChildStdin>>,
    listeners: Listeners,
}

/// For each lock, the receiver of its events.
type Listeners = Arc<Mutex<HashMap<String, UnboundedSender<Event>>>>;

/// An event, with its time in nanoseconds of `CLOCK_MONOTONIC`.
struct Event {
    what: String,
    at: u64,
}

impl Contender {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
        let orders = process.stdin.take().context("no standard input")?;
        let events = process.stdout.take().context("no standard output")?;
        let listeners = Listeners::default();
        tokio::spawn(listen(BufReader::new(events).lines(), Arc::clone(&listeners)));
        Ok(Self { process, orders: Arc::new(AsyncMutex::new(orders)), listeners })
    }

    /// This lock of the contender.
    pub(crate) fn lock(&self, name: &str) -> Lock {
        let (listener, events) = unbounded_channel();
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), listener);
        Lock { name: name.to_owned(), orders: Arc::clone(&self.orders), events, renewed: None }
    }

    /// Kills the process.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }
}

/// Forwards the events until the process ends. Then the receivers end too.
async fn listen(mut events: Lines<BufReader<ChildStdout>>, listeners: Listeners) {
    while let Ok(Some(line)) = events.next_line().await {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        let (Some(what), Some(lock), Some(at)) =
            (event["event"].as_str(), event["lock"].as_str(), event["at"].as_u64())
        else {
            eprintln!("a contender printed: {line}");
            continue;
        };
        let listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = listeners.get(lock) {
            let _ = listener.send(Event { what: what.to_owned(), at });
        }
    }
    listeners.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// One lock of one contender. All times are in nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) struct Lock {
    name: String,
    orders: Arc<AsyncMutex<ChildStdin>>,
    events: UnboundedReceiver<Event>,
    renewed: Option<u64>,
}

impl Lock {
    /// Orders the acquisition. Returns the time at which it began.
    pub(crate) async fn acquire(&mut self) -> Result<u64> {
        self.order("acquire").await?;
        self.wait_for("asking").await
    }

    /// Waits until it holds the lock.
    pub(crate) async fn acquired(&mut self) -> Result<u64> {
        self.wait_for("acquired").await
    }

    /// Orders the release. Returns the time at which it began.
    pub(crate) async fn release(&mut self) -> Result<u64> {
        self.order("release").await?;
        self.wait_for("releasing").await
    }

    /// Waits until it has released.
    pub(crate) async fn released(&mut self) -> Result<u64> {
        self.wait_for("released").await
    }

    /// The time of the last renewal, if the process reports renewals. Call this when the process has ended.
    pub(crate) async fn renewed(&mut self) -> Option<u64> {
        while let Some(event) = self.events.recv().await {
            self.note(&event);
        }
        self.renewed
    }

    async fn order(&self, order: &str) -> Result<()> {
        Ok(self.orders.lock().await.write_all(format!("{order} {}\n", self.name).as_bytes()).await?)
    }

    async fn wait_for(&mut self, what: &str) -> Result<u64> {
        let found = timeout(EVENT_TIMEOUT, async {
            while let Some(event) = self.events.recv().await {
                self.note(&event);
                if event.what == what {
                    return Some(event.at);
                }
            }
            None
        });
        let found =
            found.await.with_context(|| format!("{} is not {what} after {EVENT_TIMEOUT:?}", self.name))?;
        found.with_context(|| format!("the contender ended before {} was {what}", self.name))
    }

    fn note(&mut self, event: &Event) {
        if event.what == "renewed" {
            self.renewed = Some(event.at);
        }
    }
}

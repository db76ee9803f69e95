//! Watches: streams of changes that clients follow.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};

use super::connection::{Connection, WatchState};
use super::fault::Effect;
use super::options;
use super::request::Call;
use super::response::{Response, json_text};
use super::selector::Selector;
use super::status::{self, API_VERSION, Failure};
use super::store::{Change, Head, State, Store, TooOld, lock};
use super::stream::{self, Sender};

const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// The time that a watch lasts by default. The real server picks one at random between 30 and 60 minutes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45 * 60);

/// One open watch.
struct Watch {
    store: Arc<Store>,
    connection: Arc<Mutex<Connection>>,
    selector: Selector,
    /// The watch has processed all changes up to this revision.
    seen: u64,
    queue: VecDeque<Arc<Change>>,
    head: Receiver<Head>,
    epoch: u64,
    state: Receiver<WatchState>,
    ends: Instant,
    next_bookmark: Option<Instant>,
    client: Sender,
}

/// Opens a watch.
pub(crate) fn open(
    store: &Arc<Store>,
    connection: &Arc<Mutex<Connection>>,
    call: &Call,
) -> Result<Response, Failure> {
    options::check_read(call)?;
    let selector = Selector::parse(call)?;
    let from = call.revision()?;
    let lists_first = call.flag("sendInitialEvents");
    let bookmarks = call.flag("allowWatchBookmarks");
    let timeout = call.number("timeoutSeconds")?.and_then(|s| s.try_into().ok()).filter(|s| *s > 0);
    let (client, arriving) = Sender::new(connection);
    let head = store.subscribe();
    let state = lock(connection).register_watch();
    let start = store.read(|state| {
        if lists_first && from > state.head.revision {
            return Err(status::too_large(from, state.head.revision));
        }
        if from == 0 || lists_first {
            for event in current(state, &selector) {
                client.send(Some(Ok(event)));
            }
            if bookmarks {
                client.send(Some(Ok(bookmark(state.head.revision, true))));
            }
            return Ok((state.head.revision, state.head.epoch));
        }
        let too_old = |TooOld { oldest }| format!("too old resource version: {from} ({oldest})");
        let changes = state.changes_after(from).map_err(|e| status::expired(too_old(e)));
        changes.map(|_| (from, state.head.epoch))
    });
    let (seen, epoch) = match start {
        Ok(start) => start,
        // The real server opens the watch, and sends the error as its only event.
        Err(failure) => {
            let event = line("ERROR", &failure.to_value());
            return Ok(Response::stream(futures::stream::iter([Ok(event)])));
        }
    };
    let now = Instant::now();
    let delivered = stream::deliver(arriving, state.clone());
    let watch = Watch {
        store: store.clone(),
        connection: connection.clone(),
        selector,
        seen,
        queue: VecDeque::new(),
        head,
        epoch,
        state,
        ends: now + timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs),
        next_bookmark: bookmarks.then_some(now + BOOKMARK_INTERVAL),
        client,
    };
    tokio::spawn(watch.run());
    Ok(Response::stream(delivered))
}

impl Watch {
    async fn run(mut self) {
        let (client, state) = (self.client.clone(), self.state.clone());
        client.serve(state, self.deliver_until_timeout()).await;
    }

    /// Delivers events until the time is up. A muted watch does not end then.
    async fn deliver_until_timeout(&mut self) {
        tokio::select! {
            biased;
            () = sleep_until(self.ends) => {}
            () = self.follow() => {}
        }
        // The client does not learn of the end on a half-open connection.
        if *self.state.borrow() == WatchState::Muted {
            pending::<()>().await;
        }
    }

    /// Delivers events until the server is restored.
    async fn follow(&mut self) {
        while self.head.borrow_and_update().epoch == self.epoch {
            let seen = self.seen;
            self.queue.extend(self.store.read(|state| state.kept_after(seen)));
            while let Some(change) = self.queue.pop_front() {
                self.seen = change.revision;
                self.deliver(&change).await;
            }
            let bookmark_at = self.next_bookmark;
            tokio::select! {
                biased;
                changed = self.head.changed() => if changed.is_err() { break },
                () = until(bookmark_at) => self.bookmark(),
            }
        }
    }

    async fn deliver(&mut self, change: &Change) {
        let Some(event) = event(change, &self.selector) else {
            return;
        };
        let fault = lock(&self.connection).faults.next_for_event();
        match fault {
            Some(Effect::DropEvents) => return,
            Some(Effect::DelayEvents(delay)) => sleep_until(change.at + delay).await,
            _ => {}
        }
        self.send(event);
    }

    fn bookmark(&mut self) {
        self.next_bookmark = Some(Instant::now() + BOOKMARK_INTERVAL);
        let revision = self.head.borrow().revision;
        if revision >= self.seen {
            self.send(bookmark(revision, false));
        }
    }

    fn send(&self, event: Vec<u8>) {
        if *self.state.borrow() == WatchState::Live {
            self.client.send(Some(Ok(event)));
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

/// The current objects, as events of their addition.
fn current(state: &State, selector: &Selector) -> Vec<Vec<u8>> {
    let leases = state.leases.iter().filter(|(key, lease)| selector.matches(key, lease));
    leases.map(|(_, lease)| line("ADDED", lease)).collect()
}

/// A change as an event for a selector. An object that starts to match is added, one that stops is deleted.
fn event(change: &Change, selector: &Selector) -> Option<Vec<u8>> {
    let matching = |lease: &&Arc<Value>| selector.matches(&change.key, lease);
    let before = change.before.as_ref().filter(matching);
    let after = change.after.as_ref().filter(matching);
    match (before, after) {
        (None, None) => None,
        (None, Some(lease)) => Some(line("ADDED", lease)),
        (Some(_), Some(lease)) => Some(change.modified.get_or_init(|| line("MODIFIED", lease)).clone()),
        (Some(last), None) => {
            let mut last = Value::clone(last);
            last["metadata"]["resourceVersion"] = change.revision.to_string().into();
            Some(line("DELETED", &last))
        }
    }
}

fn bookmark(revision: u64, ends_list: bool) -> Vec<u8> {
    let mut object = json!({
        "kind": "Lease",
        "apiVersion": API_VERSION,
        "metadata": { "resourceVersion": revision.to_string() },
        "spec": {},
    });
    if ends_list {
        object["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    line("BOOKMARK", &object)
}

fn line(kind: &str, object: &Value) -> Vec<u8> {
    // Written by hand, because json!() would copy the object.
    format!("{{\"type\":\"{kind}\",\"object\":{}}}\n", json_text(object)).into_bytes()
}

//! The state of the server, as in etcd: the objects, one revision counter, and the history of changes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

/// The maximum length of the history, as in the watch cache of the real server.
const MAX_HISTORY: usize = 10_000;

/// Namespace and name of a Lease.
pub(crate) type Key = (String, String);

/// The state, shared by all connections.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    /// One channel for each watch. A single channel would wake its receivers in random order; this way the watches
    /// wake in the order in which they began, and every run is the same.
    heads: Mutex<Vec<watch::Sender<Head>>>,
}

/// The position of the state. Watches wait until it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub revision: u64,
    /// Counts restores. A restore ends every open watch.
    pub epoch: u64,
}

/// All data of the server.
#[derive(Debug)]
pub(crate) struct State {
    pub head: Head,
    pub leases: BTreeMap<Key, Arc<Value>>,
    pub namespaces: BTreeMap<String, Phase>,
    history: VecDeque<Arc<Change>>,
    /// A new watch cannot start before this revision.
    compacted: u64,
    uids: u64,
}

/// The phase of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Active,
    Terminating,
}

/// One change of one Lease.
#[derive(Debug)]
pub(crate) struct Change {
    pub revision: u64,
    pub at: Instant,
    pub key: Key,
    pub before: Option<Arc<Value>>,
    pub after: Option<Arc<Value>>,
    /// The event of a modification, which is the same for every watch.
    pub modified: OnceLock<Vec<u8>>,
}

/// The error of a watch that asks for forgotten changes.
#[derive(Debug)]
pub(crate) struct TooOld {
    pub oldest: u64,
}

impl Store {
    pub(crate) fn new() -> Self {
        // As in a real cluster, other objects were written before the first Lease.
        let head = Head { revision: 100, epoch: 0 };
        let state = State {
            head,
            leases: BTreeMap::new(),
            namespaces: [("default".to_owned(), Phase::Active)].into(),
            history: VecDeque::new(),
            compacted: 0,
            uids: 0,
        };
        Self { state: Mutex::new(state), heads: Mutex::default() }
    }

    /// Reads the state.
    pub(crate) fn read<T>(&self, get: impl FnOnce(&State) -> T) -> T {
        get(&lock(&self.state))
    }

    /// Changes the state, then wakes the watches.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, head) = {
            let mut state = lock(&self.state);
            (change(&mut state), state.head)
        };
        for watch in lock(&self.heads).iter() {
            watch.send_if_modified(|old| std::mem::replace(old, head) != head);
        }
        result
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Head> {
        let mut heads = lock(&self.heads);
        let (sender, receiver) = watch::channel(self.read(|state| state.head));
        heads.retain(|watch| !watch.is_closed());
        heads.push(sender);
        receiver
    }
}

impl State {
    pub(crate) fn lease(&self, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.leases.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Stores `object`, or deletes the stored one if it is `None`, at the next revision. Returns the object with that
    /// revision.
    pub(crate) fn commit(&mut self, key: Key, object: Option<Value>) -> Arc<Value> {
        let revision = self.tick();
        let before = self.leases.remove(&key);
        let after = object.map(|object| Arc::new(at_revision(object, revision)));
        let written = match (&after, &before) {
            (Some(stored), _) => stored.clone(),
            (None, Some(last)) => Arc::new(at_revision(Value::clone(last), revision)),
            (None, None) => Arc::default(),
        };
        if let Some(object) = &after {
            self.leases.insert(key.clone(), object.clone());
        }
        let change = Change { revision, at: Instant::now(), key, before, after, modified: OnceLock::new() };
        self.history.push_back(Arc::new(change));
        if self.history.len() > MAX_HISTORY
            && let Some(forgotten) = self.history.pop_front()
        {
            self.compacted = self.compacted.max(forgotten.revision);
        }
        written
    }

    /// Moves to the next revision, as every write in the cluster does.
    pub(crate) fn tick(&mut self) -> u64 {
        self.head.revision += 1;
        self.head.revision
    }

    /// A new uid.
    pub(crate) fn next_uid(&mut self) -> String {
        self.uids += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.uids)
    }

    /// The changes after `revision`.
    pub(crate) fn changes_after(&self, revision: u64) -> Result<Vec<Arc<Change>>, TooOld> {
        if revision < self.compacted {
            return Err(TooOld { oldest: self.compacted });
        }
        Ok(self.kept_after(revision))
    }

    /// The changes after `revision`, even compacted ones: an open watch has them in its buffer.
    pub(crate) fn kept_after(&self, revision: u64) -> Vec<Arc<Change>> {
        let start = self.history.partition_point(|c| c.revision <= revision);
        self.history.range(start..).cloned().collect()
    }

    /// Hides the history from watches that start from now on.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.head.revision;
    }

    /// Undoes every change after `revision`, and sets the revision counter back.
    pub(crate) fn restore(&mut self, revision: u64) {
        let start = self.history.partition_point(|c| c.revision <= revision);
        for change in self.history.drain(start..).rev() {
            match &change.before {
                Some(object) => self.leases.insert(change.key.clone(), object.clone()),
                None => self.leases.remove(&change.key),
            };
        }
        self.head.revision = self.head.revision.min(revision);
        self.head.epoch += 1;
        self.compacted = self.compacted.min(revision);
    }
}

/// Locks `mutex`. A poisoned lock is safe to use, because nothing panics between two consistent states.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn at_revision(mut object: Value, revision: u64) -> Value {
    object["metadata"]["resourceVersion"] = revision.to_string().into();
    object
}

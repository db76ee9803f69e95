//! Keeps the watch of one lock open, and answers for its health.
//!
//! The watcher reopens a watch that broke off after a pause, and one that is forbidden after a minute. It knows up to which
//! revision the watch has told, so its owner can refute a watch that is silent. The watch stays open from one acquisition to
//! the next for a while, because opening one takes a connection.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::kubernetes::{LeaseClient, WatchEvent, watch};
use crate::protocol::{Instant, Snapshot, Version};

/// The watch of one lock, open or not.
pub(crate) struct Watcher {
    client: Arc<LeaseClient>,
    clock: Clock,
    rng: fastrand::Rng,
    open: Option<BoxStream<'static, WatchEvent>>,
    /// The watch has told of everything up to this revision.
    seen_revision: u64,
    /// The value of `seen_revision` when the present acquisition began.
    seen_before: u64,
    /// The watch is not opened before this.
    retry_at: Instant,
    backoff: Backoff,
    /// Whether the log says already that watching is forbidden.
    warned: bool,
}

impl Watcher {
    /// The longest pause before a watch that broke off is opened again.
    const MAX_PAUSE: Duration = Duration::from_secs(2);

    /// The pause before a forbidden watch is tried again: permissions change.
    const FORBIDDEN_RETRY_INTERVAL: Duration = Duration::from_secs(60);

    pub(super) fn new(client: Arc<LeaseClient>, clock: Clock, rng: fastrand::Rng) -> Self {
        Self {
            client,
            clock,
            rng,
            open: None,
            seen_revision: 0,
            seen_before: 0,
            retry_at: Instant::ORIGIN,
            backoff: Backoff::new(Self::MAX_PAUSE),
            warned: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When a closed watch can be opened again.
    pub(super) fn retry_at(&self) -> Instant {
        self.retry_at
    }

    /// Whether the watch has told of this revision.
    pub(super) fn has_seen(&self, revision: u64) -> bool {
        self.seen_revision >= revision
    }

    /// Whether the watch has told of exactly this revision. If it has told of a later one, a read that was sent afterwards
    /// shows that the store was set back.
    pub(super) fn agrees_with(&self, revision: u64) -> bool {
        self.seen_revision == revision
    }

    /// Opens the watch for all changes after `revision`, if it is closed and its pause is over.
    pub(super) fn ensure_open(&mut self, revision: u64) {
        if self.open.is_none() && self.retry_at <= self.clock.now() {
            self.open = Some(watch(self.client.clone(), revision));
            (self.seen_revision, self.seen_before) = (revision, 0);
        }
    }

    /// The next event. While the watch is closed, there is none.
    ///
    /// Cancel safe: the stream keeps its place, also while it connects.
    pub(super) async fn next(&mut self) -> WatchEvent {
        if let Some(open) = &mut self.open {
            if let Some(event) = open.next().await {
                self.on_event(&event);
                return event;
            }
            self.open = None;
        }
        std::future::pending().await
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Closes a watch that has not told of a change that is known. It may be dead, or it may wait for a revision that an API
    /// server restored from a backup has yet to reach.
    pub(super) fn refute(&mut self) {
        if self.open.take().is_some() {
            tracing::debug!("the watch is silent, opening a new one");
        }
    }

    /// An acquisition begins.
    pub(super) fn begin(&mut self) {
        self.seen_before = self.seen_revision;
    }

    /// An acquisition ends, and leaves the Lease in this revision, if it is known. Events up to that revision are taken now;
    /// later ones are for the next acquisition. A watch that has told nothing of this acquisition is dead, and closed.
    pub(super) fn end(&mut self, revision: Option<u64>) {
        while revision.is_none_or(|revision| self.seen_revision < revision)
            && let Some(Some(event)) = self.open.as_mut().and_then(|open| open.next().now_or_never())
        {
            self.on_event(&event);
        }
        if self.seen_revision == self.seen_before {
            self.open = None;
        }
    }

    fn on_event(&mut self, event: &WatchEvent) {
        match event {
            WatchEvent::Changed(Snapshot { version: Version { revision, .. }, .. })
            | WatchEvent::Deleted(revision) => {
                self.seen_revision = self.seen_revision.max(*revision);
                self.backoff.succeeded();
            }
            WatchEvent::Broken(error) => {
                let pause = self.backoff.failed(None, &mut self.rng);
                tracing::debug!(%error, ?pause, "the watch broke off");
                self.reopen_after(pause);
            }
            WatchEvent::Forbidden(error) => {
                if !std::mem::replace(&mut self.warned, true) {
                    tracing::warn!(%error, "watching the Lease is forbidden: waiters poll, holders learn of a takeover by their next renewal; grant the verb watch");
                }
                self.reopen_after(Self::FORBIDDEN_RETRY_INTERVAL);
            }
        }
    }

    fn reopen_after(&mut self, pause: Duration) {
        self.open = None;
        self.retry_at = self.clock.now() + pause;
    }
}

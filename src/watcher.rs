//! A watch that is kept open: opened when it is due, and anew after it broke off.
//!
//! It stays open from one acquisition to the next, for a while: opening one takes a connection.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use crate::pace::Backoff;
use crate::record::{Snapshot, Version};
use crate::store::Store;
use crate::time::Moment;
use crate::watch::{News, watch};

/// The watch of one lock, open or not.
pub(crate) struct Watcher {
    store: Arc<Store>,
    open: Option<BoxStream<'static, News>>,
    /// Everything up to this revision has been told.
    told: u64,
    /// What had been told when the present acquisition began.
    told_before: u64,
    /// Not to be opened before this.
    due: Moment,
    backoff: Backoff,
}

impl Watcher {
    /// Where watches keep breaking off, the longest pause between two.
    const LONGEST_PAUSE: Duration = Duration::from_secs(2);

    /// Where watching is forbidden, it is tried again after this long: permissions change.
    const AGAIN: Duration = Duration::from_secs(60);

    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            open: None,
            told: 0,
            told_before: 0,
            due: Moment::ORIGIN,
            backoff: Backoff::new(Self::LONGEST_PAUSE),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When to tend it, where it is not open.
    pub(crate) fn due(&self) -> Moment {
        self.due
    }

    /// Whether it has told what led to this revision.
    pub(crate) fn has_told(&self, revision: u64) -> bool {
        self.told >= revision
    }

    /// Opens it where it is due, for all changes after `revision`.
    pub(crate) fn tend(&mut self, revision: u64, now: Moment) {
        if self.open.is_none() && self.due <= now {
            self.open = Some(watch(self.store.clone(), revision));
            (self.told, self.told_before) = (revision, 0);
        }
    }

    /// The next news; while it is not open, nothing ever comes.
    ///
    /// Cancel safe: the stream keeps its place, also while it connects.
    pub(crate) async fn next(&mut self) -> News {
        if let Some(open) = &mut self.open {
            if let Some(news) = open.next().await {
                self.note(&news);
                return news;
            }
            self.open = None;
        }
        std::future::pending().await
    }

    /// Draws the consequences of `news` for the watch itself.
    pub(crate) fn heard(&mut self, news: &News, now: Moment, rng: &mut fastrand::Rng) {
        match news {
            News::Changed(_) | News::Deleted(_) => self.backoff.succeeded(),
            News::Broken(error) => {
                let pause = self.backoff.failed(None, rng);
                tracing::debug!(%error, ?pause, "the watch broke off");
                self.due = now + pause;
            }
            News::Forbidden(_) => self.due = now + Self::AGAIN,
        }
    }

    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// An acquisition begins.
    pub(crate) fn begin(&mut self) {
        self.told_before = self.told;
    }

    /// An acquisition ends, and leaves the Lease in this revision, if that is known: what came after it is news to the
    /// next one. Stays open for that, unless it has told nothing of this one: then it is dead.
    pub(crate) fn end(&mut self, left: Option<u64>) {
        while left.is_none_or(|left| self.told < left)
            && let Some(Some(news)) = self.open.as_mut().and_then(|open| open.next().now_or_never())
        {
            self.note(&news);
        }
        if self.told == self.told_before {
            self.open = None;
        }
    }

    fn note(&mut self, news: &News) {
        match news {
            News::Changed(Snapshot { version: Version { revision, .. }, .. }) | News::Deleted(revision) => {
                self.told = self.told.max(*revision);
            }
            // The stream has ended.
            News::Broken(_) | News::Forbidden(_) => self.open = None,
        }
    }

    /// It has not told what has happened: it may be dead, or watch a future that an API server restored from a
    /// backup has yet to reach.
    pub(crate) fn give_up(&mut self) {
        if self.open.take().is_some() {
            tracing::debug!("the watch is silent, opening a new one");
        }
    }
}

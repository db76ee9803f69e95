//! The watch on one Lease as a stream of news.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use kube::core::WatchEvent;
use tokio::time::Instant;

use crate::error::RequestError;
use crate::record::Snapshot;
use crate::store::{Denial, Failure, Store};
use crate::wire::Object;

/// What the watch tells.
#[derive(Debug)]
pub(crate) enum News {
    /// The Lease is now like this.
    Changed(Snapshot),
    /// The Lease was deleted, at this revision.
    Deleted(u64),
    /// The watch broke off; something may have been missed. The stream ends.
    Broken(RequestError),
    /// This client may not watch. The stream ends.
    Forbidden(RequestError),
}

/// All changes of the Lease after `revision`. Dropping the stream closes the watch.
pub(crate) fn watch(store: Arc<Store>, revision: u64) -> BoxStream<'static, News> {
    let source = Source { store, revision, events: None, opened: Instant::now() };
    stream::unfold(Some(source), |source| async {
        let mut source = source?;
        let news = source.next().await;
        let ends = matches!(news, News::Broken(_) | News::Forbidden(_));
        Some((news, (!ends).then_some(source)))
    })
    .boxed()
}

type Events = BoxStream<'static, kube::Result<WatchEvent<Object>>>;

struct Source {
    store: Arc<Store>,
    /// Everything up to here has been told.
    revision: u64,
    events: Option<Events>,
    opened: Instant,
}

impl Source {
    /// A watch that ends before this was not ended because its time was up.
    const SHORTEST: Duration = Duration::from_secs(10);

    async fn next(&mut self) -> News {
        loop {
            let told = match &mut self.events {
                None => self.connect().await,
                Some(events) => {
                    if let Some(event) = events.next().await {
                        self.read(event)
                    } else {
                        // The server ends every watch after some minutes: nothing was missed.
                        self.events = None;
                        if self.opened.elapsed() < Self::SHORTEST {
                            return News::Broken(self.store.short_watch());
                        }
                        Ok(None)
                    }
                }
            };
            match told {
                Ok(None) => {}
                Ok(Some(news)) => return news,
                Err(Failure::Denied(Denial::Forbidden(error))) => return News::Forbidden(error),
                Err(failure) => return News::Broken(failure.error().clone()),
            }
        }
    }

    async fn connect(&mut self) -> Result<Option<News>, Failure> {
        self.events = Some(self.store.watch(self.revision).await?.boxed());
        self.opened = Instant::now();
        Ok(None)
    }

    fn read(&mut self, event: kube::Result<WatchEvent<Object>>) -> Result<Option<News>, Failure> {
        let news = match event.map_err(|error| self.store.sort("watch", error))? {
            WatchEvent::Added(lease) | WatchEvent::Modified(lease) => {
                let snapshot = self.store.snapshot("watch", lease)?;
                self.revision = snapshot.version.revision;
                Some(News::Changed(snapshot))
            }
            WatchEvent::Deleted(lease) => {
                self.revision = self.store.snapshot("watch", lease)?.version.revision;
                Some(News::Deleted(self.revision))
            }
            WatchEvent::Bookmark(bookmark) => {
                self.revision = bookmark.metadata.resource_version.parse().unwrap_or(self.revision);
                None
            }
            WatchEvent::Error(status) => {
                return Err(self.store.sort("watch", kube::Error::Api(status)));
            }
        };
        Ok(news)
    }
}

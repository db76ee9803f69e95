//! The watch on one Lease, as a stream of events.
//!
//! The server ends every watch after some minutes. The stream then reconnects by itself and misses nothing. It ends when
//! the watch breaks off in any other way.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use kube::core::WatchEvent as ApiEvent;
use tokio::time::Instant;

use super::classify::{Denial, Failure};
use super::codec::RawLease;
use super::requests::LeaseClient;
use crate::error::RequestError;
use crate::protocol::Snapshot;

/// An event of the watch.
#[derive(Debug)]
pub(crate) enum WatchEvent {
    /// The Lease is now in this state.
    Changed(Snapshot),
    /// The Lease was deleted, at this revision.
    Deleted(u64),
    /// The watch broke off, and changes may have been missed. The stream ends.
    Broken(RequestError),
    /// This client may not watch. The stream ends.
    Forbidden(RequestError),
}

/// All changes of the Lease after `revision`. Dropping the stream closes the watch.
pub(crate) fn watch(client: Arc<LeaseClient>, revision: u64) -> BoxStream<'static, WatchEvent> {
    let watch = Watch { client, revision, events: None, opened: Instant::now() };
    stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        let event = watch.next().await;
        let ends = matches!(event, WatchEvent::Broken(_) | WatchEvent::Forbidden(_));
        Some((event, (!ends).then_some(watch)))
    })
    .boxed()
}

type ApiEvents = BoxStream<'static, kube::Result<ApiEvent<RawLease>>>;

struct Watch {
    client: Arc<LeaseClient>,
    /// The newest revision of which the watch has told.
    revision: u64,
    events: Option<ApiEvents>,
    opened: Instant,
}

impl Watch {
    /// A watch that ends earlier was not ended because its time was over.
    const MIN_WATCH_DURATION: Duration = Duration::from_secs(10);

    async fn next(&mut self) -> WatchEvent {
        loop {
            let event = match &mut self.events {
                None => self.connect().await,
                Some(events) => {
                    if let Some(event) = events.next().await {
                        self.read(event)
                    } else {
                        // Its time was over: nothing was missed.
                        self.events = None;
                        if self.opened.elapsed() < Self::MIN_WATCH_DURATION {
                            return WatchEvent::Broken(self.client.short_watch());
                        }
                        Ok(None)
                    }
                }
            };
            match event {
                Ok(None) => {}
                Ok(Some(event)) => return event,
                Err(Failure::Denied(Denial::Forbidden(error))) => return WatchEvent::Forbidden(error),
                Err(failure) => return WatchEvent::Broken(failure.error().clone()),
            }
        }
    }

    async fn connect(&mut self) -> Result<Option<WatchEvent>, Failure> {
        self.events = Some(self.client.watch(self.revision).await?.boxed());
        self.opened = Instant::now();
        Ok(None)
    }

    fn read(&mut self, event: kube::Result<ApiEvent<RawLease>>) -> Result<Option<WatchEvent>, Failure> {
        let event = match event.map_err(|error| self.client.failure("watch", error))? {
            ApiEvent::Added(lease) | ApiEvent::Modified(lease) => {
                let snapshot = self.client.snapshot("watch", lease)?;
                self.revision = snapshot.version.revision;
                Some(WatchEvent::Changed(snapshot))
            }
            ApiEvent::Deleted(lease) => {
                self.revision = self.client.snapshot("watch", lease)?.version.revision;
                Some(WatchEvent::Deleted(self.revision))
            }
            ApiEvent::Bookmark(bookmark) => {
                self.revision = bookmark.metadata.resource_version.parse().unwrap_or(self.revision);
                None
            }
            ApiEvent::Error(status) => {
                return Err(self.client.failure("watch", kube::Error::Api(status)));
            }
        };
        Ok(event)
    }
}

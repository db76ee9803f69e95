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
use crate::protocol::WatchEvent;

/// An event of the watch, with the failure that it stands for.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub event: WatchEvent,
    pub failure: Option<RequestError>,
}

/// All changes of the Lease after `revision`, or, if that is zero, what there is and all changes after that. The stream ends after
/// [`WatchEvent::Broken`] and [`WatchEvent::Forbidden`]. Dropping it closes the watch.
pub(crate) fn watch(client: Arc<LeaseClient>, revision: u64) -> BoxStream<'static, Delivery> {
    let watch = Watch { client, revision, events: None, opened: Instant::now() };
    stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        let delivery = watch.next().await;
        let ends = delivery.failure.is_some();
        Some((delivery, (!ends).then_some(watch)))
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

    async fn next(&mut self) -> Delivery {
        let failure = match self.next_event().await {
            Ok(event) => return Delivery { event, failure: None },
            Err(failure) => failure,
        };
        let event = match &failure {
            Failure::Denied(Denial::Forbidden(_)) => WatchEvent::Forbidden,
            other => WatchEvent::Broken { expired: other.error().status() == Some(410) },
        };
        Delivery { event, failure: Some(failure.error().clone()) }
    }

    async fn next_event(&mut self) -> Result<WatchEvent, Failure> {
        loop {
            let Some(events) = &mut self.events else {
                self.events = Some(self.client.watch(self.revision).await?.boxed());
                self.opened = Instant::now();
                return Ok(WatchEvent::Connected);
            };
            if let Some(event) = events.next().await {
                return self.read(event);
            }
            // Its time was over: nothing was missed.
            self.events = None;
            if self.opened.elapsed() < Self::MIN_WATCH_DURATION {
                return Err(self.client.short_watch());
            }
        }
    }

    fn read(&mut self, event: kube::Result<ApiEvent<RawLease>>) -> Result<WatchEvent, Failure> {
        let event = match event.map_err(|error| self.client.failure("watch", error))? {
            ApiEvent::Added(lease) | ApiEvent::Modified(lease) => {
                let snapshot = self.client.snapshot("watch", lease)?;
                self.revision = snapshot.version.revision;
                WatchEvent::Changed(snapshot)
            }
            ApiEvent::Deleted(lease) => {
                self.revision = self.client.snapshot("watch", lease)?.version.revision;
                WatchEvent::Deleted(self.revision)
            }
            ApiEvent::Bookmark(bookmark) => {
                self.revision = bookmark.metadata.resource_version.parse().unwrap_or(self.revision);
                WatchEvent::Bookmark
            }
            ApiEvent::Error(status) => {
                return Err(self.client.failure("watch", kube::Error::Api(status)));
            }
        };
        Ok(event)
    }
}

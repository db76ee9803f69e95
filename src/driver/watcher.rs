//! The stream of the watch of one lock, open or not.
//!
//! [`WatchHealth`](crate::protocol::WatchHealth) decides when to open it and when to close it. The watch stays open from one acquisition
//! to the next for a while, because opening one takes a connection.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use crate::kubernetes::{Delivery, LeaseClient, watch};
use crate::log::log;
use crate::protocol::WatchEvent;

/// The watch of one lock, open or not.
pub(crate) struct Watcher {
    client: Arc<LeaseClient>,
    stream: Option<BoxStream<'static, Delivery>>,
    /// Whether the log says already that watching is forbidden.
    warned: bool,
}

impl Watcher {
    pub(super) fn new(client: Arc<LeaseClient>) -> Self {
        Self { client, stream: None, warned: false }
    }

    pub(super) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Opens the watch for all changes after `revision`, or, if that is zero, for what there is and all changes after that.
    pub(super) fn open(&mut self, revision: u64) {
        self.stream = Some(watch(self.client.clone(), revision));
    }

    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    /// The next event. While the watch is closed, there is none.
    ///
    /// Cancel safe: the stream keeps its place, also while it connects.
    pub(super) async fn next(&mut self) -> WatchEvent {
        if let Some(stream) = &mut self.stream {
            if let Some(delivery) = stream.next().await {
                return self.on_delivery(delivery);
            }
            self.stream = None;
        }
        std::future::pending().await
    }

    /// The next event, if it is there already.
    pub(super) fn ready(&mut self) -> Option<WatchEvent> {
        self.next().now_or_never()
    }

    fn on_delivery(&mut self, Delivery { event, failure }: Delivery) -> WatchEvent {
        match (&event, failure) {
            (WatchEvent::Forbidden, Some(error)) if !std::mem::replace(&mut self.warned, true) => {
                log!(warn, self.client.lease(), %error, "watching the Lease is forbidden: waiters and observers poll, holders learn of a takeover by their next renewal; grant the verb watch");
            }
            (_, Some(error)) => log!(debug, self.client.lease(), %error, "the watch broke off"),
            (_, None) => {}
        }
        if matches!(event, WatchEvent::Broken { .. } | WatchEvent::Forbidden) {
            self.stream = None;
        }
        event
    }
}

//! Streams on their way to the client: the events of a watch, and what another service streams.

use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};

use futures::Stream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};

use super::connection::{Connection, WatchState};
use super::store::lock;

/// The sending half of a stream.
#[derive(Clone)]
pub(crate) struct Sender {
    connection: Arc<Mutex<Connection>>,
    parcels: UnboundedSender<Parcel>,
}

/// Something on its way to the client.
pub(crate) struct Parcel {
    arrives: Instant,
    /// `None`: the clean end of the stream.
    content: Option<io::Result<Vec<u8>>>,
}

/// How a stream ends.
enum End {
    Clean,
    Broken,
}

impl Sender {
    /// A sender, and what it has sent.
    pub(crate) fn new(connection: &Arc<Mutex<Connection>>) -> (Self, UnboundedReceiver<Parcel>) {
        let (parcels, arriving) = mpsc::unbounded_channel();
        (Self { connection: connection.clone(), parcels }, arriving)
    }

    pub(crate) fn send(&self, content: Option<io::Result<Vec<u8>>>) {
        let arrives = Instant::now() + lock(&self.connection).next_trip();
        let _ = self.parcels.send(Parcel { arrives, content });
    }

    /// Runs `source`, which sends the content, until it ends, the client is gone or the link ends the stream. Then it
    /// sends the end.
    pub(crate) async fn serve(&self, mut state: Receiver<WatchState>, source: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = self.parcels.closed() => {}
            end = closed_by_link(&mut state) => {
                if matches!(end, End::Broken) {
                    self.send(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
            }
            () = source => {}
        }
        self.send(None);
    }
}

/// What reaches the client, in order. A muted connection delivers nothing, not even what is on its way.
pub(crate) fn deliver(
    arriving: UnboundedReceiver<Parcel>,
    state: Receiver<WatchState>,
) -> impl Stream<Item = io::Result<Vec<u8>>> {
    futures::stream::unfold((arriving, state), |(mut arriving, state)| async move {
        loop {
            let Some(Parcel { arrives, content }) = arriving.recv().await else {
                // The end was lost on the way.
                pending().await
            };
            if arrives > Instant::now() {
                sleep_until(arrives).await;
                if *state.borrow() == WatchState::Muted {
                    continue;
                }
            }
            return Some((content?, (arriving, state)));
        }
    })
}

/// Waits until the link ends the stream.
async fn closed_by_link(state: &mut Receiver<WatchState>) -> End {
    loop {
        match *state.borrow_and_update() {
            WatchState::Ended => return End::Clean,
            WatchState::Reset => return End::Broken,
            WatchState::Live | WatchState::Muted => {}
        }
        if state.changed().await.is_err() {
            pending::<()>().await;
        }
    }
}

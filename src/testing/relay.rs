//! Sends requests that are not for Leases on to another service, and its responses back.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt, TryStreamExt};
use http_body::Body as _;
use kube::Client;
use kube::client::Body;
use tokio::sync::watch::Receiver;
use tower::BoxError;

use super::connection::{Connection, WatchState};
use super::request::Call;
use super::response::Response;
use super::store::lock;
use super::stream::{self, Sender};

/// Sends `call` to `other`, and returns the response.
pub(crate) async fn relay(
    other: &Client,
    connection: &Arc<Mutex<Connection>>,
    call: &Call,
) -> Result<Response, BoxError> {
    let (parts, body) = other.send(call.to_request()).await?.into_parts();
    let mut chunks = chunks(body);
    if !call.is_stream() {
        let whole = chunks.try_concat().await?;
        return Ok(Response::of(parts, futures::stream::iter([Ok(whole)])));
    }
    let (client, arriving) = Sender::new(connection);
    let state = lock(connection).register_watch();
    let delivered = stream::deliver(arriving, state.clone());
    tokio::spawn(async move {
        let source = async {
            while let Some(chunk) = chunks.next().await {
                send(&client, &state, chunk);
            }
            wait_if_muted(&state).await;
        };
        client.serve(state.clone(), source).await;
    });
    Ok(Response::of(parts, delivered))
}

fn send(client: &Sender, state: &Receiver<WatchState>, chunk: io::Result<Vec<u8>>) {
    if *state.borrow() == WatchState::Live {
        client.send(Some(chunk));
    }
}

/// The client does not learn of the end on a half-open connection.
async fn wait_if_muted(state: &Receiver<WatchState>) {
    if *state.borrow() == WatchState::Muted {
        pending::<()>().await;
    }
}

fn chunks(mut body: Body) -> impl Stream<Item = io::Result<Vec<u8>>> + Unpin + Send {
    let frames = futures::stream::poll_fn(move |context| Pin::new(&mut body).poll_frame(context));
    // Trailers, which the API does not use, become an empty chunk.
    frames
        .map_ok(|frame| frame.into_data().map(|data| data.to_vec()).unwrap_or_default())
        .map_err(io::Error::other)
}

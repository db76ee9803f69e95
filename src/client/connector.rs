//! A connector that finds out which version of HTTP the server speaks, before the first request is sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::Connection;
use tower::{BoxError, Service, ServiceExt};

/// Makes connections: TCP, with the application's choice of TLS on top.
pub(super) trait Connector:
    Service<Uri, Response: Socket, Error: Into<BoxError> + Send, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<C> Connector for C where
    C: Service<Uri, Response: Socket, Error: Into<BoxError> + Send, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A connection that a connector has made.
pub(super) trait Socket: Read + Write + Connection + Unpin + Send + 'static {}

impl<S: Read + Write + Connection + Unpin + Send + 'static> Socket for S {}

/// Connects as `C` does. The connection that was made to negotiate the version of HTTP is the first that it returns.
pub(super) struct Negotiated<C: Connector> {
    connector: C,
    first: Arc<Mutex<Option<C::Response>>>,
    multiplexes: Arc<AtomicBool>,
}

impl<C: Connector> Negotiated<C> {
    pub(super) fn new(connector: C) -> Self {
        Self { connector, first: Arc::default(), multiplexes: Arc::default() }
    }

    /// Makes the first connection, and keeps it for the first request.
    pub(super) async fn connect_first(&self, address: Uri) -> Result<(), BoxError> {
        let first = self.clone().oneshot(address).await.map_err(Into::into)?;
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        Ok(())
    }

    /// Whether the server agreed to HTTP/2 in the most recent TLS handshake.
    pub(super) fn multiplexes(&self) -> bool {
        self.multiplexes.load(Ordering::Relaxed)
    }
}

impl<C: Connector> Clone for Negotiated<C> {
    fn clone(&self) -> Self {
        Self {
            connector: self.connector.clone(),
            first: self.first.clone(),
            multiplexes: self.multiplexes.clone(),
        }
    }
}

impl<C: Connector> Service<Uri> for Negotiated<C> {
    type Response = C::Response;
    type Error = C::Error;
    type Future = BoxFuture<'static, Result<C::Response, C::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        if let Some(first) = self.first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Box::pin(async { Ok(first) });
        }
        let (connecting, multiplexes) = (self.connector.call(address), self.multiplexes.clone());
        Box::pin(async move {
            let connection = connecting.await?;
            multiplexes.store(connection.connected().is_negotiated_h2(), Ordering::Relaxed);
            Ok(connection)
        })
    }
}

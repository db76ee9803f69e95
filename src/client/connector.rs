//! What makes connections, and what it makes.

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::Connection;
use tower::{BoxError, Service};

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

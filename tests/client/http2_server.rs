//! A server that speaks HTTP/2 on connections within the process. It answers every request with one Lease, and every
//! watch with a body that never ends and has no events.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, Either};
use http::{Request, Response, Uri};
use http_body::Frame;
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::sleep;
use tower::Service;

const LEASE: &str = r#"{ "metadata": { "name": "a" } }"#;
const BUFFER_SIZE: usize = 64 << 10;
const HANDSHAKE_TIME: Duration = Duration::from_millis(5);
pub(crate) const SLOW_ANSWER_TIME: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub(crate) struct Http2Server {
    mode: watch::Sender<Mode>,
    /// Counts how often all connections were closed.
    disconnects: watch::Sender<u32>,
    /// Counts how often the server asked its clients to leave.
    goaways: watch::Sender<u32>,
    /// How many requests at a time the server allows on a connection.
    max_streams: Option<u32>,
    /// As long as a TLS handshake.
    handshake_time: watch::Sender<Duration>,
    connections: Arc<AtomicUsize>,
}

/// How the server treats its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Answers,
    /// Accepts requests, but never answers them.
    Silent,
    /// Answers requests after `SLOW_ANSWER_TIME`.
    Slow,
    /// Does not even read from open connections.
    Dead,
    /// Speaks HTTP/1.1 on new connections.
    Http1,
    /// Connections are never established.
    Unreachable,
    /// Connections are refused.
    Refuses,
}

impl Http2Server {
    pub(crate) fn new() -> Self {
        Self {
            mode: watch::Sender::new(Mode::Answers),
            disconnects: watch::Sender::new(0),
            goaways: watch::Sender::new(0),
            max_streams: None,
            handshake_time: watch::Sender::new(HANDSHAKE_TIME),
            connections: Arc::default(),
        }
    }

    pub(crate) fn with_max_streams(max: u32) -> Self {
        Self { max_streams: Some(max), ..Self::new() }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub(crate) fn set_handshake_time(&self, time: Duration) {
        self.handshake_time.send_replace(time);
    }

    pub(crate) fn disconnect(&self) {
        self.disconnects.send_modify(|disconnects| *disconnects += 1);
    }

    /// Sends GOAWAY on all connections: the streams on them may end in their own time, and no stream may begin.
    pub(crate) fn go_away(&self) {
        self.goaways.send_modify(|goaways| *goaways += 1);
    }

    /// The number of connections that clients have opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn connector(&self) -> Connector {
        Connector(self.clone())
    }

    async fn serve(self, client: DuplexStream, http2: bool) {
        let (answering, client) = (service_fn(|request| self.clone().answer(request)), TokioIo::new(client));
        let mut connection = pin!(if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(self.max_streams);
            Either::Left(builder.serve_connection(client, answering))
        } else {
            Either::Right(http1::Builder::new().serve_connection(client, answering))
        });
        let (mut disconnects, mut mode) = (self.disconnects.subscribe(), self.mode.subscribe());
        let mut goaways = self.goaways.subscribe();
        loop {
            let dead = *mode.borrow_and_update() == Mode::Dead;
            tokio::select! {
                _ = disconnects.changed() => return,
                _ = goaways.changed() => match connection.as_mut().as_pin_mut() {
                    Either::Left(http2) => http2.graceful_shutdown(),
                    Either::Right(http1) => http1.graceful_shutdown(),
                },
                _ = mode.changed() => {}
                _ = &mut connection, if !dead => return,
            }
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Infallible> {
        let mode = *self.mode.borrow();
        match mode {
            Mode::Silent => pending().await,
            Mode::Slow => sleep(SLOW_ANSWER_TIME).await,
            _ => {}
        }
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        Ok(Response::new(if watches {
            AnswerBody::Endless
        } else {
            AnswerBody::Whole(Bytes::from_static(LEASE.as_bytes()))
        }))
    }
}

enum AnswerBody {
    Whole(Bytes),
    Ended,
    /// Empty, but without an end.
    Endless,
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match std::mem::replace(&mut *self, Self::Ended) {
            Self::Whole(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Self::Ended => Poll::Ready(None),
            Self::Endless => {
                *self = Self::Endless;
                Poll::Pending
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct Connector(Http2Server);

impl Service<Uri> for Connector {
    type Response = Socket;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Socket>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (ours, theirs) = duplex(BUFFER_SIZE);
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        let mode = *self.0.mode.borrow();
        let (http2, unreachable) = (mode != Mode::Http1, mode == Mode::Unreachable);
        let handshake_time = *self.0.handshake_time.borrow();
        tokio::spawn(self.0.clone().serve(theirs, http2));
        Box::pin(async move {
            if unreachable {
                pending::<()>().await;
            }
            sleep(handshake_time).await;
            if mode == Mode::Refuses {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(Socket { http2, stream: TokioIo::new(ours) })
        })
    }
}

/// A connection that may be negotiated as HTTP/2, as TLS would do it.
pub(crate) struct Socket {
    http2: bool,
    stream: TokioIo<DuplexStream>,
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        if self.http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

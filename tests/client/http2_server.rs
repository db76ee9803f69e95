//! A server that speaks HTTP/2 on connections within the process. It answers every request with one Lease, and a watch
//! with nothing, for ever.

use std::convert::Infallible;
use std::future::pending;
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
use tower::Service;

const LEASE: &str = r#"{ "metadata": { "name": "a" } }"#;
const BUFFER: usize = 64 << 10;
const HANDSHAKE: Duration = Duration::from_millis(5);

#[derive(Clone)]
pub(crate) struct Http2Server {
    manner: watch::Sender<Manner>,
    /// Counts how often all connections were cut.
    cuts: watch::Sender<u32>,
    connections: Arc<AtomicUsize>,
}

/// How it treats its clients from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Answers,
    /// Takes requests, and never answers those.
    Silent,
    /// Does not even read from connections that are open.
    Dead,
    /// Speaks HTTP/1.1 on new connections.
    Old,
    /// Nobody can connect.
    Away,
}

impl Http2Server {
    pub(crate) fn new() -> Self {
        Self {
            manner: watch::Sender::new(Manner::Answers),
            cuts: watch::Sender::new(0),
            connections: Arc::default(),
        }
    }

    pub(crate) fn set(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    pub(crate) fn disconnect(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many there ever were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn connector(&self) -> Connector {
        Connector(self.clone())
    }

    async fn serve(self, client: DuplexStream, agreed: bool) {
        let (answering, client) = (service_fn(|request| self.clone().answer(request)), TokioIo::new(client));
        let mut connection = pin!(if agreed {
            Either::Left(http2::Builder::new(TokioExecutor::new()).serve_connection(client, answering))
        } else {
            Either::Right(http1::Builder::new().serve_connection(client, answering))
        });
        let (mut cuts, mut manner) = (self.cuts.subscribe(), self.manner.subscribe());
        loop {
            let dead = *manner.borrow_and_update() == Manner::Dead;
            tokio::select! {
                _ = cuts.changed() => return,
                _ = manner.changed() => {}
                _ = &mut connection, if !dead => return,
            }
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        if *self.manner.borrow() == Manner::Silent {
            pending::<()>().await;
        }
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        Ok(Response::new(if watches {
            Answer::Endless
        } else {
            Answer::Whole(Bytes::from_static(LEASE.as_bytes()))
        }))
    }
}

enum Answer {
    Whole(Bytes),
    Ended,
    /// With nothing in it.
    Endless,
}

impl http_body::Body for Answer {
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
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Socket, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (ours, theirs) = duplex(BUFFER);
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        let manner = *self.0.manner.borrow();
        let (agreed, away) = (manner != Manner::Old, manner == Manner::Away);
        tokio::spawn(self.0.clone().serve(theirs, agreed));
        Box::pin(async move {
            if away {
                pending::<()>().await;
            }
            // As TLS would.
            tokio::time::sleep(HANDSHAKE).await;
            Ok(Socket { agreed, stream: TokioIo::new(ours) })
        })
    }
}

/// A connection on which both sides may have agreed on HTTP/2, as TLS would have them do.
pub(crate) struct Socket {
    agreed: bool,
    stream: TokioIo<DuplexStream>,
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        if self.agreed { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

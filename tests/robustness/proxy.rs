//! A TCP proxy between a contender and the API server. TLS passes through it. It delays all bytes by the distance of
//! the contender, and injects faults.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use distance::Distance;
use distance::Travelling;

mod distance;
mod tests;

/// How many reads of one direction may be on their way.
const MAX_TRAVELLING: usize = 1_024;

/// The effect on the bytes of old and of new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    DelayRequests(Duration),
    DelayReplies(Duration),
    /// Requests arrive. A connection that has lost bytes stays silent for good, as if a firewall had forgotten it.
    DropReplies,
    /// Nothing arrives at either end, and neither end notices. As above, the connection stays silent.
    HalfOpen,
    /// New connections are reset; old connections work.
    Refuse,
    /// Replies arrive a few bytes at a time.
    Trickle,
    /// The connection is reset in the middle of each reply.
    CutReplies,
}

/// It listens until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    distance: Distance,
    fault: watch::Sender<Fault>,
    resets: watch::Sender<u64>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Starts a proxy for a contender that is so far from the API server.
    pub(crate) async fn start(upstream: SocketAddr, distance: Distance) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("the address just bound");
        let (fault, resets) = (watch::Sender::default(), watch::Sender::default());
        let accepting = accept(listener, upstream, distance, fault.subscribe(), resets.subscribe());
        Self { address, distance, fault, resets, _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn distance(&self) -> Distance {
        self.distance
    }

    /// The fault is active until another one is set.
    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Resets all connections.
    pub(crate) fn reset(&self) {
        self.resets.send_modify(|resets| *resets += 1);
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    distance: Distance,
    fault: watch::Receiver<Fault>,
    resets: watch::Receiver<u64>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let mut resets = resets.clone();
        resets.mark_unchanged();
        connections.spawn(connect(client, upstream, distance, fault.clone(), resets));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(
    mut client: TcpStream,
    upstream: SocketAddr,
    distance: Distance,
    fault: watch::Receiver<Fault>,
    mut resets: watch::Receiver<u64>,
) {
    let refused = *fault.borrow() == Fault::Refuse;
    let server = if refused { None } else { TcpStream::connect(upstream).await.ok() };
    let Some(mut server) = server else { return reset(client) };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            end = pump(from_client, to_server, Direction::Request, distance, &fault) => end,
            end = pump(from_server, to_client, Direction::Reply, distance, &fault) => end,
            _ = resets.changed() => End::Reset,
        }
    };
    if end == End::Reset {
        reset(client);
        reset(server);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Reply,
}

#[derive(PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    direction: Direction,
    distance: Distance,
    fault: &watch::Receiver<Fault>,
) -> End {
    let (far_end, arriving) = channel(MAX_TRAVELLING);
    tokio::join!(deliver(arriving, to, direction, fault), distance.travel(from, far_end)).0
}

async fn deliver(
    mut arriving: Receiver<Travelling>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    fault: &watch::Receiver<Fault>,
) -> End {
    let mut silent = false;
    loop {
        let Some(Travelling { arrival, bytes }) = arriving.recv().await else { return End::Closed };
        if arrival > Instant::now() {
            sleep_until(arrival).await;
        }
        let fault = *fault.borrow();
        silent |= fault == Fault::HalfOpen || (fault == Fault::DropReplies && direction == Direction::Reply);
        let ended = bytes.as_ref().map_or(true, Vec::is_empty);
        let bytes = match bytes {
            // The client does not learn that the server has closed the connection either.
            _ if ended && silent && direction == Direction::Reply => return std::future::pending().await,
            Ok(bytes) if bytes.is_empty() => return End::Closed,
            Ok(bytes) => bytes,
            Err(_) => return End::Reset,
        };
        if silent {
            continue;
        }
        let written = match (fault, direction) {
            (Fault::DelayRequests(delay), Direction::Request)
            | (Fault::DelayReplies(delay), Direction::Reply) => {
                sleep_until(arrival + delay).await;
                to.write_all(&bytes).await
            }
            (Fault::Trickle, Direction::Reply) => trickle(&mut to, &bytes).await,
            (Fault::CutReplies, Direction::Reply) => {
                let _ = to.write_all(&bytes[..bytes.len() / 2]).await;
                return End::Reset;
            }
            _ => to.write_all(&bytes).await,
        };
        if written.is_err() {
            return End::Reset;
        }
    }
}

async fn trickle(to: &mut WriteHalf<'_>, bytes: &[u8]) -> std::io::Result<()> {
    for chunk in bytes.chunks(8) {
        to.write_all(chunk).await?;
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Closes the connection with a reset (RST) instead of a FIN.
fn reset(stream: TcpStream) {
    let _ = set_socket_linger(&stream, Some(Duration::ZERO));
    drop(stream);
}

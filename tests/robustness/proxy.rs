//! What lies between a contender and the API server: a proxy for TCP, through which TLS passes, with faults.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// What happens to the bytes, on old connections and new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    DelayRequests(Duration),
    DelayReplies(Duration),
    /// Requests arrive. A connection that has lost bytes stays silent for good, as after a firewall forgot it.
    DropReplies,
    /// Nothing arrives at either end, and neither learns of it: see above.
    HalfOpen,
    /// New connections are reset; old ones stay.
    Refuse,
    /// Some bytes at a time.
    Trickle,
    /// The connection is reset in the middle of each reply.
    CutReplies,
}

/// It listens until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    resets: watch::Sender<u64>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("the address just bound");
        let (fault, resets) = (watch::Sender::default(), watch::Sender::default());
        let accepting = accept(listener, upstream, fault.subscribe(), resets.subscribe());
        Self { address, fault, resets, _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, until another one is set.
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
    fault: watch::Receiver<Fault>,
    resets: watch::Receiver<u64>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let mut resets = resets.clone();
        resets.mark_unchanged();
        connections.spawn(connect(client, upstream, fault.clone(), resets));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(
    mut client: TcpStream,
    upstream: SocketAddr,
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
            end = pump(from_client, to_server, Way::Request, &fault) => end,
            end = pump(from_server, to_client, Way::Reply, &fault) => end,
            _ = resets.changed() => End::Reset,
        }
    };
    if end == End::Reset {
        reset(client);
        reset(server);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Reply,
}

#[derive(PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    way: Way,
    fault: &watch::Receiver<Fault>,
) -> End {
    let mut buffer = vec![0; 64 * 1024];
    let mut silent = false;
    loop {
        let read = from.read(&mut buffer).await;
        let fault = *fault.borrow();
        silent |= fault == Fault::HalfOpen || (fault == Fault::DropReplies && way == Way::Reply);
        let bytes = match read {
            // That the server has given up is not heard either.
            Ok(0) | Err(_) if silent && way == Way::Reply => return std::future::pending().await,
            Ok(0) => return End::Closed,
            Err(_) => return End::Reset,
            Ok(length) => &buffer[..length],
        };
        if silent {
            continue;
        }
        let written = match (fault, way) {
            (Fault::DelayRequests(delay), Way::Request) | (Fault::DelayReplies(delay), Way::Reply) => {
                sleep(delay).await;
                to.write_all(bytes).await
            }
            (Fault::Trickle, Way::Reply) => trickle(&mut to, bytes).await,
            (Fault::CutReplies, Way::Reply) => {
                let _ = to.write_all(&bytes[..bytes.len() / 2]).await;
                return End::Reset;
            }
            _ => to.write_all(bytes).await,
        };
        if written.is_err() {
            return End::Reset;
        }
    }
}

async fn trickle(to: &mut WriteHalf<'_>, bytes: &[u8]) -> std::io::Result<()> {
    for some in bytes.chunks(8) {
        to.write_all(some).await?;
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Closes it without a farewell.
fn reset(stream: TcpStream) {
    let _ = set_socket_linger(&stream, Some(Duration::ZERO));
    drop(stream);
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::time::{Instant, timeout};

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    /// A server that repeats what it hears, a proxy before it, and what the server has heard.
    async fn echo() -> (Proxy, watch::Receiver<usize>, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await;
        let (heard, hearing) = watch::channel(0);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let heard = heard.clone();
                connections.spawn(async move {
                    let mut buffer = [0; 1024];
                    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                        heard.send_modify(|count| *count += length);
                        stream.write_all(&buffer[..length]).await.unwrap();
                    }
                });
            }
        });
        (proxy, hearing, AbortOnDropHandle::new(serving))
    }

    /// Sends four bytes, and reads as many.
    async fn ask(stream: &mut TcpStream) -> std::io::Result<[u8; 4]> {
        let mut reply = [0; 4];
        stream.write_all(b"ping").await?;
        stream.read_exact(&mut reply).await.map(|_| reply)
    }

    async fn connected(proxy: &Proxy) -> TcpStream {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(&ask(&mut stream).await.unwrap(), b"ping");
        stream
    }

    #[tokio::test]
    async fn delays_are_in_one_way_each_and_end() {
        let (proxy, mut heard, _serving) = echo().await;
        for (fault, server_waits) in
            [(Fault::DelayRequests(SHORT), true), (Fault::DelayReplies(SHORT), false)]
        {
            let mut stream = connected(&proxy).await;
            proxy.set(fault);
            heard.mark_unchanged();
            let asked = Instant::now();
            let (reply, heard_after) = tokio::join!(ask(&mut stream), async {
                heard.changed().await.unwrap();
                asked.elapsed()
            });
            assert!(reply.is_ok() && asked.elapsed() >= SHORT, "{fault:?}");
            assert!(!server_waits || heard_after >= SHORT, "{fault:?}");
            proxy.set(Fault::None);
        }
    }

    #[tokio::test]
    async fn a_connection_that_lost_bytes_stays_silent_and_a_new_one_works() {
        for (fault, arrives) in [(Fault::DropReplies, true), (Fault::HalfOpen, false)] {
            let (proxy, heard, _serving) = echo().await;
            let mut stream = connected(&proxy).await;
            proxy.set(fault);
            assert!(timeout(SHORT, ask(&mut stream)).await.is_err(), "{fault:?}");
            assert_eq!(*heard.borrow() == 8, arrives, "{fault:?}");
            proxy.set(Fault::None);
            assert!(timeout(SHORT, ask(&mut stream)).await.is_err(), "{fault:?}");
            connected(&proxy).await;
        }
    }

    #[tokio::test]
    async fn refusing_leaves_old_connections_and_resetting_does_not() {
        let (proxy, _heard, _serving) = echo().await;
        let mut old = connected(&proxy).await;
        proxy.set(Fault::Refuse);
        let new = ask(&mut TcpStream::connect(proxy.address()).await.unwrap()).await;
        assert!(new.is_err());
        ask(&mut old).await.unwrap();
        proxy.reset();
        let error = ask(&mut old).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    }

    #[tokio::test]
    async fn replies_trickle_and_are_cut() {
        let (proxy, _heard, _serving) = echo().await;
        let mut stream = connected(&proxy).await;
        proxy.set(Fault::Trickle);
        let asked = Instant::now();
        stream.write_all(&[7; 88]).await.unwrap();
        stream.read_exact(&mut [0; 88]).await.unwrap();
        assert!(asked.elapsed() >= SHORT);
        proxy.set(Fault::CutReplies);
        stream.write_all(b"ping").await.unwrap();
        let mut part = Vec::new();
        assert!(stream.read_to_end(&mut part).await.is_err() || part == b"pi", "{part:?}");
    }
}

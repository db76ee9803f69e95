//! Tests of the proxy: each fault has its effect.

use std::io::ErrorKind;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::*;

const SHORT_DELAY: Duration = Duration::from_millis(200);
/// Much longer than a request without a delay takes, even on a busy machine.
const LONG_DELAY: Duration = Duration::from_secs(1);

/// A server that sends back what it receives, a proxy in front of it, and the number of bytes that it has received.
async fn echo(distance: Distance) -> (Proxy, watch::Receiver<usize>, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap(), distance).await;
    let (received, receiving) = watch::channel(0);
    let serving = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let received = received.clone();
            connections.spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    received.send_modify(|count| *count += length);
                    stream.write_all(&buffer[..length]).await.unwrap();
                }
            });
        }
    });
    (proxy, receiving, AbortOnDropHandle::new(serving))
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
async fn a_delay_affects_one_direction_and_ends() {
    let (proxy, mut received, _serving) = echo(Distance::NONE).await;
    for (fault, requests_wait) in
        [(Fault::DelayRequests(LONG_DELAY), true), (Fault::DelayReplies(LONG_DELAY), false)]
    {
        let mut stream = connected(&proxy).await;
        proxy.set(fault);
        received.mark_unchanged();
        let asked = Instant::now();
        let (reply, request_took) = tokio::join!(ask(&mut stream), async {
            received.changed().await.unwrap();
            asked.elapsed()
        });
        assert!(reply.is_ok() && asked.elapsed() >= LONG_DELAY, "{fault:?}");
        assert_eq!(request_took >= LONG_DELAY, requests_wait, "{fault:?}: the request took {request_took:?}");
        proxy.set(Fault::None);
        let asked = Instant::now();
        ask(&mut stream).await.unwrap();
        assert!(asked.elapsed() < LONG_DELAY, "{fault:?} has ended");
    }
}

#[tokio::test]
async fn a_distance_delays_both_directions_but_not_the_bytes_behind() {
    const PIECES: u8 = 40;
    let distance = Distance { delay: SHORT_DELAY, jitter: SHORT_DELAY / 2 };
    let (proxy, mut received, _serving) = echo(distance).await;
    let mut stream = connected(&proxy).await;
    stream.set_nodelay(true).unwrap();
    received.mark_unchanged();
    let (mut replies, mut requests) = stream.split();
    let sent = Instant::now();
    let ((), request_took, reply) = tokio::join!(
        async {
            for number in 0..PIECES {
                requests.write_all(&[number]).await.unwrap();
                sleep(Duration::from_millis(10)).await;
            }
        },
        async {
            received.changed().await.unwrap();
            sent.elapsed()
        },
        async {
            let mut reply = [0; PIECES as usize];
            replies.read_exact(&mut reply[..1]).await.unwrap();
            let first_took = sent.elapsed();
            replies.read_exact(&mut reply[1..]).await.unwrap();
            assert!(first_took >= 2 * distance.delay, "the first reply took {first_took:?}");
            reply
        },
    );
    assert!(request_took >= distance.delay, "the first request took {request_took:?}");
    assert!(reply.into_iter().eq(0..PIECES), "{reply:?}");
    let one_by_one = 2 * distance.delay * u32::from(PIECES);
    assert!(sent.elapsed() < one_by_one / 4, "{:?}", sent.elapsed());
}

#[tokio::test]
async fn a_connection_that_lost_bytes_stays_silent_and_a_new_one_works() {
    for (fault, arrives) in [(Fault::DropReplies, true), (Fault::HalfOpen, false)] {
        let (proxy, received, _serving) = echo(Distance::NONE).await;
        let mut stream = connected(&proxy).await;
        proxy.set(fault);
        assert!(timeout(SHORT_DELAY, ask(&mut stream)).await.is_err(), "{fault:?}");
        assert_eq!(*received.borrow() == 8, arrives, "{fault:?}");
        proxy.set(Fault::None);
        assert!(timeout(SHORT_DELAY, ask(&mut stream)).await.is_err(), "{fault:?}");
        connected(&proxy).await;
    }
}

#[tokio::test]
async fn refuse_keeps_old_connections_and_reset_does_not() {
    let (proxy, _received, _serving) = echo(Distance::NONE).await;
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
    let (proxy, _received, _serving) = echo(Distance::NONE).await;
    let mut stream = connected(&proxy).await;
    proxy.set(Fault::Trickle);
    let asked = Instant::now();
    stream.write_all(&[7; 88]).await.unwrap();
    stream.read_exact(&mut [0; 88]).await.unwrap();
    assert!(asked.elapsed() >= SHORT_DELAY);
    proxy.set(Fault::CutReplies);
    stream.write_all(b"ping").await.unwrap();
    let mut part = Vec::new();
    assert!(stream.read_to_end(&mut part).await.is_err() || part == b"pi", "{part:?}");
}

//! The proxy does what it is told.

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
    for (fault, server_waits) in [(Fault::DelayRequests(SHORT), true), (Fault::DelayReplies(SHORT), false)] {
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

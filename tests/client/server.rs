//! A minimal HTTP server: it gives the same answer to every request, and records the requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// The server runs until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    heads: Heads,
    _accepting: AbortOnDropHandle<()>,
}

type Heads = Arc<Mutex<Vec<String>>>;

impl Server {
    /// Answers each request with this status, such as `200 OK`, and this object.
    pub(crate) async fn start(status: &str, object: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("the address just bound");
        let heads = Heads::default();
        let length = object.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{object}"
        );
        let accepting = accept(listener, heads.clone(), answer);
        Self { address, heads, _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of all requests so far, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, heads: Heads, answer: String) {
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        let (heads, answer) = (heads.clone(), answer.clone());
        // A connection may end at any time.
        tokio::spawn(async move { serve(client, &heads, &answer).await.ok() });
    }
}

async fn serve(client: TcpStream, heads: &Mutex<Vec<String>>, answer: &str) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if client.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
        client.read_exact(&mut body).await?;
        heads.lock().unwrap().push(head);
        client.write_all(answer.as_bytes()).await?;
    }
}

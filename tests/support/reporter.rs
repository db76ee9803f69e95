//! A contender's side of the [register](super::register).

use std::fmt::Display;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The connection of one contender.
pub(crate) struct Reporter(BufReader<TcpStream>);

impl Reporter {
    pub(crate) async fn connect(register: SocketAddr) -> Self {
        let stream = TcpStream::connect(register).await.expect("a connection to the register");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self(BufReader::new(stream))
    }

    /// `at`: [`now`](super::register::now), read before asking whether the lock was held.
    pub(crate) async fn held(&mut self, hold: &str, fencing: impl Display, at: u64) {
        self.say(format!("held {hold} {fencing} {at}\n")).await;
    }

    pub(crate) async fn left(&mut self, hold: &str, at: u64) {
        self.say(format!("left {hold} {at}\n")).await;
    }

    /// Whether the register took the write.
    pub(crate) async fn write(&mut self, hold: &str, fencing: impl Display, value: u64) -> bool {
        self.say(format!("write {hold} {fencing} {value}\n")).await;
        let mut reply = String::new();
        self.0.read_line(&mut reply).await.expect("the register's answer");
        match reply.trim_end() {
            "ok" => true,
            "stale" => false,
            other => panic!("the register answered {other:?}"),
        }
    }

    pub(crate) async fn say(&mut self, line: String) {
        self.0.get_mut().write_all(line.as_bytes()).await.expect("the register listening");
    }
}
